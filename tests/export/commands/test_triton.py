"""defq triton: a model repository for a Triton server."""

import pytest

from device.bundle.reader import load_bundle
from device.errors import BundleError, OutputError, UsageError
from device.system.options import Parser
from export.commands import triton
from tests.tiny import DATA

BUNDLE = DATA / "tiny_bundle"

CONFIGURATION = """name: "{id}"
platform: "onnxruntime_onnx"
max_batch_size: 8
input {{
  name: "activation"
  data_type: TYPE_FP32
  dims: [ 6, 8, 8 ]
}}
input {{
  name: "threshold"
  data_type: TYPE_FP32
  dims: [ 1 ]
}}
output {{
  name: "label"
  data_type: TYPE_INT64
  dims: [ 1 ]
  reshape: {{ shape: [ ] }}
}}
output {{
  name: "confidence"
  data_type: TYPE_FP32
  dims: [ 1 ]
  reshape: {{ shape: [ ] }}
}}
output {{
  name: "exit"
  data_type: TYPE_INT64
  dims: [ 1 ]
  reshape: {{ shape: [ ] }}
}}
dynamic_batching {{
  max_queue_delay_microseconds: 1500
}}
"""


@pytest.fixture
def command():
    def go(*words):
        parser = Parser()
        triton.add_arguments(parser)
        return triton.run(parser.parse_args([str(word) for word in words]))

    return go


def test_a_repository_holds_the_tail_and_its_configuration(tmp_path, command, capsys):
    bundle = load_bundle(str(BUNDLE))
    (tmp_path / "other").mkdir()
    for _ in range(2):  # the second time over the first
        assert command("--bundle", BUNDLE, "--out", tmp_path, "--max-batch", 8, "--max-wait-ms", 1.5) == 0
    assert f"--model-repository {tmp_path}" in capsys.readouterr().out
    files = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*"))
    model = bundle.id
    assert files == ["other", model, f"{model}/1", f"{model}/1/model.onnx", f"{model}/config.pbtxt"]
    assert (tmp_path / model / "1" / "model.onnx").read_bytes() == bundle.read("tail")
    assert (tmp_path / model / "config.pbtxt").read_text() == CONFIGURATION.format(id=model)


def test_a_bundle_that_needs_no_host_has_nothing_to_serve(tmp_path, command):
    with pytest.raises(BundleError, match="found no tail in bundle .*, which has all exits on the device"):
        command("--bundle", DATA / "whole_bundle", "--out", tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


def test_what_cannot_be_written_or_read_is_one_sentence(tmp_path, command):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another --out"):
        command("--bundle", BUNDLE, "--out", tmp_path / "file")
    with pytest.raises(BundleError, match="found no bundle"):
        command("--bundle", tmp_path / "absent", "--out", tmp_path)


@pytest.mark.parametrize("words", [("--max-batch", 0), ("--max-wait-ms", -1), ("--max-wait-ms", "nan")])
def test_options_out_of_range(tmp_path, command, words):
    with pytest.raises(UsageError, match=f"found {words[0]} {words[1]}; expected a (whole )?number from"):
        command("--bundle", BUNDLE, "--out", tmp_path, *words)
