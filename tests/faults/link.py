"""A link between two network namespaces that loses, delays and throttles packets, so that real TCP meets real trouble.

Two ways, the same to whoever uses the link: ``tc netem`` on both ends of a veth pair where the kernel has it, and
otherwise a TUN device in each namespace with a forwarder of IP packets between them in this process. ``Link.kind``
says which. Both need root on Linux; ``missing`` says what is missing. Everything goes when the link is closed.
"""

import collections
import contextlib
import ctypes
import fcntl
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

NEAR, FAR = "10.83.0.2", "10.83.0.1"
QUEUE_PACKETS = 1000  # netem's default: what comes beyond that is dropped, as in a router
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
CLONE_NEWNET = 0x40000000  # linux/sched.h
LIBC = ctypes.CDLL(None, use_errno=True)


class Quality(NamedTuple):
    """What happens to packets, in each direction. loss: share, 1 cuts the line. delay_s: one way. rate_bit_s: in each direction."""

    loss: float = 0.0
    delay_s: float = 0.0
    rate_bit_s: float = 0.0

    def __str__(self) -> str:
        parts = [
            f"{self.loss:.0%} loss" if self.loss else "",
            f"{self.delay_s * 1e3:g} ms each way" if self.delay_s else "",
            f"{self.rate_bit_s / 1e6:g} Mbit/s" if self.rate_bit_s else "",
        ]
        return ", ".join(filter(None, parts)) or "clear"


CLEAR = Quality()
CUT = Quality(loss=1.0)


def missing() -> str:
    """Why no link can be made here; empty when one can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces need Linux"
    if os.geteuid():
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "found no command ip; install iproute2"
    name = f"fault{os.getpid()}-try"
    if _succeeds("ip", "netns", "add", name):
        _run("ip", "netns", "del", name)
        return "" if os.path.exists("/dev/net/tun") or has_netem() else "neither sch_netem nor /dev/net/tun is here"
    return "this user may not make network namespaces"


def has_netem() -> bool:
    """Whether the kernel knows netem, tried on a loopback of its own."""
    if not shutil.which("tc"):
        return False
    name = f"fault{os.getpid()}-netem"
    _run("ip", "netns", "add", name)
    try:
        return _succeeds(
            "ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"
        )
    finally:
        _run("ip", "netns", "del", name)


class Link:
    """Two namespaces and the line between them. The near side is the device's, the far side the host's, at FAR.

    Args:
        quality: to begin with.
        seed: of the forwarder's losses; netem draws its own.
    """

    def __init__(self, quality: Quality = CLEAR, seed: int = 0) -> None:
        self.kind = "tc netem" if has_netem() else "forwarder over TUN"
        self.spaces = [f"fault{os.getpid()}-{side}" for side in ("near", "far")]
        self._forwarder: Forwarder | None = None
        try:
            for space in self.spaces:
                _run("ip", "netns", "add", space)
                _run("ip", "-n", space, "link", "set", "lo", "up")
            if self.kind == "tc netem":
                near, far = self.spaces
                _run("ip", "link", "add", "end0", "netns", near, "type", "veth", "peer", "name", "end1", "netns", far)
            else:
                self._forwarder = Forwarder([_open_tun(f"end{side}", self.spaces[side]) for side in (0, 1)], seed)
            for side, (own, other) in enumerate(((NEAR, FAR), (FAR, NEAR))):
                _run("ip", "-n", self.spaces[side], "address", "add", own, "peer", other, "dev", f"end{side}")
                _run("ip", "-n", self.spaces[side], "link", "set", f"end{side}", "up")
            self.set(quality)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Take all of it away; programs that still run lose their network."""
        forwarder, self._forwarder = self._forwarder, None
        if forwarder:
            forwarder.close()
        for space in self.spaces:
            _succeeds("ip", "netns", "del", space)

    def set(self, quality: Quality) -> float:
        """Change both directions from now on; returns the time.monotonic() of it."""
        if self._forwarder:
            self._forwarder.quality = quality
        else:
            for side, space in enumerate(self.spaces):
                _run("ip", "netns", "exec", space, *netem_command(f"end{side}", quality))
        return time.monotonic()

    def near(self) -> contextlib.AbstractContextManager[None]:
        """Inside it, this thread and the threads and processes that it starts are at the near side."""
        return _inside(self.spaces[0])

    def far_side(self) -> contextlib.AbstractContextManager[None]:
        """As ``near``, at the far side."""
        return _inside(self.spaces[1])

    def far(self, *command: str, **options: Any) -> "subprocess.Popen[str]":
        """Start a program at the far side."""
        with self.far_side():
            return subprocess.Popen(command, text=True, **options)


@contextlib.contextmanager
def _inside(space: str) -> Iterator[None]:
    """setns(2) for this thread; os.setns came with Python 3.12."""
    with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{space}") as there:
        _setns(there.fileno())
        try:
            yield
        finally:
            _setns(before.fileno())


def _setns(descriptor: int) -> None:
    if LIBC.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def netem_command(interface: str, quality: Quality) -> list[str]:
    """tc-netem(8), for what leaves by this interface."""
    command = ["tc", "qdisc", "replace", "dev", interface, "root", "netem", "limit", str(QUEUE_PACKETS)]
    if quality.delay_s:
        command += ["delay", f"{quality.delay_s * 1e3:g}ms"]
    if quality.loss:
        command += ["loss", f"{quality.loss:.4%}"]
    if quality.rate_bit_s:
        command += ["rate", f"{quality.rate_bit_s:.0f}bit"]
    return command


class Forwarder:
    """Carries IP packets between two TUN devices, as netem would: first lost, then sent at a rate, then delayed.

    The queue of a direction is first in, first out, so nothing is reordered, also when the quality change.
    """

    def __init__(self, tuns: list[int], seed: int) -> None:
        self.quality = CLEAR
        self._tuns = tuns
        self._random = random.Random(seed)
        self._stop, self._stopping = os.pipe()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        os.write(self._stopping, b".")
        self._thread.join()
        for descriptor in (*self._tuns, self._stop, self._stopping):
            os.close(descriptor)

    def _work(self) -> None:
        queues: dict[int, collections.deque[tuple[float, bytes]]] = {tun: collections.deque() for tun in self._tuns}
        free_s = dict.fromkeys(self._tuns, 0.0)  # when the line towards this TUN has sent what it has
        other = dict(zip(self._tuns, reversed(self._tuns), strict=True))
        while True:
            due = [queue[0][0] for queue in queues.values() if queue]
            wait_s = max(0.0, min(due) - time.monotonic()) if due else None
            ready = select.select([*self._tuns, self._stop], [], [], wait_s)[0]
            if self._stop in ready:
                return
            now, quality = time.monotonic(), self.quality
            for tun in ready:
                packet, to = os.read(tun, 65536), other[tun]
                if self._random.random() < quality.loss or len(queues[to]) >= QUEUE_PACKETS:
                    continue
                free_s[to] = max(now, free_s[to]) + (
                    len(packet) * 8 / quality.rate_bit_s if quality.rate_bit_s else 0.0
                )
                queues[to].append((free_s[to] + quality.delay_s, packet))
            for tun, queue in queues.items():
                while queue and queue[0][0] <= now:
                    with contextlib.suppress(OSError):  # the other end is not up yet, or gone
                        os.write(tun, queue.popleft()[1])


def _open_tun(name: str, space: str) -> int:
    """A TUN device in a namespace; its descriptor stays here. Its packets are bare IP."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    own = f"f{os.getpid()}{name}"[-15:]  # unique until it has moved
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", own.encode(), IFF_TUN | IFF_NO_PI))
    _run("ip", "link", "set", own, "netns", space, "name", name)
    os.set_blocking(descriptor, False)
    return descriptor


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
