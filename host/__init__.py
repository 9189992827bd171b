"""The host: answers frames that did not exit on a device, over the Open Inference Protocol v2."""

import device  # noqa: F401 (before ONNX Runtime: it switches telemetry off)
