"""The download of CIFAR-10: its hash, its archive, and a download that fails."""

import functools
import gzip
import hashlib
import http.server
import io
import tarfile
import threading

import pytest

from device.errors import DataError
from export.data import download


@functools.cache  # the header of gzip holds the time: made twice, they would be two archives
def archive_bytes():
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, content in (
            ("cifar-10-batches-bin/data_batch_1.bin", b"1" * 50),
            ("../../escape.bin", b"2" * 50),
            ("x/readme.html", b"3"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return raw.getvalue()


@pytest.fixture
def server():
    content = archive_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = {"/good": content, "/cut": content[:60], "/notar": gzip.compress(b"nothing", mtime=0)}.get(self.path)
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def test_download_checks_the_hash_and_keeps_files_inside(tmp_path, server):
    sha256 = hashlib.sha256(archive_bytes()).hexdigest()
    download.fetch_archive(tmp_path / "d", server + "/good", sha256)
    folder = tmp_path / "d" / "cifar-10-batches-bin"
    assert (folder / "data_batch_1.bin").read_bytes() == b"1" * 50
    assert not (tmp_path / "escape.bin").exists()
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["cifar-10-batches-bin"]


@pytest.mark.parametrize("path", ["/cut", "/missing", "/good"])
def test_download_that_fails_leaves_nothing(tmp_path, server, path):
    with pytest.raises(DataError, match="name the folder with --data DIR"):
        download.fetch_archive(tmp_path / "d", server + path, "0" * 64)
    assert list((tmp_path / "d").iterdir()) == []


def test_download_of_no_archive_and_from_nowhere(tmp_path, server):
    sha256 = hashlib.sha256(gzip.compress(b"nothing", mtime=0)).hexdigest()
    with pytest.raises(DataError, match="could not download"):
        download.fetch_archive(tmp_path / "d", server + "/notar", sha256)
    with pytest.raises(DataError, match="could not download"):
        download.fetch_archive(tmp_path / "d", "http://127.0.0.1:1/x")
    with pytest.raises(DataError, match="could not download"):
        download.fetch_archive(tmp_path / "d", server + "/good", sha256, limit_s=-1)
