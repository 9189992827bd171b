"""CUDA through ctypes, against a fake of its runtime library that keeps device memory in the process."""

import ctypes

import numpy as np
import pytest

from device.engines import cuda
from device.errors import EngineError

NO_DEVICE, INSUFFICIENT_DRIVER, INVALID_VALUE, OUT_OF_MEMORY = 100, 35, 1, 2
ERRORS = {
    NO_DEVICE: b"no CUDA-capable device is detected",
    INSUFFICIENT_DRIVER: b"CUDA driver version is insufficient for CUDA runtime version",
    INVALID_VALUE: b"invalid argument",
    OUT_OF_MEMORY: b"out of memory",
}


class Function:
    """A C function: gets C values, gives an error code, and has a result type that may be set."""

    restype = ctypes.c_int

    def __init__(self, function):
        self._function = function

    def __call__(self, *arguments):
        return self._function(*(each.value if isinstance(each, ctypes._SimpleCData) else each for each in arguments))


class FakeCudart:
    """libcudart with one Tegra X1, as the CUDA Runtime API reference has it. Streams do their work when they are waited for:
    whoever reads a result too early finds the old one."""

    FUNCTIONS = (
        "cudaGetDeviceCount", "cudaGetDeviceProperties", "cudaDeviceGetAttribute", "cudaMalloc", "cudaFree",
        "cudaStreamCreate", "cudaStreamDestroy", "cudaMemcpyAsync", "cudaStreamSynchronize", "cudaGetErrorString",
    )  # fmt: skip

    def __init__(self, gpus=1, name=b"NVIDIA Tegra X1", capability=(5, 3), processors=1, memory=1 << 30):
        self.gpus, self.name, self.memory = gpus, name, memory
        self.attributes = {16: processors, 75: capability[0], 76: capability[1]}
        self.allocated = {}  # address -> buffer
        self.streams = {}  # handle -> what is queued
        self.status = 0  # what every call but the description of errors gives
        for function in self.FUNCTIONS:
            setattr(self, function, Function(getattr(self, "_" + function)))

    def _cudaGetErrorString(self, status):
        return ERRORS.get(status, b"unrecognized error code")

    def _cudaGetDeviceCount(self, count):
        count._obj.value = self.gpus
        return self.status or (0 if self.gpus else NO_DEVICE)

    def _cudaGetDeviceProperties(self, properties, device):
        assert len(properties) >= 1032  # cudaDeviceProp of CUDA 12
        ctypes.memmove(properties, self.name + b"\0", len(self.name) + 1)
        return self.status or (0 if device < self.gpus else INVALID_VALUE)

    def _cudaDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = self.attributes[attribute]
        return self.status

    def _cudaMalloc(self, address, size):
        if self.status or size > self.memory:
            return self.status or OUT_OF_MEMORY
        buffer = ctypes.create_string_buffer(b"\xff" * size, size)
        address._obj.value = ctypes.addressof(buffer)
        self.allocated[ctypes.addressof(buffer)] = buffer
        self.memory -= size
        return 0

    def _cudaFree(self, address):
        return 0 if self.allocated.pop(address, None) is not None else INVALID_VALUE

    def _cudaStreamCreate(self, stream):
        handle = 0x1000 + len(self.streams)
        stream._obj.value = handle
        self.streams[handle] = []
        return self.status

    def _cudaStreamDestroy(self, stream):
        return 0 if self.streams.pop(stream, None) is not None else INVALID_VALUE

    def _cudaMemcpyAsync(self, to, source, size, kind, stream):
        device = {1: to, 2: source}[kind]
        if self.status or size > len(self.allocated.get(device, b"")):
            return self.status or INVALID_VALUE
        self.streams[stream].append(lambda: ctypes.memmove(to, source, size))
        return 0

    def _cudaStreamSynchronize(self, stream):
        queued, self.streams[stream] = self.streams[stream], []
        if not self.status:
            for work in queued:
                work()
        return self.status


def use(monkeypatch, libraries):
    """Let these libraries, name -> FakeCudart, be the only ones."""

    def load(name):
        if name not in libraries:
            raise OSError("{}: cannot open shared object file: No such file or directory".format(name))
        return libraries[name]

    monkeypatch.setattr(cuda, "load_library", load)


def test_arrays_go_to_the_device_and_back():
    library = FakeCudart()
    device = cuda.Cuda(library)
    stream, address = device.create_stream(), device.allocate(24)
    there, back = np.arange(6, dtype=np.float32), np.zeros(6, np.float32)
    device.to_device(address, there, stream)
    device.to_host(back, address, stream)
    assert not back.any()
    device.synchronize(stream)
    assert back.tolist() == there.tolist()
    device.free(address)
    device.destroy_stream(stream)
    assert library.allocated == library.streams == {}


def test_what_the_gpu_is():
    assert cuda.Cuda(FakeCudart()).gpu() == ("NVIDIA Tegra X1", "5.3", 1)
    assert cuda.Cuda(FakeCudart(1, b"Orin", (8, 7), 8)).gpu() == cuda.Gpu("Orin", "8.7", 8)


@pytest.mark.parametrize("call", [
    lambda device: device.count(), lambda device: device.gpu(), lambda device: device.allocate(1 << 40),
    lambda device: device.create_stream(), lambda device: device.to_device(5, np.zeros(1), 0),
])  # fmt: skip
def test_every_error_is_a_sentence(call):
    library = FakeCudart()
    library.status = OUT_OF_MEMORY
    with pytest.raises(
        EngineError, match=r"^found CUDA error 2 in cuda\w+ \(out of memory\); expected a GPU that is free"
    ):
        call(cuda.Cuda(library))


def test_the_first_runtime_that_finds_a_gpu_is_taken(monkeypatch):
    too_new, old = FakeCudart(), FakeCudart(name=b"Orin")
    too_new.status = INSUFFICIENT_DRIVER
    use(monkeypatch, {"libcudart.so.13": too_new, "libcudart.so.12": old})
    assert cuda.open_cuda().gpu().name == "Orin"


@pytest.mark.parametrize(("libraries", "found"), [
    ({}, r"no CUDA runtime \(libcudart.so\)"),
    ({"libcudart.so": FakeCudart(gpus=0)}, r"CUDA error 100 in cudaGetDeviceCount \(no CUDA-capable device is detected\)"),
])  # fmt: skip
def test_a_machine_without_a_gpu_is_an_error(monkeypatch, libraries, found):
    use(monkeypatch, libraries)
    with pytest.raises(EngineError, match="^found {}; expected an NVIDIA GPU with its driver; ".format(found)):
        cuda.open_cuda()
