"""A Ray cluster that is there already: ``--ray-address``, and the config that host/cluster/kuberay.yaml gives to KubeRay."""

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.conftest import HOST, Cluster, descendants
from tests.cluster.test_cluster import exchange
from tests.host.conftest import BUNDLE, ROOT
from tests.host.waits import until

yaml = pytest.importorskip("yaml", reason="needs ray, which brings yaml")
KUBERAY = yaml.safe_load((ROOT / "host" / "cluster" / "kuberay.yaml").read_text())


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Head:
    """A cluster of one node, as ``ray start`` makes it."""

    def __init__(self, tmp_path: Path, extra: dict[str, str]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        # what a user's cluster has or not is not ours to say, but the test's own stays on this machine
        self.environment = {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            **extra,
        }
        self.scripts = Path(sys.executable).parent
        self.log = tmp_path / "head"
        command = [str(self.scripts / "ray"), "start", "--head", "--block", f"--port={self.address.rpartition(':')[2]}",
                   "--num-cpus=4", "--include-dashboard=false", f"--object-store-memory={128 << 20}"]  # fmt: skip
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **self.environment}
            )

        def is_up():
            said = self.log.read_text(errors="replace")
            assert self.process.poll() is None, said
            return "Ray runtime started" in said

        until(is_up, 60)

    def stop(self):
        family = [self.process.pid, *descendants(self.process.pid)]
        for pid in family:  # on SIGTERM it waits for Ray Serve, which nobody ends here
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)


@pytest.fixture
def head(tmp_path):
    started = []

    def start(**extra):
        started.append(Head(tmp_path, extra))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def test_an_existing_cluster_gets_code_and_bundle(head, device):
    ray = head()  # knows nothing of this project
    host = Cluster("--replicas", "2", "--ray-address", ray.address, environment=ray.environment)
    try:
        assert sum(line["source"] == "host" for line in device(host.url)) == 19
        second = subprocess.run(
            [*HOST, "--bundle", str(BUNDLE), "--port", "0", "--ray-address", ray.address],
            cwd=ROOT, capture_output=True, text=True, timeout=60, env={**os.environ, **ray.environment},
        )  # fmt: skip
        assert second.returncode == 2
        assert f"error: found Ray Serve in use on the cluster at {ray.address}" in second.stderr
    finally:
        code, errors = host.stop()
    assert (code, "Traceback" in errors) == (0, False)
    assert ray.process.poll() is None  # the cluster goes on


def test_the_config_for_kuberay_serves(head, device, tmp_path):
    container = KUBERAY["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    assert (
        KUBERAY["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]
        == container["env"]
    )
    ray = head(PYTHONPATH=str(ROOT), **{each["name"]: each["value"] for each in container["env"]})
    config = yaml.safe_load(KUBERAY["spec"]["serveConfigV2"])
    config["applications"][0]["args"].update(bundle=str(BUNDLE), replicas="2-3")
    config["http_options"].update(host="127.0.0.1", port=free_port())
    config["proxy_location"] = "HeadOnly"
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [str(ray.scripts / "serve"), "run", str(tmp_path / "serve.yaml"), "--address", ray.address, "--non-blocking"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, env={**os.environ, **ray.environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    url = f"http://127.0.0.1:{config['http_options']['port']}"
    until(lambda: exchange(url, "GET", "/v2/health/ready")[0] == 200, 60)
    assert sum(line["source"] == "host" for line in device(url)) == 19


def test_versions_agree():
    pinned = re.search(r"ray\[serve\]==(\S+)", (ROOT / "host" / "cluster" / "requirements.txt").read_text()).group(1)
    assert KUBERAY["spec"]["rayClusterConfig"]["rayVersion"] == pinned
