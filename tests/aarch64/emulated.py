"""An arm64 Debian 12 in a folder, whose programs run through qemu: the instruction set and the packages of a Raspberry Pi
with Raspberry Pi OS Bookworm, without its cameras and sensors.

debootstrap makes it once (two minutes); build/aarch64/ keeps it. Every command runs in namespaces of its own: without a
network, and with mounts that are gone when it ends.
"""

import ctypes
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "aarch64"
BASE = KEPT / "bookworm.tar"
PACKAGES = "python3,python3-numpy"  # as on a board with apt's picamera2, which brings NumPy 1.24
BINFMT = Path("/proc/sys/fs/binfmt_misc")
CLONE_NEWNS = 0x20000  # linux/sched.h
BACKUPS = ("etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-")  # useradd and userdel keep them
NATIVE = platform.machine() == "aarch64"


def reason_to_skip() -> str:
    """Why the board cannot be emulated here; empty where it can."""
    if not os.environ.get("TEST_AARCH64"):
        return "the emulated board is tested by: make test-aarch64"
    if platform.system() != "Linux" or os.geteuid() != 0:
        return "the emulated board needs Linux and root: it is made by debootstrap and entered with chroot"
    tools = {"debootstrap": "debootstrap", "unshare": "util-linux"}
    if not NATIVE:
        tools.update({"qemu-aarch64-static": "qemu-user-static", "update-binfmts": "binfmt-support"})
    missing = sorted(package for tool, package in tools.items() if shutil.which(tool) is None)
    if missing:
        return f"the emulated board needs {', '.join(missing)}: apt-get install {' '.join(missing)}"
    return "" if NATIVE else _enable_qemu()


def _enable_qemu() -> str:
    if not (BINFMT / "status").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], capture_output=True)
    subprocess.run(["update-binfmts", "--enable", "qemu-aarch64"], capture_output=True)
    if (BINFMT / "qemu-aarch64").exists():
        return ""
    return f"this kernel does not start programs for aarch64 through qemu: there is no {BINFMT}/qemu-aarch64"


def _private_memory(folder: Path) -> None:
    """Mount a file system in memory that only this process sees and that ends with it: dpkg waits for a disk after every
    file, and thousands are removed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        pytest.skip("this system gives the process no mounts of its own (unshare)")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=True)


def _debootstrap(folder: Path) -> None:
    command = ["debootstrap", "--arch=arm64", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(
            f"debootstrap could not make the board: {(done.stdout + done.stderr).strip()[-600:]}", pytrace=False
        )
    partial = BASE.with_suffix(".partial")
    subprocess.run(["tar", "-C", folder, "-cf", partial, "."], check=True)
    partial.rename(BASE)


class EmulatedBoard:
    """A fresh copy of the system in ``folder``."""

    def __init__(self) -> None:
        self.folder = KEPT / "board"
        _private_memory(self.folder)
        if BASE.is_file():
            subprocess.run(["tar", "-C", self.folder, "-xf", BASE], check=True)
        else:
            _debootstrap(self.folder)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root on the board. /sys is not mounted, because it would describe an x86 processor, on which
        ONNX Runtime's search for ARM cores crashes."""
        script = 'mount -t tmpfs tmpfs "$1/tmp" && exec chroot "$1" sh -c "$2"'
        inside = ["--mount", "--net", "--pid", "--fork", "--kill-child", f"--mount-proc={self.folder}/proc"]
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        return subprocess.run(
            ["unshare", *inside, "sh", "-c", script, "sh", self.folder, command],
            env={**environment, "HOME": "/root"}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600,
        )  # fmt: skip

    def state(self) -> dict[str, object]:
        """Every path of the system: what a link points to, what a file of settings says, else the size of the file."""
        found: dict[str, object] = {}
        for path in sorted(self.folder.rglob("*")):
            name = str(path.relative_to(self.folder))
            if name.startswith(("proc/", "sys/", "tmp/", "kit")) or name in BACKUPS:
                continue
            if path.is_symlink():
                found[name] = str(path.readlink())
            elif name.startswith("etc/") and path.is_file():
                found[name] = path.read_bytes()
            else:
                found[name] = path.stat().st_size if path.is_file() else "not a file"
        return found
