"""A bundle with all exits on the device: it has no tail, needs no host, and refuses the options that are about one."""

import json
import os
import shutil

import numpy as np
import pytest

from device.bundle.reader import load_bundle, pack_bundle
from device.commands.cli import main
from device.commands.session import open_source
from device.doctor import parts
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.errors import BundleError, UsageError
from tests.device.bundle.test_reader import manifest_of, write_manifest
from tests.device.conftest import DATA
from tests.device.engines.test_engine import FlatOnCpu, images, same
from tests.device.loop.fakes import KeptSink, make_pipeline

WHOLE = os.path.join(DATA, "whole_bundle")


@pytest.fixture
def whole_folder(tmp_path):
    folder = str(tmp_path / "whole")
    shutil.copytree(WHOLE, folder)
    return folder


def test_it_has_all_exits_and_no_tail(whole_bundle, tmp_path):
    assert (whole_bundle.split, whole_bundle.has_tail, whole_bundle.activation_shape) == (5, False, ())
    assert whole_bundle.id.startswith("tiny-splitall-")
    assert set(whole_bundle.graphs) == {"head", "head_flat"}
    archive = str(tmp_path / "whole.tar.gz")
    pack_bundle(WHOLE, archive)
    assert load_bundle(archive).id == whole_bundle.id


def test_every_frame_leaves_on_the_device(whole_bundle, frames, frames_file, expected):
    sink = KeptSink()
    with open_source("npz:" + frames_file, whole_bundle) as camera:
        summary = make_pipeline(whole_bundle, OnnxRuntimeEngine(whole_bundle, 1), "off", sink).run(camera)
    assert [each.exit for each in sink.decisions] == expected["exit"].tolist()
    assert [each.label_id for each in sink.decisions] == expected["label"].tolist()
    assert {each.source for each in sink.decisions} == {"edge"}
    assert {each.exit for each in sink.decisions} == {1, 2, 3, 4, 5}
    figures = summary.to_dict()
    assert figures["sources"] == {"edge": 60, "host": 0, "fallback": 0}
    assert figures["t3_er"] == pytest.approx(np.mean(expected["exit"] <= 3))


def test_both_heads_decide_alike(whole_bundle, frames):
    nested, flat = OnnxRuntimeEngine(whole_bundle, 1), FlatOnCpu(whole_bundle)
    for image in images(whole_bundle, frames):
        for threshold in (0.0, 0.62, 2.0):
            same(flat.run(image, threshold), nested.run(image, threshold))


@pytest.mark.parametrize(("options", "named"), [
    (("--host", "http://127.0.0.1:9"), "--host"),
    (("--payload", "uint8"), "--payload"),
    (("--require-host",), "--require-host"),
])  # fmt: skip
def test_options_about_a_host_are_refused(frames_file, options, named, capsys):
    assert main(["run", "--bundle", WHOLE, "--source", "npz:" + frames_file, *options]) == UsageError.exit_code
    err = capsys.readouterr().err
    assert "found {} with bundle {}, which has all exits on the device; expected no host".format(named, WHOLE) in err
    assert err.count("\n") == 1


def test_the_doctor_knows_it():
    found = parts.check_bundle(WHOLE).found
    assert "all 5 exits on the device" in found
    assert "for one that leaves at the last" in parts.check_engine(WHOLE).found
    with pytest.raises(UsageError, match="found --host with bundle .*; leave --host out"):
        parts.check_host("http://127.0.0.1:9", WHOLE)


def test_what_a_host_would_need_is_one_sentence(whole_bundle):
    with pytest.raises(
        BundleError, match="found no tail in bundle .*, which has all exits on the device; expected .*; export"
    ):
        whole_bundle.read("tail")


def test_a_manifest_that_contradicts_itself_is_refused(whole_folder):
    manifest = manifest_of(whole_folder)
    for change, told in (
        ({"split": 3}, "split 3 of 5 exits"),
        ({"format_version": 1}, "incomplete or malformed"),
        ({"id": "tiny-split5-" + manifest["id"][-8:]}, "found the head .* in bundle"),
    ):
        write_manifest(whole_folder, json.loads(json.dumps(dict(manifest, **change))))
        with pytest.raises(BundleError, match=told):
            load_bundle(whole_folder)
