"""The device runtime: camera frame -> DefQ -> head (early exits) -> decision, or an activation sent to the host.

Needs NumPy, OpenCV and ONNX Runtime; runs on Python 3.6 (JetPack 4.6) and newer. Imports nothing from export/ or host/.
"""

import os

# ONNX Runtime from 1.29 on reports its use to its maker unless this is set before it is imported (onnxruntime#27379)
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.2.0"
