"""What ``defq cluster`` says before it needs Ray, and where there is none."""

import asyncio
import importlib.util
import socket
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.errors import BundleError, EngineError, HostError, UsageError
from device.protocol.messages import HEADER_LENGTH, encode_request
from host.app.routes import HostSettings
from host.app.tail import Tail
from host.cli import main
from host.cluster import command, replica, settings
from host.cluster.dispatcher import ForwardedRequest
from host.cluster.ray_connection import check_reachable
from host.cluster.settings import ClusterSettings, parse_replicas
from tests.host.conftest import BUNDLE


def refused(capsys, *options, bundle=BUNDLE):
    code = main(["cluster", "--bundle", str(bundle), "--port", "0", *options])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return code, captured.err


@pytest.mark.parametrize("text", ["0", "-1", "3-1", "two", "1-2-3", "", "1-"])
def test_replicas_that_are_no_number(capsys, text):
    code, error = refused(capsys, f"--replicas={text}")
    assert code == 2
    assert f"found --replicas {text}; expected a number from 1" in error


@pytest.mark.parametrize(
    ("text", "address", "cores", "threads", "expected"),
    [
        ("auto", None, 8, 1, (2, 8)),
        ("auto", None, 8, 4, (2, 2)),
        ("auto", None, 1, 1, (1, 1)),
        ("auto", None, 2, 4, (1, 1)),
        ("auto", "head:6379", 1, 1, (2, 32)),
        ("3", None, 1, 1, (3, 3)),
        ("2-16", None, 1, 1, (2, 16)),
    ],
)
def test_the_number_of_replicas_follows_the_cores(monkeypatch, text, address, cores, threads, expected):
    monkeypatch.setattr(settings.os, "cpu_count", lambda: cores)
    assert parse_replicas(text, bool(address), threads) == expected


@pytest.mark.parametrize(
    "options",
    [("--max-batch", "0"), ("--max-wait-ms", "nan"), ("--max-body-mb", "0"), ("--threads", "-1"), ("--upscale-delay-s", "-1"),
     ("--downscale-delay-s", "inf"), ("--port", "65536")],
)  # fmt: skip
def test_options_out_of_range(capsys, options):
    code, error = refused(capsys, *options)
    assert code == 2
    assert "found {} {}; expected a ".format(*options) in error


@pytest.mark.parametrize("option", command.ONLY_FOR_SERVE)
def test_options_of_serve_alone(capsys, option):
    code, error = refused(capsys, option, "1")
    assert code == 2
    assert f"found {option} with defq cluster; expected it with defq serve alone" in error
    assert "docs/host/cluster.md" in error


def test_a_bundle_that_is_not_there(capsys, tmp_path):
    code, error = refused(capsys, bundle=tmp_path / "none")
    assert code == 3
    assert "found no bundle at" in error


def test_a_bundle_whose_tail_was_changed(capsys, tmp_path):
    for file in BUNDLE.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes() + (b"x" if file.name.startswith("tail") else b""))
    code, error = refused(capsys, bundle=tmp_path)
    assert code == 3
    assert "the file was changed" in error


def test_a_port_in_use(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, error = refused(capsys, "--port", str(taken.getsockname()[1]))
    assert code == 2
    assert "Address already in use" in error
    assert "choose another with --port" in error


def test_without_ray_it_says_how_to_install_it(capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else find(name, *rest))
    code, error = refused(capsys)
    assert code == 4
    assert "pip install -r host/cluster/requirements.txt" in error


@pytest.mark.parametrize("address", ["head", "http://head:6379", "head:", ":6379", "head:x"])
def test_an_address_that_is_none(address):
    with pytest.raises(UsageError, match="expected HOST:PORT of the head node"):
        check_reachable(address)


def test_a_cluster_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(HostError, match="found no Ray cluster at .* expected one to be started with: ray start --head"):
        check_reachable(f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "expected bundle and, if wanted, replicas, threads, max_batch, max_wait_ms"),
        ({"bundle": str(BUNDLE), "treads": 1}, "found arguments .'bundle', 'treads'."),
        ({"bundle": str(BUNDLE), "threads": 0}, "found threads 0"),
        ({"bundle": str(BUNDLE), "max_batch": "many"}, "max_batch many"),
        ({"bundle": str(BUNDLE), "replicas": "0"}, "found --replicas 0"),
    ],
)
def test_arguments_of_a_config_file(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        command.application(arguments)


def test_a_config_file_with_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="found no bundle"):
        command.application({"bundle": str(tmp_path / "none")})


def test_the_scale_of_a_deployment():
    assert ClusterSettings((3, 3)).scale() == {"num_replicas": 3}
    scaled = ClusterSettings((2, 8), upscale_s=1.0, downscale_s=2.0).scale()["autoscaling_config"]
    assert (scaled["min_replicas"], scaled["max_replicas"]) == (2, 8)
    assert (scaled["upscale_delay_s"], scaled["downscale_delay_s"]) == (1.0, 2.0)


class HangingTail(Tail):
    """A tail whose engine never answers."""

    def answer(self, requests):
        threading.Event().wait(20)


@pytest.mark.filterwarnings("ignore:coroutine 'Replica.__del__'")  # Ray awaits it; Python does not
def test_a_replica_whose_engine_does_not_answer_is_not_healthy(monkeypatch):
    """Ray Serve calls check_health, and replaces a replica in which that raises."""
    monkeypatch.setattr(replica, "Tail", HangingTail)
    bundle = load_bundle(str(BUNDLE))
    activation = np.zeros((1, *bundle.activation_shape), np.float32)
    message = encode_request({"activation": activation})
    headers = [(HEADER_LENGTH.lower().encode(), str(message.header_length).encode())]
    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/v2/models/{bundle.id}/infer",
        "headers": headers,
        "query_string": b"",
    }

    async def run():
        made = object.__new__(replica.Replica)
        await made.__init__(str(BUNDLE), bundle.id, HostSettings(engine_timeout_s=0.05), 1, False)
        made.check_health()
        asked = asyncio.ensure_future(answers_of(made, ForwardedRequest(scope, message.body)))
        assert (await asked).status == 503
        with pytest.raises(EngineError, match="does not answer"):
            made.check_health()
        await made.__del__()

    asyncio.run(run())


async def answers_of(made, request):
    """What the replica answers, without the name that only Ray knows."""
    with pytest.MonkeyPatch.context() as patch:
        context = SimpleNamespace(replica_id=SimpleNamespace(unique_id="one"))
        patch.setitem(sys.modules, "ray", SimpleNamespace(serve=SimpleNamespace(get_replica_context=lambda: context)))
        name, (reply,) = await made.answer([request])
    assert name == "one"
    return reply
