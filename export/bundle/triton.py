"""Writes the tail of a bundle as a model repository of NVIDIA Triton Inference Server, which can replace our host.

Format: "Model Repository" and "Model Configuration" of the Triton user guide; config.pbtxt is the text form of the
message ``inference.ModelConfig``. Triton requires at least one dimension beside the batch, so that the outputs of the
tail, of shape (n,), come back as (n, 1) (section "Reshape" of the guide). A device accepts both.
"""

from pathlib import Path

import onnx

from device.bundle.reader import Bundle
from export.data.output import write_output

VERSION = "1"
TYPES = {"float": "TYPE_FP32", "int64": "TYPE_INT64", "uint8": "TYPE_UINT8", "int8": "TYPE_INT8"}


def write_repository(bundle: Bundle, out: Path, max_batch: int = 32, max_wait_ms: float = 2) -> Path:
    """Write the tail and its config.pbtxt to the folder ``out`` / bundle's id, the name under which a device asks for it.

    Other models in ``out`` are left alone.

    Args:
        max_batch: frames in one batch.
        max_wait_ms: milliseconds that Triton may hold a request back to join it with others.

    Returns:
        The model's folder.

    Raises:
        BundleError: the tail was changed since it was exported.
        OutputError: the repository cannot be written.
    """
    tail = bundle.read("tail")
    folder = out / bundle.id
    write_output(folder / VERSION / "model.onnx", tail)
    write_output(folder / "config.pbtxt", configuration(bundle.id, tail, max_batch, max_wait_ms))
    return folder


def configuration(name: str, tail: bytes, max_batch: int, max_wait_ms: float) -> str:
    """The content of config.pbtxt for a tail whose inputs and outputs have the batch as their first axis."""
    graph = onnx.load_from_string(tail).graph
    return f"""name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {max_batch}
{_tensors("input", graph.input)}
{_tensors("output", graph.output)}
dynamic_batching {{
  max_queue_delay_microseconds: {round(max_wait_ms * 1000)}
}}
"""


def _tensors(kind: str, infos: "list[onnx.ValueInfoProto]") -> str:
    """The entries of all inputs or outputs."""
    entries = []
    for info in infos:
        tensor = info.type.tensor_type
        dims = [dim.dim_value for dim in tensor.shape.dim[1:]]
        lines = [
            f'name: "{info.name}"',
            f"data_type: {TYPES[onnx.TensorProto.DataType.Name(tensor.elem_type).lower()]}",
            f"dims: [ {', '.join(map(str, dims or [1]))} ]",
        ]
        if not dims:
            lines.append("reshape: { shape: [ ] }")
        entries.append(f"{kind} {{\n" + "".join(f"  {line}\n" for line in lines) + "}")
    return "\n".join(entries)
