"""The operating system of each board, and the wheels that fit it.

Every version is pinned, so that a kit that is built again is the same. The wheels were found with pip download for the
board's Python, glibc and machine. Newer ones exist for some of them, but do not fit what is installed beside them:

* Raspberry Pi OS Bookworm: apt's picamera2 pulls in simplejpeg, which is built against NumPy 1.24 and breaks with
  NumPy 2 (picamera2#1088, #1211); OpenCV's wheels need NumPy 2 from 4.12 on.
* JetPack 4.6: the last wheels for Python 3.6. NumPy 1.19.5, which ONNX Runtime 1.10 asks for, ends with "Illegal
  instruction" on a Jetson unless OPENBLAS_CORETYPE is set before it is imported (numpy#18131). JetPack's pip 9 sees no
  manylinux2014 wheel, and 21.3.1 is the last pip for Python 3.6.
* JetPack: OpenCV's wheels have no GStreamer (opencv-python#524), so that they cannot open a CSI camera; JetPack's own
  build has. The wheel comes along for systems without it. The same for an ONNX Runtime that was built for the GPU.
* JetPack 6: its OpenCV is built against NumPy 1.
* ONNX Runtime from 1.29 on sends telemetry and writes a device id unless ORT_DISABLE_TELEMETRY is set before it is
  imported (onnxruntime#27379). A camera must not do that.
"""

from typing import NamedTuple


class Board(NamedTuple):
    """A board with its operating system."""

    name: str
    title: str
    python: str
    """Version of the system's Python, which the wheels are for."""
    glibc: str
    """The oldest version that the wheels run on."""
    models: str
    """A pattern (grep -E) that /proc/device-tree/model must match; empty for any machine."""
    pins: tuple[str, ...]
    """name==version of every wheel. The list is complete: nothing else is downloaded."""
    ranges: dict[str, str]
    """Name -> what the installer asks for instead of the pinned version, so that the system's copy can serve."""
    from_system: dict[str, str]
    """Module -> the wheel that is left out where the system's Python can import that module."""
    source: str
    """The camera that the service starts with."""
    notes: str
    """For README.txt."""
    environment: tuple[str, ...] = ("ORT_DISABLE_TELEMETRY=1",)
    """NAME=VALUE that must be set before Python starts."""
    machine: str = "aarch64"

    @property
    def abis(self) -> tuple[str, ...]:
        number = self.python.replace(".", "")
        return (f"cp{number}m" if self.python in ("3.6", "3.7") else f"cp{number}", "abi3", "none")

    @property
    def platforms(self) -> list[str]:
        """The tags of wheels that the board's glibc can load, newest first (PEP 600; 2.17 is manylinux2014)."""
        newest = int(self.glibc.split(".")[1])
        return [f"manylinux_2_{minor}_{self.machine}" for minor in range(newest, 16, -1)] + [
            f"manylinux2014_{self.machine}"
        ]

    @property
    def requirements(self) -> list[str]:
        """What the installer asks pip for: all pins but that of pip itself."""
        names = [(pin.partition("==")[0], pin) for pin in self.pins]
        return [f"{name}{self.ranges[name]}" if name in self.ranges else pin for name, pin in names if name != "pip"]


_RUNTIME = ("onnxruntime==1.32.0", "flatbuffers==25.12.19", "packaging==26.3", "protobuf==7.36.2", "pip==26.3")
_PICAMERA2 = """\
* A camera on the ribbon cable needs picamera2 (Raspberry Pi OS has it, but for Lite):
  sudo apt install -y python3-picamera2 --no-install-recommends
* Raspberry Pi OS must be the 64-bit one: ONNX Runtime has no wheels for 32-bit ARM."""
_JETSON = {"cv2": "opencv-python-headless", "onnxruntime": "onnxruntime"}
_CLOCKS = """\
* Before you measure: sudo nvpmodel -m 0 && sudo jetson_clocks
* OpenCV and TensorRT are JetPack's own, where they are installed (sudo apt install nvidia-jetpack)."""

BOARDS = {
    board.name: board
    for board in (
        Board(
            "pi-bookworm",
            "Raspberry Pi 3, 4, 5 or Zero 2 W with Raspberry Pi OS Bookworm, 64-bit",
            python="3.11",
            glibc="2.36",
            models="Raspberry Pi",
            pins=("numpy==1.26.4", "opencv-python-headless==4.11.0.86", *_RUNTIME),
            ranges={"numpy": ">=1.23.5,<2"},
            from_system={},
            source="picamera2://",
            notes=_PICAMERA2,
        ),
        Board(
            "pi-trixie",
            "Raspberry Pi 3, 4, 5 or Zero 2 W with Raspberry Pi OS Trixie, 64-bit",
            python="3.13",
            glibc="2.41",
            models="Raspberry Pi",
            pins=("numpy==2.5.5", "opencv-python-headless==5.0.0.93", *_RUNTIME),
            ranges={"numpy": ">=2,<3"},
            from_system={},
            source="picamera2://",
            notes=_PICAMERA2,
        ),
        Board(
            "jetson-nano",
            "Jetson Nano with JetPack 4.6 (Ubuntu 18.04)",
            python="3.6",
            glibc="2.27",
            models="Jetson Nano",
            pins=(
                "numpy==1.19.5",
                "opencv-python-headless==4.5.5.64",
                "onnxruntime==1.10.0",
                "flatbuffers==25.12.19",
                "protobuf==3.19.6",
                "pip==21.3.1",
            ),
            ranges={},
            from_system=_JETSON,
            source="csi://",
            notes=_CLOCKS,
            environment=("OPENBLAS_CORETYPE=ARMV8", "ORT_DISABLE_TELEMETRY=1"),
        ),
        Board(
            "orin-jp6",
            "Jetson Orin with JetPack 6 (Ubuntu 22.04)",
            python="3.10",
            glibc="2.35",
            models="Orin",
            pins=(
                "numpy==1.26.4",
                "opencv-python-headless==4.11.0.86",
                "onnxruntime==1.23.2",
                "coloredlogs==15.0.1",
                "flatbuffers==25.12.19",
                "humanfriendly==10.0",
                "mpmath==1.3.0",
                "packaging==26.3",
                "protobuf==7.36.2",
                "sympy==1.14.0",
                "pip==26.3",
            ),
            ranges={"numpy": ">=1.21.6,<2"},
            from_system=_JETSON,
            source="csi://",
            notes=_CLOCKS,
        ),
    )
}

JETPACK4_ON_X86 = BOARDS["jetson-nano"]._replace(
    name="x86-py36",
    title="x86-64 with the versions of JetPack 4.6",
    machine="x86_64",
    models="",
    environment=("ORT_DISABLE_TELEMETRY=1",),
)
"""For tests of the Python 3.6 kit on a workstation; the command line does not offer it."""
