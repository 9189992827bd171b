"""Device memory and streams of an NVIDIA GPU, through ctypes on CUDA's runtime library.

PyCUDA would do the same, but it has no wheels for these boards and takes long to compile. Source: CUDA Runtime API reference,
10.2 to 13; between these versions the functions below keep their signatures and the enumerations their values. This module
has not been run on hardware.
"""

import ctypes
from typing import Any, NamedTuple

import numpy as np

from device.errors import EngineError

# The name on JetPack's linker path first, then by version from the newest, then the place where CUDA installs itself
LIBRARIES = (
    "libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so.10.2",
    "/usr/local/cuda/lib64/libcudart.so",
)  # fmt: skip
HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2  # cudaMemcpyKind
PROCESSORS, MAJOR, MINOR = 16, 75, 76  # cudaDeviceAttr: multiprocessors and compute capability
PROPERTIES_BYTES = 1 << 14  # cudaDeviceProp has about 1 kB and grows; its first field is the name, char[256]


class Gpu(NamedTuple):
    """What decides whether a TensorRT engine fits a GPU."""

    name: str
    """All Orin modules have the same name and capability; they differ in ``processors``."""
    capability: str
    """Compute capability, such as 8.7."""
    processors: int
    """Number of multiprocessors."""


def open_cuda() -> "Cuda":
    """The first CUDA runtime here that finds a GPU.

    Raises:
        EngineError: there is none.
    """
    found = "no CUDA runtime (libcudart.so)"
    for name in LIBRARIES:
        try:
            library = load_library(name)
        except OSError:
            continue
        cuda = Cuda(library)
        try:
            if cuda.count():
                return cuda
            found = "no NVIDIA GPU"
        except EngineError as error:  # for example a runtime that is too new for the driver; an older one may work
            found = str(error).partition(";")[0].replace("found ", "", 1)
    raise EngineError("found {}; expected an NVIDIA GPU with its driver; on a Jetson install nvidia-jetpack, elsewhere use "
                      "--engine onnxruntime".format(found))  # fmt: skip


def load_library(name: str) -> Any:
    """A C library. Raises OSError where it is absent."""
    return ctypes.CDLL(name)


class Cuda:
    """CUDA's runtime on its first GPU. Addresses and streams are plain integers, as TensorRT takes them.

    Every method raises EngineError when CUDA reports an error.
    """

    def __init__(self, library: Any) -> None:
        library.cudaGetErrorString.restype = ctypes.c_char_p
        self._library = library

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            text = self._library.cudaGetErrorString(ctypes.c_int(status)) or b"no description"
            raise EngineError("found CUDA error {} in {} ({}); expected a GPU that is free and has memory left; close what else "
                              "uses it, or use --engine onnxruntime".format(
                                  status, function, text.decode("utf-8", "replace")))  # fmt: skip

    def count(self) -> int:
        """Number of GPUs."""
        value = ctypes.c_int()
        self._call("cudaGetDeviceCount", ctypes.byref(value))
        return value.value

    def gpu(self) -> Gpu:
        """The first GPU."""
        properties = ctypes.create_string_buffer(PROPERTIES_BYTES)
        self._call("cudaGetDeviceProperties", properties, ctypes.c_int(0))
        capability = "{}.{}".format(self._attribute(MAJOR), self._attribute(MINOR))
        return Gpu(properties.value.decode("utf-8", "replace"), capability, self._attribute(PROCESSORS))

    def _attribute(self, attribute: int) -> int:
        value = ctypes.c_int()
        self._call("cudaDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(attribute), ctypes.c_int(0))
        return value.value

    def allocate(self, size: int) -> int:
        """The address of ``size`` bytes of device memory."""
        address = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(size))
        return int(address.value or 0)

    def free(self, address: int) -> None:
        self._call("cudaFree", ctypes.c_void_p(address))

    def create_stream(self) -> int:
        stream = ctypes.c_void_p()
        self._call("cudaStreamCreate", ctypes.byref(stream))
        return int(stream.value or 0)

    def destroy_stream(self, stream: int) -> None:
        self._call("cudaStreamDestroy", ctypes.c_void_p(stream))

    def to_device(self, address: int, array: np.ndarray, stream: int) -> None:
        """Queue a copy of a contiguous array to the device. The array must not change before ``synchronize``."""
        self._copy(address, array.ctypes.data, array.nbytes, HOST_TO_DEVICE, stream)

    def to_host(self, array: np.ndarray, address: int, stream: int) -> None:
        """Queue a copy into a contiguous array. The content has arrived after ``synchronize``."""
        self._copy(array.ctypes.data, address, array.nbytes, DEVICE_TO_HOST, stream)

    def _copy(self, to: int, source: int, size: int, kind: int, stream: int) -> None:
        self._call("cudaMemcpyAsync", ctypes.c_void_p(to), ctypes.c_void_p(source), ctypes.c_size_t(size),
                   ctypes.c_int(kind), ctypes.c_void_p(stream))  # fmt: skip

    def synchronize(self, stream: int) -> None:
        """Wait until everything that was queued is done. Errors of queued work are raised here."""
        self._call("cudaStreamSynchronize", ctypes.c_void_p(stream))
