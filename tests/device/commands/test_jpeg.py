"""defq jpeg: frames as JPEG files, with the figures of what the files change."""

import errno
import hashlib
import io
import json
import os

import cv2
import numpy as np
import pytest

from device.commands import jpeg as jpeg_command
from device.commands.jpeg import decode
from device.defence.defq import DefQ
from device.jpeg.encoder import JpegEncoder
from device.system import files
from device.system.console import run_command
from device.system.options import Parser

Q_DEF = np.add.outer(np.arange(8), np.arange(8)) * 2 + 20  # 20 to 48, as a baked table; 20 does not divide 1024


class Never:
    def is_set(self):
        return False


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(jpeg_command, "stop_on_signals", Never)

    def with_options(*options):
        parser = Parser()
        jpeg_command.add_arguments(parser)
        return run_command(lambda: jpeg_command.run(parser.parse_args(options)))

    return with_options


@pytest.fixture
def table_file(tmp_path):
    name = str(tmp_path / "table.json")
    with open(name, "w") as file:
        json.dump({"table": Q_DEF.tolist()}, file)
    return name


def shown(capsys):
    lines = capsys.readouterr().out.splitlines()[1:]
    return {key: value.strip() for key, value in (line.split("  ", 1) for line in lines)}


def test_the_command_with_a_bundle(run, bundle_folder, frames_file, frames, bundle, tmp_path, capsys):
    out = str(tmp_path / "new" / "files")
    options = ("--bundle", bundle_folder, "--source", "npz:" + frames_file, "--threads", "1", "--engine", "onnxruntime")
    assert run(*options, "--out", out, "--frames", "20", "--dc", "exact") == 0
    names = sorted(os.listdir(out))
    assert names == ["frame-{:06d}.jpg".format(number) for number in range(20)]
    contents = []
    for name in names:
        with open(os.path.join(out, name), "rb") as file:
            contents.append(file.read())
    encoder = JpegEncoder(bundle.table, "exact")
    assert contents == [encoder.encode(frame) for frame in frames[:20]]
    figures = shown(capsys)
    assert figures["frames"] == "20"
    assert figures["bytes a frame"] == "{:.0f}".format(np.mean([len(each) for each in contents]))
    assert figures["bytes a raw frame"].startswith("768 ")
    defq = DefQ(bundle.table)
    differences = np.array([cv2.absdiff(defq(each), decode(file)) for each, file in zip(frames, contents)])
    assert figures["pixel values that differ from DefQ's"] == "{:.2%}".format(np.mean(differences > 0))
    assert figures["largest difference, of 255"] == str(differences.max())
    assert figures["mean difference"] == "{:.3f}".format(differences.mean())
    assert int(figures["same exit as with DefQ"].split()[0]) >= 18
    assert int(figures["same label as with DefQ"].split()[0]) >= 18
    assert figures["left on the device, DefQ"].endswith(" of 20 frames")


def test_the_camera_size_is_kept_on_request(run, bundle_folder, tmp_path, capsys):
    source = str(tmp_path / "frames.npz")
    np.savez(source, frames=np.random.RandomState(0).randint(0, 256, (2, 20, 30)).astype(np.uint8))
    sizes = []
    for number, options in enumerate([(), ("--full-size",)]):
        out = str(tmp_path / str(number))
        assert (
            run("--bundle", bundle_folder, "--source", "npz:" + source, "--out", out, "--threads", "1", *options) == 0
        )
        sizes.append(cv2.imread(os.path.join(out, "frame-000001.jpg"), cv2.IMREAD_UNCHANGED).shape)
        assert shown(capsys)["frames"] == "2"
    assert sizes == [(16, 16, 3), (20, 30)]


def test_the_bundles_own_frames_are_the_default(run, bundle_folder, frames, tmp_path, capsys):
    stream = io.BytesIO()
    np.savez(stream, clean=frames, attacked=frames, labels=np.zeros(len(frames), np.int64))
    content = stream.getvalue()
    with open(os.path.join(bundle_folder, "frames.npz"), "wb") as file:
        file.write(content)
    with open(os.path.join(bundle_folder, "manifest.json")) as file:
        manifest = json.load(file)
    manifest["frames"] = {"file": "frames.npz", "count": len(frames)}
    manifest["files"]["frames.npz"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    with open(os.path.join(bundle_folder, "manifest.json"), "w") as file:
        json.dump(manifest, file)
    assert run("--bundle", bundle_folder, "--out", str(tmp_path / "out"), "--frames", "3", "--threads", "1") == 0
    assert "the bundle's clean frame set" in capsys.readouterr().out


def test_a_table_without_a_bundle_is_enough(run, table_file, frames_file, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert run("--table", table_file, "--source", "npz:" + frames_file, "--out", out, "--frames", "2") == 0
    assert "same exit as with DefQ" not in shown(capsys)
    assert len(os.listdir(out)) == 2


def refused(capsys):
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_options_that_cannot_work(run, table_file, bundle_folder, tmp_path, capsys):
    out = ("--out", str(tmp_path / "out"))
    assert run(*out) == 2
    assert "found none of --bundle and --table; expected one of them" in refused(capsys)
    assert run("--bundle", bundle_folder, "--table", table_file, *out) == 2
    assert "found both of --bundle and --table" in refused(capsys)
    assert run("--table", table_file, "--frames", "0", *out) == 2
    assert "found --frames 0; expected a whole number of at least 1" in refused(capsys)
    assert run("--table", table_file, "--source", "nothing", *out) == 2
    assert "found --source nothing" in refused(capsys)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "could not read {} (No such file or directory); expected a table.json"),
        (b"\xff", "could not read {} as JSON"),
        (b"{}", "found no usable table in {}"),
        (b"[" * 100000, "could not read {} as JSON"),
    ],
)
def test_tables_that_cannot_be_read(content, told, run, tmp_path, capsys):
    name = str(tmp_path / "t.json")
    if content is not None:
        with open(name, "wb") as file:
            file.write(content)
    assert run("--table", name, "--out", str(tmp_path / "out")) == 3
    assert told.format(name) in refused(capsys)


def test_frames_of_an_earlier_run_stay(run, table_file, frames_file, tmp_path, capsys):
    options = ("--table", table_file, "--source", "npz:" + frames_file, "--out", str(tmp_path / "out"), "--frames", "1")
    assert run(*options) == 0
    assert run(*options) == 3
    assert "found frame-000000.jpg in {}; expected a folder without frames".format(tmp_path / "out") in refused(capsys)


def test_a_folder_that_cannot_be_made(run, table_file, tmp_path, capsys):
    assert run("--table", table_file, "--out", os.path.join(table_file, "out")) == 3
    assert "could not make or read the folder" in refused(capsys)


def test_a_full_disk_leaves_whole_files_alone(run, table_file, frames_file, tmp_path, capsys, monkeypatch):
    def third_is_full(descriptor, content, sync):
        written.append(len(content))
        if len(written) == 3:
            os.write(descriptor, content[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fill(descriptor, content, sync)

    written, fill = [], files._fill
    monkeypatch.setattr(files, "_fill", third_is_full)
    out = str(tmp_path / "out")
    assert run("--table", table_file, "--source", "npz:" + frames_file, "--out", out) == 3
    assert "frame-000002.jpg (No space left on device); expected a file that can be written" in refused(capsys)
    assert sorted(os.listdir(out)) == ["frame-000000.jpg", "frame-000001.jpg"]
