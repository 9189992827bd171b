"""Loss, delay, a thin line, a cut line and half-open connections, between real programs in two network namespaces."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.faults.conftest import RECOVERY_S
from tests.faults.link import CLEAR, CUT, Link, Quality, missing, netem_command
from tests.faults.programs import Device, until

BEFORE_S, AFTER_S = 1.0, 1.5
CUTS_S = (0.5, 1.2, 2.1, 2.6, 3.3, 4.1, 4.6, 5.2, 5.8, 7.3)
HARSH = [
    *(Quality(loss=share) for share in (0.01, 0.05, 0.1, 0.2, 0.3)),
    *(Quality(delay_s=delay) for delay in (0.05, 0.1, 0.25, 0.5)),
    Quality(rate_bit_s=1e6),
    Quality(loss=0.05, delay_s=0.1, rate_bit_s=1e6),
]


def test_netem_is_told_what_the_quality_are():
    told = netem_command("end0", Quality(loss=0.3, delay_s=0.5, rate_bit_s=1e6))
    assert told == [
        "tc",
        "qdisc",
        "replace",
        "dev",
        "end0",
        "root",
        "netem",
        "limit",
        "1000",
        "delay",
        "500ms",
        "loss",
        "30.0000%",
        "rate",
        "1000000bit",
    ]
    assert netem_command("end0", CLEAR)[-2:] == ["limit", "1000"]


def ping(line, count, interval, size=56):
    """Round trips in ms and the share that came back, as UDP echoes from one namespace to the other."""
    echo = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('10.83.0.1', 9)); print('up', flush=True)\n"
        "while True: s.sendto(*s.recvfrom(65536))"
    )
    ask = (
        "import socket, sys, time; count, interval, size = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('10.83.0.1', 9)); sent = {}; got = {}\n"
        "def take(until):\n"
        "    while time.monotonic() < until:\n"
        "        s.settimeout(max(.001, until - time.monotonic()))\n"
        "        try: number = int(s.recv(65536)[:8])\n"
        "        except OSError: continue\n"
        "        got[number] = time.monotonic() - sent[number]\n"
        "for number in range(count):\n"
        "    sent[number] = time.monotonic(); s.send(b'%08d' % number + bytes(size)); take(sent[number] + interval)\n"
        "take(time.monotonic() + 1.5); print(len(got) / count, *(round(1e3 * each, 3) for each in got.values()))"
    )
    server = line.far(sys.executable, "-c", echo, stdout=subprocess.PIPE)
    try:
        assert server.stdout.readline() == "up\n"
        with line.near():
            told = subprocess.check_output(
                [sys.executable, "-c", ask, str(count), str(interval), str(size)], timeout=60
            ).split()
    finally:
        server.kill()
        server.communicate()
    return np.array([float(each) for each in told[1:]]), float(told[0])


@pytest.mark.long
def test_the_link_does_what_it_says(line):
    """The emulator itself: round trip, loss of a round trip (1 - .7 x .7), time on the line."""
    trips, share = ping(line, 100, 0.002)
    assert share == 1
    assert np.median(trips) < 5
    line.set(Quality(delay_s=0.1))
    trips, share = ping(line, 50, 0.01)
    assert share == 1
    assert 200 <= np.median(trips) < 215
    line.set(Quality(loss=0.3))
    _, share = ping(line, 1000, 0.002)
    assert 0.44 < share < 0.54  # .49, three standard deviations
    line.set(Quality(rate_bit_s=1e6))
    trips, share = ping(line, 20, 0.05, size=1222)  # 1250 bytes of IP and UDP: 10 ms each way
    assert share == 1
    assert 20 <= np.median(trips) < 25
    line.set(CUT)
    assert ping(line, 20, 0.002)[1] == 0


@pytest.mark.long
@pytest.mark.parametrize("quality", HARSH, ids=str)
def test_a_bad_line(line, ends, finish, quality):
    """Frames are answered as far as the line lets them, and all of them soon after it is good again."""
    _, device = ends()
    time.sleep(BEFORE_S)
    bad = line.set(quality)
    time.sleep(8)
    good = line.set(CLEAR)
    recovery = device.recovery_s(good)
    time.sleep(AFTER_S)
    row = finish(str(quality), device, recovery, since=bad, until=good, note=line.kind)
    assert recovery < RECOVERY_S
    assert row["frames"] > 300  # of 480: the camera never waits for the line
    assert row["edge"] > 0
    assert row["host"] > 0


@pytest.mark.long
@pytest.mark.parametrize("connections", [4, 1])
def test_a_cut_line(line, ends, finish, connections):
    """Nothing comes through and nobody says so: no packet, no reset. Cut for many lengths, as TCP tries again ever later."""
    _, device = ends("--connections", str(connections))
    time.sleep(BEFORE_S)
    began, recoveries = time.monotonic(), []
    for seconds in CUTS_S:
        line.set(CUT)
        time.sleep(seconds)
        recoveries.append(device.recovery_s(line.set(CLEAR)))
        time.sleep(0.3)
    row = finish(f"line cut {len(CUTS_S)} times, --connections {connections}", device, max(recoveries), began,
                 note=f"{line.kind}; {min(CUTS_S)} to {max(CUTS_S)} s each")  # fmt: skip
    assert row["fallback"] > 30
    assert max(recoveries) < RECOVERY_S


@pytest.mark.long
def test_a_cut_line_and_much_patience(line, ends, finish):
    """With a time-out beyond 2 s TCP's own pauses count: they double, so being back takes up to as long as the cut did."""
    _, device = ends("--timeout-ms", "10000")
    time.sleep(BEFORE_S)
    bad = line.set(CUT)
    time.sleep(3.3)
    good = line.set(CLEAR)
    recovery = device.recovery_s(good)
    time.sleep(AFTER_S)
    row = finish("line cut for 3.3 s, --timeout-ms 10000", device, recovery, bad, good, note=line.kind)
    assert row["host"] + row["fallback"] > 30
    assert recovery < 2 * 3.3


@pytest.mark.long
def test_the_host_vanishes_and_another_stands_there(line, ends, finish, launch):
    """Half-open: the device holds connections of which the new host knows nothing. Frames fall back while the line is cut;
    those that meet such a connection afterwards are sent once more over a fresh one."""
    host, device = ends("--timeout-ms", "4000")
    time.sleep(BEFORE_S)
    bad = line.set(CUT)
    host.kill()  # its FIN and RST do not get through
    with line.far_side():
        fresh = launch(host.again)
    good = line.set(CLEAR)
    recovery = device.recovery_s(good)
    time.sleep(AFTER_S)
    finish("host replaced behind a cut line (half-open)", device, recovery, bad, good + 1, note=line.kind)
    assert recovery < RECOVERY_S
    assert fresh.stop() == 0


@pytest.mark.long
def test_idle_half_open_connections_cost_no_frame(line, ends, launch, finish):
    """The same while the device has nothing to say: the system looks after idle connections (TCP keep-alive), and a frame
    that comes before it has found out is sent once more."""
    host, device = ends(rate=0.5)
    device.wait_for("host", device.seen()[-1].at + 1e-3)
    device.signal(signal.SIGSTOP)
    line.set(CUT)
    host.kill()
    with line.far_side():
        launch(host.again)
    good = line.set(CLEAR)
    device.signal(signal.SIGCONT)
    found = until(lambda: [each for each in device.seen(good) if each.source != "edge"], 60)
    finish("host replaced while the device is idle", device, found[0].at - good, note=line.kind)
    assert found[0].source == "host"


@pytest.mark.long
def test_devices_that_vanish_leave_no_connection_at_the_host(line, ends, launch):
    """Half-open the other way round: the host closes what has been silent for its time-out of 75 s."""
    host, _ = ends()
    with line.near():
        gone = launch(Device, host.url)
    gone.wait_for("host", 0.0)
    before = connections(host.process.pid)
    assert before >= 2
    line.set(CUT)
    gone.kill()
    until(lambda: connections(host.process.pid) == 0, 90)


def connections(pid):
    """Established TCP connections in the namespace of a process."""
    with open(f"/proc/{pid}/net/tcp") as file:
        return sum(line.split()[3] == "01" for line in list(file)[1:])


@pytest.mark.skipif(bool(missing()), reason=missing())
def test_a_link_leaves_nothing_behind():
    link = Link()
    spaces = set(link.spaces)
    link.close()
    assert not spaces & set(subprocess.check_output(["ip", "netns", "list"], text=True).split())
