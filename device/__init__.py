"""The device runtime: camera frame -> DefQ -> head (early exits) -> decision, or an activation sent to the host.

Needs NumPy, OpenCV and ONNX Runtime; runs on Python 3.6 (JetPack 4.6) and newer. Imports nothing from export/ or host/.
"""

__version__ = "0.1.0"
