"""Bundle, engine and host in every state."""

import argparse
import json
import os
import sys

import numpy as np
import pytest

from device.defence.ceiling import CeilingSettings
from device.doctor import parts
from device.doctor.check import FAILED, OK, WARNING, Check, guarded
from device.engines import cache
from device.engines import open as opening
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.engines.open import Probe


def test_what_a_bundle_lacks_is_a_warning_with_the_command_that_adds_it(bundle_folder, gated_folder):
    check = parts.check_bundle(bundle_folder)
    assert check.status == WARNING
    assert check.found.startswith(
        "tiny-split2-46536706, 7 files (0.05 MB) as exported, exits 1 to 2 of 5 on the device, RAD 5 and 10 %"
    )
    assert "no frame set" in check.found
    assert ", gate, no monitor (for --defq auto)" in check.found
    assert check.fix == (
        "defq monitor --model tiny; then export the bundle again with: defq bundle --model tiny "
        "--frames 300 --out build/tiny"
    )


def test_bundle_with_nothing_missing(bundle_folder, monkeypatch):
    import device.bundle.frame_set
    import device.bundle.reader

    whole = device.bundle.reader.load_bundle(bundle_folder)
    whole.manifest["frames"] = {"file": "frames.npz"}
    ceiling = {5: CeilingSettings({"off": 0.5, "on": 0.64, "gated": 0.55})}
    monkeypatch.setattr(
        device.bundle.reader,
        "load_bundle",
        lambda path: whole._replace(gate=object(), monitor={5: object()}, ceiling=ceiling),
    )
    monkeypatch.setattr(device.bundle.frame_set, "load_frame_set", lambda bundle: argparse.Namespace(labels=[0] * 300))
    check = parts.check_bundle(bundle_folder)
    assert (check.status, check.fix) == (OK, "")
    assert check.found.endswith(
        ", 300 frames of each kind, a ceiling for cameras of 50% to 64% of the frames, gate, monitor"
    )


@pytest.mark.parametrize("name", ["head_flat.onnx", "tail.onnx", "labels.txt"])
def test_every_file_of_the_bundle_is_checked(bundle_folder, name):
    with open(os.path.join(bundle_folder, name), "ab") as file:
        file.write(b"x")
    check = guarded("bundle", lambda: parts.check_bundle(bundle_folder), 3)
    assert (check.status, check.exit_code) == (FAILED, 3)
    assert name in check.found
    assert check.fix.endswith("copy the whole bundle again")


def test_a_bundle_of_another_version(bundle_folder):
    path = os.path.join(bundle_folder, "manifest.json")
    with open(path) as file:
        manifest = json.load(file)
    with open(path, "w") as file:
        json.dump(dict(manifest, format_version=9), file)
    check = guarded("bundle", lambda: parts.check_bundle(bundle_folder), 3)
    assert (check.status, check.exit_code) == (FAILED, 3)
    assert "found format version 9" in check.found
    assert "reads versions 1 and 2" in check.found


def test_engine_is_run(bundle_folder):
    check = parts.check_engine(bundle_folder)
    assert check.status == OK
    assert check.found.startswith("onnxruntime CPU, ")
    assert " ms for a frame that leaves at exit 1, " in check.found
    assert "(medians of 21); not here: onnxruntime-cuda, onnxruntime-tensorrt, tensorrt" in check.found


def test_back_ends_without_a_bundle():
    check = parts.check_engine(None)
    assert check.status == OK
    assert check.found.startswith("ONNX Runtime with ")
    assert "CPU" in check.found
    assert check.found.endswith("not run: add --bundle DIR")


@pytest.fixture
def probes(monkeypatch):
    """Replace the engines' probes: name -> status, with a plus in front of the usable ones."""

    def set_to(**statuses):
        found = [
            Probe(name.replace("_", "-"), text.lstrip("+"), text.startswith("+")) for name, text in statuses.items()
        ]
        monkeypatch.setattr(opening, "probe_engines", lambda bundle: found)

    return set_to


def test_no_engine_can_run_the_head(bundle_folder, probes):
    probes(onnxruntime="found opset 20; expected 15; export again", tensorrt="found none")
    check = parts.check_engine(bundle_folder)
    assert check == Check("engine", FAILED, "found opset 20; expected 15", "export again", 4)


def test_an_engine_that_would_have_to_be_built_is_not(bundle_folder, probes, monkeypatch, tmp_path):
    monkeypatch.setattr(opening, "open_engine", lambda *_: pytest.fail("this takes minutes"))
    monkeypatch.setenv("DEFQ_ENGINES", str(tmp_path))
    probes(onnxruntime="+CPU", tensorrt="+TensorRT 8.2.1 on Tegra X1, " + opening.kept("x.engine"))
    check = parts.check_engine(bundle_folder)
    assert check.status == WARNING
    assert check.found.startswith("tensorrt: TensorRT 8.2.1 on Tegra X1, engine not built yet")
    assert "--engine tensorrt" in check.fix


def test_an_engine_that_was_built_is_run(bundle_folder, probes, monkeypatch, tmp_path):
    monkeypatch.setenv("DEFQ_ENGINES", str(tmp_path))
    cache.store("x.engine", b"plan")
    probes(onnxruntime="+CPU", tensorrt="+TensorRT 8.2.1 on Tegra X1, " + opening.kept("x.engine"))
    opened = []

    def open_engine(bundle, name):
        opened.append(name)
        print(
            "warning: found a wrong answer; use --engine onnxruntime; until then the head runs in CPU", file=sys.stderr
        )
        return OnnxRuntimeEngine(bundle, 1)

    monkeypatch.setattr(opening, "open_engine", open_engine)
    check = parts.check_engine(bundle_folder)
    assert opened == ["tensorrt"]
    assert check.status == WARNING
    assert check.found.endswith("; the GPU stays idle: found a wrong answer")
    assert check.fix == "use --engine onnxruntime"


def test_a_jetson_without_its_gpu(bundle_folder, probes, monkeypatch):
    monkeypatch.setattr(parts, "is_jetson", lambda: True)
    probes(onnxruntime="+CPU", tensorrt="found no TensorRT for this Python; install it")
    check = parts.check_engine(bundle_folder)
    assert check.status == WARNING
    assert check.found.endswith("; the GPU stays idle: found no TensorRT for this Python")
    assert check.fix == "install it"


def test_a_host_that_serves_the_bundle_is_asked_five_times(fake_host, bundle_folder, bundle):
    check = parts.check_host(fake_host.url, bundle_folder)
    assert check.status == OK
    assert check.found.startswith("{} serves this bundle: ".format(fake_host.url))
    assert "(median of 5), " in check.found
    assert int(check.found.split(", ")[1].split()[0]) > 4 * np.prod(bundle.activation_shape)
    assert fake_host.requests == 5


def test_host_that_is_absent(bundle_folder):
    check = parts.check_host("http://127.0.0.1:9", bundle_folder)
    assert (check.status, check.exit_code) == (FAILED, 5)
    assert check.found.startswith("found no host at http://127.0.0.1:9 (")
    assert "--address 0.0.0.0" in check.fix


@pytest.mark.parametrize(
    ("mode", "said"),
    [("silent", "no answer within 0.3 s"), ("status_500", "status 500: the engine failed"), ("not_http", "not HTTP"),
     ("out_of_range", "found HostAnswer")],
)  # fmt: skip
def test_host_that_does_not_answer_as_it_should(fake_host, bundle_folder, monkeypatch, mode, said):
    monkeypatch.setattr(parts, "DEFAULT_TIMEOUT_S", 0.3)
    fake_host.mode = mode
    check = parts.check_host(fake_host.url, bundle_folder)
    assert (check.status, check.exit_code) == (FAILED, 5)
    assert said in check.found
    assert check.found.startswith("lost the host at ")
    assert "frames are answered" not in check.found


def test_host_of_another_bundle(fake_host, bundle_folder):
    fake_host.mode = "wrong_model"
    check = guarded("host", lambda: parts.check_host(fake_host.url, bundle_folder), 5)
    assert (check.status, check.exit_code) == (FAILED, 3)
    assert "does not serve bundle tiny-split2-46536706" in check.found


def test_host_address_that_is_none(bundle_folder):
    assert guarded("host", lambda: parts.check_host("ftp://x", bundle_folder), 5).exit_code == 2
