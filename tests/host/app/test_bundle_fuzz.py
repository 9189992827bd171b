"""Whatever bytes come as a bundle, its readers give a bundle or one sentence, within bounded memory."""

import gzip
import json
import tracemalloc
import zipfile
from random import Random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from device.bundle.frame_set import load_frame_set
from device.bundle.reader import load_bundle, pack_bundle
from device.errors import BundleError
from tests.fuzz import BUNDLE, fuzz_archive, fuzz_frame_set, fuzz_manifest, fuzz_table_file
from tests.fuzz.fuzz_frame_set import HOLDER, npy, packed
from tests.fuzz.mutation import mutated
from tests.fuzz.seeds import KEPT, archives, frame_sets, manifests, member, tables

# bytes of which no reader should take many times as much as there are
GROWTH = 6
BASE = 4 << 20


def peak_of(check, *arguments):
    tracemalloc.start()
    try:
        check(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600), st.sampled_from([b"z", b"t"]))
def test_any_bytes_as_an_archive(content, kind):
    fuzz_archive.check(kind + content)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(archives())), st.integers(0, 1 << 20), st.integers(1, 255), st.integers(0, 3))
def test_archives_with_one_byte_changed(name, position, change, cut):
    content = bytearray(archives()[name])
    content[1 + position % (len(content) - 1)] ^= change
    fuzz_archive.check(bytes(content[: len(content) // cut]) if cut > 1 else bytes(content))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["tiny", "gate"]), st.integers(0, 1 << 32))
@example("tiny", 0)
def test_manifests_with_their_json_changed(name, seed):
    changed = mutated(manifests()[name], Random(seed))
    assert changed is not None
    fuzz_manifest.check(changed)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 32))
def test_table_files_with_their_json_changed(seed):
    content = tables()["whole"]
    fuzz_table_file.check(mutated(content, Random(seed)) or content)
    manifest = json.dumps(json.loads(KEPT["manifest.json"])).encode()
    fuzz_manifest.check(manifest + b"\0" + (mutated(content, Random(seed)) or content))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(frame_sets())),
    st.lists(st.tuples(st.integers(1, 1 << 16), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_frame_sets_with_a_few_bytes_changed(name, changes):
    content = bytearray(frame_sets()[name])
    for position, change in changes:
        content[1 + position % (len(content) - 1)] ^= change
    fuzz_frame_set.check(bytes(content))


@pytest.mark.parametrize("name", sorted(archives()))
def test_archives_take_memory_by_their_size(name):
    content = archives()[name]
    assert peak_of(fuzz_archive.check, content) < BASE + GROWTH * len(content)


def zipped(size, kind):
    """An .npz whose one array is ``size`` zeros."""
    return packed({"clean": npy(np.zeros(size, np.uint8))}, kind)


BOMBS = {
    "bzip2": zipped(60 << 20, zipfile.ZIP_BZIP2),
    "lzma": zipped(60 << 20, zipfile.ZIP_LZMA),
    "deflate": zipped(60 << 20, zipfile.ZIP_DEFLATED),
    "a header of a terabyte": packed({"labels": frame_sets()["huge"][1:]}),
    "a size that lies": zipped(60 << 20, zipfile.ZIP_BZIP2).replace((62914560 + 128).to_bytes(4, "little"), (1000).to_bytes(4, "little")),
    "Python in a header": packed({"labels": b"\x93NUMPY\x01\x00\x00\x40" + b"(" * 0x4000}),
    "no array": packed({"labels": b"hello"}),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_frame_sets_that_grow_are_refused_before_memory_is_taken(name):
    HOLDER.content = BOMBS[name]
    with pytest.raises(BundleError, match="found no usable frame set"):
        tracemalloc.start()
        try:
            load_frame_set(HOLDER)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert peak < 2 << 20


def test_an_archive_of_a_bundle_takes_no_more_than_twice_what_it_holds(tmp_path):
    path = tmp_path / "tiny.tar.gz"
    pack_bundle(str(BUNDLE), str(path))
    held = sum(map(len, KEPT.values()))
    assert peak_of(load_bundle, str(path)) < 3 * held + (1 << 20)


HOSTILE = {
    "an escape sequence for a label": lambda m: m["labels"].__setitem__(0, "\x1b[31m"),
    "a request in the id": lambda m: m.update(id=m["id"].replace("tiny", "t HTTP/1.1\r\nX: y")),
    "a format in the id": lambda m: m.update(id=m["id"].replace("tiny", "{0.__class__}")),
    "a file outside": lambda m: m["files"].update({"../x": m["files"]["tail.onnx"]}),
    "a file with NUL": lambda m: (m["files"].update({"a\0b": m["files"]["head.onnx"]}), m["graphs"]["head"].update(file="a\0b")),
    "the folder as a file": lambda m: (m["files"].update({"..": m["files"]["head.onnx"]}), m["graphs"]["head"].update(file="..")),
    "no size": lambda m: m["files"]["head.onnx"].pop("bytes"),
    "a hash that is none": lambda m: m["files"]["head.onnx"].update(sha256="\x1b[31m"),
    "a cost without a number": lambda m: m["exits"][1].update(relative_cost=float("nan")),
    "an image of 4 GB": lambda m: m["input"].update(shape=[3, 65535, 65535]),
    "an activation of any rank": lambda m: m["activation"].update(shape=[2] * 1000),
    "depth": lambda m: m.update(split=json.loads("[" * 400 + "]" * 400)),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_manifests_that_mean_harm_are_refused_when_they_are_read(tmp_path, name):
    manifest = json.loads(KEPT["manifest.json"])
    HOSTILE[name](manifest)
    files = dict(KEPT, **{"manifest.json": json.dumps(manifest).encode()})
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    with pytest.raises(BundleError, match=r"malformed .*export it again") as found:
        load_bundle(str(tmp_path))
    assert str(found.value).isprintable()
    assert len(str(found.value)) < 1000
    archive = tmp_path / "x.tar.gz"
    archive.write_bytes(gzip.compress(b"".join(member(file, content) for file, content in files.items()) + bytes(1024)))
    with pytest.raises(BundleError, match="malformed"):
        load_bundle(str(archive))
