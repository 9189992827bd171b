"""Engines run the head of a bundle, one file a back end."""

from device.engines.base import Engine, HeadResult
from device.engines.onnx_runtime import OnnxRuntimeEngine

__all__ = ["Engine", "HeadResult", "OnnxRuntimeEngine"]
