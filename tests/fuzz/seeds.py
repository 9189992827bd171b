"""Writes the seeds of the corpus, made of real messages of the tiny bundle: python -m tests.fuzz.seeds.

What a fuzzer found stands beside them under other names and is left alone.
"""

import gzip
import io
import json
import struct
import tarfile
import zlib

import numpy as np

from device.protocol.messages import HEADER_LENGTH, Encoded, encode_request, encode_response
from device.protocol.tensors import DTYPES
from tests.fuzz import BUNDLE, CORPUS
from tests.fuzz.fuzz_frame_set import arrays, npy, packed

ONE = {
    "activation": np.linspace(-1, 1, 384, dtype=np.float32).reshape(1, 6, 8, 8),
    "threshold": np.full((1, 1), 0.62, np.float32),
}
SMALL = {"activation": np.arange(4, dtype=np.float32)[None], "threshold": np.ones((1, 1), np.float32)}
ANSWER = {"label": np.array([2]), "confidence": np.array([0.75], np.float32), "exit": np.array([4])}
OUTPUTS = ["label", "confidence", "exit"]
KEPT = {each.name: each.read_bytes() for each in BUNDLE.iterdir()}
MODEL = json.loads(KEPT["manifest.json"])["id"]


def wire(encoded: Encoded) -> bytes:
    """As fuzz_wire_request reads it."""
    if encoded.header_length is None:
        return b"j" + encoded.body
    return b"b" + encoded.body[: encoded.header_length] + b"\0" + encoded.body[encoded.header_length :]


def requests() -> dict[str, bytes]:
    every = {code: np.zeros(2, dtype) for code, dtype in DTYPES.items()}
    counted = encode_request(SMALL)
    return {
        "binary": wire(encode_request(SMALL, OUTPUTS, "1")),
        "json": wire(encode_request(SMALL, OUTPUTS, "1", binary=False)),
        "types": wire(encode_request(every)),
        "types-json": wire(encode_request(every, binary=False)),
        "nested": b'j{"inputs":[{"name":"a","datatype":"INT8","shape":[2,2],"data":[[1,-2],[3,4]]}],"parameters":null}',
        "counted": b"n" + struct.pack("<i", counted.header_length or 0) + counted.body,
        "no-elements": b'b{"inputs":[{"name":"a","datatype":"FP16","shape":[0,67108864,67108864],"parameters":{"binary_data_size":0}}]}\0',
        "digits": b'j{"id":"\\ud800","inputs":[{"name":"a","datatype":"FP64","shape":[1],"data":['
        + b"9" * 1200
        + b"]}]}",
        "constants": b'j{"inputs":[{"name":"a","datatype":"FP32","shape":[3],"data":[NaN,1e999,-0]}]}',
        "depth": b'j{"inputs":' + b"[" * 900 + b"]" * 900 + b"}",
        "twice": b'j{"inputs":[],"inputs":[{"name":"a","name":"b","datatype":"BOOL","shape":[],"data":[true]}]}',
    }


def responses() -> dict[str, bytes]:
    return {
        "binary": wire(encode_response(MODEL, "1", ANSWER, "1")),
        "json": wire(encode_response(MODEL, "1", ANSWER, "1", [])),
        "mixed": wire(encode_response(MODEL, "1", ANSWER, binary_names=["label"])),
        "error": b'j{"error":"found model a; \\u001b[31m\\ud800\\n"}',
    }


def answers() -> dict[str, bytes]:
    whole = encode_response(MODEL, "1", ANSWER)
    length = f"{HEADER_LENGTH}: {whole.header_length}\r\n".encode()
    size = f"Content-Length: {len(whole.body)}\r\n".encode()
    chunk = f"{len(whole.body):x}\r\n".encode() + whole.body + b"\r\n0\r\n\r\n"
    return {
        "right": b"HTTP/1.1 200 OK\r\n" + size + length + b"\r\n" + whole.body,
        "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + length + b"\r\n" + chunk,
        "until-closed": b"HTTP/1.0 200 OK\r\n" + length + b"\r\n" + whole.body,
        "error": b'HTTP/1.1 503 Busy\r\nContent-Length: 17\r\n\r\n{"error": "later"}',
        "continue": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
        "huge": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    }


def manifests() -> dict[str, bytes]:
    gate = {"level": 1.0, "thresholds": {"5": 0.5, "10": 0.4}, "table": [[30] * 8] * 8}
    manifest = json.dumps(json.loads(KEPT["manifest.json"]), separators=(",", ":")).encode()
    table = dict(json.loads(KEPT["table.json"]), gate=gate)
    return {
        "tiny": manifest,
        "gate": b"\0".join([manifest, json.dumps(table).encode(), KEPT["labels.txt"]]),
        "table-depth": b"\0".join([manifest, b"[" * 5000, KEPT["labels.txt"]]),
        "depth": b"[" * 5000,
        "version": b'{"format":"sdn-edge-bundle","format_version":1,"files":{}}',
    }


def tables() -> dict[str, bytes]:
    shares = [0.4, 0.3, 0.1, 0.1, 0.1]
    four = dict.fromkeys(("clean", "attacked", "clean_defq", "attacked_defq"), shares)
    stage = {"level": 1.5, "thresholds": {"5": 0.5, "10": 0.4}, "table": [[30] * 8] * 8}
    whole = {
        "table": [[20] * 8] * 8,
        "gate": dict(stage, weak=dict(stage, level=0.5)),
        "monitor": {"shares": {"5": four, "10": four}},
    }
    return {
        "tiny": KEPT["table.json"],
        "whole": json.dumps(whole).encode(),
        "digits": b'{"table":[[' + b"9" * 400 + b']],"gate":{"level":' + b"9" * 400 + b"}}",
        "constants": b'{"table":[[NaN]],"gate":{"level":Infinity},"monitor":{"shares":{"5":null}}}',
        "shares": json.dumps({"monitor": {"shares": {"5": dict(four, clean=[10**400]), "10": four}}}).encode(),
    }


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, size: int = -1, link: str = "") -> bytes:
    """One member of a tar; ``size``: what its header claims instead."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content) if size < 0 else size
    return info.tobuf(tarfile.GNU_FORMAT) + content + b"\0" * (-len(content) % 512)


def archives() -> dict[str, bytes]:
    names = ["manifest.json", "table.json", "labels.txt"]
    plain = b"".join(member(name, KEPT[name]) for name in names)
    end = b"\0" * 1024
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as pax:
        info = tarfile.TarInfo("é" * 60 + "/manifest.json")
        info.size = len(KEPT["manifest.json"])
        pax.addfile(info, io.BytesIO(KEPT["manifest.json"]))
    return {
        "tiny": b"t" + plain + end,
        "packed": b"z" + gzip.compress(b"".join(member(name, KEPT[name]) for name in sorted(KEPT)) + end, 9, mtime=0),
        "nested": b"z" + gzip.compress(gzip.compress(plain + end, 9, mtime=0), mtime=0),
        "links": b"t" + member("manifest.json", kind=tarfile.SYMTYPE, link="/etc/passwd") + member("table.json", kind=tarfile.LNKTYPE, link="../x") + end,
        "outside": b"t" + member("../../manifest.json", KEPT["manifest.json"]) + member("/labels.txt", KEPT["labels.txt"]) + end,
        "twice": b"t" + plain + plain + end,
        "huge": b"t" + member("manifest.json", b"{}", size=1 << 33) + end,
        "long-name": b"t" + member("n", b"", tarfile.GNUTYPE_LONGNAME, size=1 << 33) + end,
        "sparse": b"t" + member("manifest.json", b"", tarfile.GNUTYPE_SPARSE, size=1 << 33) + end,
        "devices": b"t" + member("a", kind=tarfile.CHRTYPE) + member("b", kind=tarfile.FIFOTYPE) + member("c", kind=tarfile.DIRTYPE) + end,
        "pax": b"z" + gzip.compress(stream.getvalue(), 9, mtime=0),
        "zeros": b"z" + gzip.compress(member("manifest.json", bytes(4 << 20)) + end, 9, mtime=0),
    }  # fmt: skip


def frame_sets() -> dict[str, bytes]:
    parts = {name: npy(array) for name, array in arrays().items()}
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000,), }"
    huge = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n"
    return {
        "stored": b"z" + packed(parts),
        "deflated": b"z" + packed(parts, 8),
        "bzip2": b"z" + packed(parts, 12),
        "lzma": b"z" + packed(parts, 14),
        "labels": b"2" + npy(np.array([0, 2])),
        "fortran": b"0" + npy(np.asfortranarray(arrays()["clean"])),
        "universal": b"3" + npy(arrays()["universal"]),
        "huge": b"2" + huge,
        "no-array": b"0hello",
        "fields": b"2" + npy(np.zeros(2, [("a", "<i4"), ("b", "u1")])),
    }


def encodings() -> dict[str, bytes]:
    body = encode_request(ONE).body
    return {
        "gzip": b"g\xff" + gzip.compress(body, 9, mtime=0),
        "deflate": b"d\xff" + zlib.compress(body),
        "identity": b"i\x10" + body[:64],
        "bomb": b"g\xff" + gzip.compress(bytes(1 << 20), 9, mtime=0),
        "two": b"g\xff" + gzip.compress(b"ab", 9, mtime=0) * 2,
        "stored": b"d\x40" + zlib.compress(body[:200], 0),
    }


def calls() -> dict[str, bytes]:
    def call(path: int, body: bytes, *headers: str) -> bytes:
        return bytes([path]) + "".join(f"{each}\n" for each in headers).encode("latin-1") + b"\n" + body

    binary, text = encode_request(ONE, OUTPUTS, "1"), encode_request(SMALL, ["exit"], "1", binary=False)
    length = f"{HEADER_LENGTH}: {binary.header_length}"
    return {
        "binary": call(0, binary.body, length, "Content-Type: application/octet-stream"),
        "counted": call(0, wire(binary)[1:], f"{HEADER_LENGTH}: *"),
        "version": call(2, binary.body, length, "Accept-Encoding: gzip;q=0, deflate"),
        "json": call(0, text.body, "Content-Type: application/json", f"Content-Length: {len(text.body)}"),
        "gzip": call(0, gzip.compress(binary.body, 9, mtime=0), length, "Content-Encoding: gzip"),
        "bomb": call(0, gzip.compress(bytes(1 << 18), 9, mtime=0), "Content-Encoding: gzip"),
        "lengths": call(0, b"{}", f"{HEADER_LENGTH}: \xb2", "Content-Length: 99999999999"),
        "superscript": call(0, b"{}", "Content-Length: 999\xb9"),  # a digit for str.isdigit, but not for int
        "metadata": call(1, b""),
        "other-model": call(5, b"{}"),
    }


FAMILIES = {
    "wire_request": requests, "wire_response": responses, "answer": answers, "manifest": manifests, "archive": archives,
    "table_file": tables, "frame_set": frame_sets, "encoding": encodings, "http": calls,
}  # fmt: skip


def main() -> None:
    for target, family in FAMILIES.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("seed-*"):
            old.unlink()
        for name, content in family().items():
            (folder / f"seed-{name}").write_bytes(content)


if __name__ == "__main__":
    main()
