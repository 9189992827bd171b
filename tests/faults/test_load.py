"""Many clients, slow ones, and ones that send nonsense, beside a device that must not notice."""

import asyncio
import json
import random
import socket
import time

import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.protocol.messages import HEADER_LENGTH, decode_response, encode_request
from tests.faults.conftest import add_row
from tests.faults.programs import BUNDLE, DATA, Device, Host

SOCKETS = 200
SHAPE = (6, 8, 8)


def infer_request(name, value=0.0):
    """A whole request of one frame."""
    message = encode_request({"activation": np.full((1, *SHAPE), value, np.float32)}, ["label", "confidence", "exit"])
    head = (
        f"POST /v2/models/{name}/infer HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n"
        f"{HEADER_LENGTH}: {message.header_length}\r\nContent-Length: {len(message.body)}\r\n\r\n"
    )
    return head.encode() + message.body


def garbage(seed):
    """Bytes of many kinds that are no request, with one that nearly is now and then."""
    draw = random.Random(seed)
    whole = infer_request(load_bundle(str(BUNDLE)).id)
    kind = draw.randrange(6)
    if kind == 0:
        return draw.randbytes(draw.randrange(1, 5000))
    if kind == 1:
        return whole[: draw.randrange(1, len(whole))]
    if kind == 2:  # bits flipped anywhere
        spoilt = bytearray(whole)
        for _ in range(20):
            spoilt[draw.randrange(len(spoilt))] ^= 1 << draw.randrange(8)
        return bytes(spoilt)
    if kind == 3:
        return b"POST /v2/models/x/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"
    if kind == 4:
        return b"GET /" + b"a" * draw.randrange(70000, 300000) + b" HTTP/1.1\r\n\r\n"
    return whole.replace(b"Content-Length: ", b"Content-Length: -", 2) + draw.randbytes(100)


@pytest.mark.parametrize("count", [100, pytest.param(3000, marks=pytest.mark.long)])
def test_garbage_to_the_host(launch, finish, count):
    host = launch(Host)
    device = launch(Device, host.url)
    device.wait_for("host", 0.0)
    bad = time.monotonic()
    for seed in range(count):
        with socket.create_connection(("127.0.0.1", host.port), timeout=20) as client:
            try:
                client.sendall(garbage(seed))
                client.settimeout(0.005)
                client.recv(4096)
            except OSError:
                pass  # it was refused before all of it was sent, or there is no answer to half a request
    row = finish(f"{count} clients send garbage to the host", device, since=bad)
    assert row["fallback"] == 0
    assert host.stop() == 0
    assert "Traceback" not in host.stderr


@pytest.mark.long
@pytest.mark.parametrize("what", ["nothing", "headers", "body"])
def test_clients_that_send_slowly_do_not_disturb_a_device(launch, finish, what):
    """200 sockets that send a byte a second, or none: the device is served meanwhile, and they are closed in the end."""
    host = launch(Host)
    device = launch(Device, host.url)
    device.wait_for("host", 0.0)
    whole = infer_request(load_bundle(str(BUNDLE)).id)
    sent = {"nothing": 0, "headers": 20, "body": whole.index(b"\r\n\r\n") + 30}[what]
    clients, bad = [], time.monotonic()
    closed_s = []
    try:
        for _ in range(SOCKETS):
            client = socket.create_connection(("127.0.0.1", host.port), timeout=20)
            client.sendall(whole[:sent])
            client.setblocking(False)
            clients.append(client)
        while clients and time.monotonic() < bad + 60:
            for client in list(clients):
                if ended(client) if what == "nothing" else not dripped(client, whole[sent : sent + 1]):
                    closed_s.append(time.monotonic() - bad)
                    clients.remove(client)
                    client.close()
            sent += 1
            time.sleep(1)
    finally:
        for client in clients:
            client.close()
    row = finish(f"{SOCKETS} sockets that drip {what}", device, since=bad, closed=f"{len(closed_s)} of {SOCKETS}",
                 after_s=round(max(closed_s), 1) if closed_s else "never")  # fmt: skip
    assert row["fallback"] == 0
    assert len(closed_s) == SOCKETS
    assert host.stop() == 0


def dripped(client, byte):
    """Send one more byte; whether the other side still takes it."""
    try:
        client.send(byte)
    except OSError:
        return False
    return not ended(client)


def ended(client):
    """Whether the other side has closed."""
    try:
        while client.recv(4096):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


async def client_of(port, request, count, times):
    """One device that is always waiting for its next answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for _ in range(count):
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
            body = await reader.readexactly(int(fields[b"content-length"]))
            assert head.startswith(b"HTTP/1.1 200"), (head, body[:300])
            answer = decode_response(body, int(fields[HEADER_LENGTH.lower().encode()])).tensors
            assert answer["label"].shape == (1,)
            assert 3 <= answer["exit"][0] <= 5
            times.append((time.perf_counter() - began) * 1e3)
    finally:
        writer.close()


@pytest.mark.long
def test_a_device_is_answered_beside_200_clients(launch, finish):
    """All at once, each with its connection, beside a device of ours."""
    host = launch(Host)
    device = launch(Device, host.url, "--connections", "16", rate=30)  # a third of a second each, ten frames a second
    device.wait_for("host", 0.0)
    request, times, bad = infer_request(load_bundle(str(BUNDLE)).id), [], time.monotonic()

    async def all_of_them():
        await asyncio.gather(*(client_of(host.port, request, 50, times) for _ in range(SOCKETS)))

    asyncio.run(all_of_them())
    good = time.monotonic()
    row = finish(
        f"{SOCKETS} clients at once", device, since=bad, until=good, clients_answered=len(times),
        clients_p50_p99_ms="{:.0f} / {:.0f}".format(*np.percentile(times, (50, 99))), requests_a_second=round(len(times) / (good - bad)),
    )  # fmt: skip
    assert len(times) == 50 * SOCKETS
    assert row["fallback"] == 0
    assert host.stop() == 0


@pytest.mark.long
def test_memory_stays_flat_over_100000_requests(launch, tmp_path):
    """Every frame needs the host; resident memory of both programs, sampled each second, once they are warm."""
    with np.load(DATA / "expected.npz") as expected, np.load(DATA / "frames.npz") as arrays:
        np.savez(tmp_path / "late.npz", frames=arrays["frames"][expected["exit"] > 2])
    host = launch(Host)
    count = 100_000
    decisions = tmp_path / "decisions.jsonl"
    device = launch(
        Device, host.url, "--frames", str(count), live=False, rate=0, frames=tmp_path / "late.npz", jsonl=str(decisions)
    )
    began, samples = time.monotonic(), []
    while device.process.poll() is None and time.monotonic() < began + 600:
        try:
            lines = decisions.stat().st_size / 210  # about how many
            samples.append((lines, host.rss_kb(), device.rss_kb()))
        except (OSError, AttributeError):
            pass  # it has just ended, or not begun
        time.sleep(0.5)
    assert device.wait() == 0
    seconds = time.monotonic() - began
    found = [json.loads(line) for line in decisions.read_text().splitlines()]
    assert [each["index"] for each in found] == list(range(count))
    share = np.array(samples, float)
    requests = share[:, 0] / share[-1, 0] * count
    warm = requests > count / 5
    slopes = [np.polyfit(requests[warm], share[warm, column], 1)[0] * 10_000 for column in (1, 2)]
    row = add_row("100,000 requests", found, requests_a_second=round(count / seconds),
                 host_kb=f"{share[warm, 1][0]:.0f} to {share[-1, 1]:.0f}", device_kb=f"{share[warm, 2][0]:.0f} to {share[-1, 2]:.0f}",
                 kb_for_10000_requests="host {:.0f}, device {:.0f}".format(*slopes))  # fmt: skip
    assert row["host"] + row["fallback"] == count
    assert row["fallback"] == 0
    # memory comes in steps of pages, once, so the whole growth counts: less than ten bytes a request
    assert np.ptp(share[warm, 1]) < 768
    assert np.ptp(share[warm, 2]) < 768
    assert host.stop() == 0
