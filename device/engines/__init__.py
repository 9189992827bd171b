"""Engines run the head of a bundle. Each back end is one file."""

from device.engines.base import Engine, HeadResult
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.engines.open import NAMES, Probe, open_engine, probe_engines

__all__ = ["NAMES", "Engine", "HeadResult", "OnnxRuntimeEngine", "Probe", "open_engine", "probe_engines"]
