"""The workstation side: trains and calibrates networks, crafts attacks, learns Q_def and writes bundles."""

import device  # noqa: F401 (before ONNX Runtime: it switches telemetry off)
