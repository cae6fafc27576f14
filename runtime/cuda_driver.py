"""CUDA through the driver's own library (libcuda) and ctypes: memory, streams, graphs and events, nothing else.

libcuda comes with every NVIDIA driver, also on a Jetson, so neither the CUDA toolkit nor cuda-python has to be installed. Streams
and addresses are those of the device's primary context, which TensorRT and every other user of the runtime API shares.

This file is copied into kits that run where only Python 3.8, numpy and TensorRT are: it imports nothing of Pilotfish.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p

LIBRARIES = ("libcuda.so.1", "libcuda.so")
SPIN = 1
"""CU_CTX_SCHED_SPIN: wait for the device without giving the processor away (microseconds matter here)."""
DEVICE_MAP = 2
"""CU_MEMHOSTALLOC_DEVICEMAP: the device reads and writes the host's memory itself."""
NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: does not wait for the legacy default stream."""
CAPTURE_THREAD_LOCAL = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on allocating."""
MAJOR, MINOR, INTEGRATED = 75, 76, 18
"""CU_DEVICE_ATTRIBUTE_…: compute capability, and whether device and host share their memory."""

_ADDRESS = c_ulonglong
_SIGNATURES = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxSetFlags_v2": (c_int, c_uint),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxSetCurrent": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(_ADDRESS), c_size_t),
    "cuMemFree_v2": (_ADDRESS,),
    "cuMemHostAlloc": (POINTER(c_void_p), c_size_t, c_uint),
    "cuMemHostGetDevicePointer_v2": (POINTER(_ADDRESS), c_void_p, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (_ADDRESS, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, _ADDRESS, c_size_t, c_void_p),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_ulonglong),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphDestroy": (c_void_p,),
    "cuGraphExecDestroy": (c_void_p,),
    "cuEventCreate": (POINTER(c_void_p), c_uint),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventSynchronize": (c_void_p,),
    "cuEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
    "cuEventDestroy_v2": (c_void_p,),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
}
"""Function -> the types of its arguments, as in cuda.h (CUDA 11.4 to 13)."""


class CudaError(RuntimeError):
    """The driver refused a call; the message names the call and the driver's reason."""


class NoDevice(CudaError):
    """There is no driver, or no device behind it."""


class Driver:
    """One device and its primary context, current in the calling thread; without ``context``, only what describes it."""

    def __init__(self, ordinal: int = 0, *, context: bool = True) -> None:
        self._library = _load()
        self._retained = False
        count = c_int()
        try:
            self._call("cuInit", 0)
            self._call("cuDeviceGetCount", byref(count))
        except CudaError as error:
            raise NoDevice(str(error)) from error
        if count.value <= ordinal:
            raise NoDevice(f"the NVIDIA driver knows {count.value} device(s), number {ordinal} was asked for")
        device, primary = c_int(), c_void_p()
        self._call("cuDeviceGet", byref(device), ordinal)
        self._device = device.value
        if not context:
            return
        # An error here means that somebody else has set up the context: then it stays as it is.
        self._library.cuDevicePrimaryCtxSetFlags_v2(self._device, SPIN)
        self._call("cuDevicePrimaryCtxRetain", byref(primary), self._device)
        self._retained = True
        self._call("cuCtxSetCurrent", primary)

    @property
    def name(self) -> str:
        """The device's name, such as "Orin"."""
        text = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", text, len(text), self._device)
        return text.value.decode("utf-8", "replace")

    @property
    def version(self) -> str:
        """The newest CUDA that the driver serves, such as "12.6"."""
        number = c_int()
        self._call("cuDriverGetVersion", byref(number))
        return f"{number.value // 1000}.{number.value % 1000 // 10}"

    @property
    def compute_capability(self) -> str:
        """Such as "8.7"."""
        return f"{self._attribute(MAJOR)}.{self._attribute(MINOR)}"

    def describe(self) -> dict:
        """What must stand beside every figure that was taken on it."""
        return {"gpu": self.name, "compute_capability": self.compute_capability, "driver_cuda": self.version}

    @property
    def integrated(self) -> bool:
        """True where device and host share one memory, as on a Jetson."""
        return bool(self._attribute(INTEGRATED))

    def allocate(self, size_bytes: int) -> int:
        """Address of device memory."""
        address = _ADDRESS()
        self._call("cuMemAlloc_v2", byref(address), size_bytes)
        return address.value

    def free(self, address: int) -> None:
        self._call("cuMemFree_v2", address)

    def allocate_host(self, size_bytes: int) -> int:
        """Address of page-locked host memory that the device may also reach."""
        address = c_void_p()
        self._call("cuMemHostAlloc", byref(address), size_bytes, DEVICE_MAP)
        return address.value or 0

    def device_address(self, host_address: int) -> int:
        """Where the device sees memory of :meth:`allocate_host`."""
        address = _ADDRESS()
        self._call("cuMemHostGetDevicePointer_v2", byref(address), host_address, 0)
        return address.value

    def free_host(self, address: int) -> None:
        self._call("cuMemFreeHost", address)

    def write(self, device_address: int, host_address: int, size_bytes: int, stream: int) -> None:
        """Host to device, in the order of ``stream``."""
        self._call("cuMemcpyHtoDAsync_v2", device_address, host_address, size_bytes, stream)

    def read(self, host_address: int, device_address: int, size_bytes: int, stream: int) -> None:
        """Device to host, in the order of ``stream``."""
        self._call("cuMemcpyDtoHAsync_v2", host_address, device_address, size_bytes, stream)

    def stream(self) -> int:
        """A new stream."""
        return self._made("cuStreamCreate", NON_BLOCKING)

    def synchronize(self, stream: int) -> None:
        self._call("cuStreamSynchronize", stream)

    def destroy_stream(self, stream: int) -> None:
        self._call("cuStreamDestroy_v2", stream)

    def begin_capture(self, stream: int) -> None:
        """From here on, what is put into ``stream`` is recorded and not executed."""
        self._call("cuStreamBeginCapture_v2", stream, CAPTURE_THREAD_LOCAL)

    def end_capture(self, stream: int) -> int:
        """The recording, ready to be launched."""
        graph, ready = c_void_p(), c_void_p()
        self._call("cuStreamEndCapture", stream, byref(graph))
        try:
            self._call("cuGraphInstantiateWithFlags", byref(ready), graph, 0)
        finally:
            self._call("cuGraphDestroy", graph)
        return ready.value or 0

    def launch(self, graph: int, stream: int) -> None:
        self._call("cuGraphLaunch", graph, stream)

    def decision(self, graph: int, stream: int) -> Callable[[], None]:
        """What launches ``graph`` and waits for it, with names looked up and arguments converted once."""
        launch, wait = self._library.cuGraphLaunch, self._library.cuStreamSynchronize
        ready, where = c_void_p(graph), c_void_p(stream)

        def decide() -> None:
            code = launch(ready, where) or wait(where)
            if code:
                self._refuse("cuGraphLaunch", code)

        return decide

    def destroy_graph(self, graph: int) -> None:
        self._call("cuGraphExecDestroy", graph)

    def event(self) -> int:
        """A new event, with a time stamp of its own."""
        return self._made("cuEventCreate", 0)

    def record(self, event: int, stream: int) -> None:
        self._call("cuEventRecord", event, stream)

    def elapsed_us(self, begin: int, end: int) -> float:
        """Microseconds on the device between two recorded events; waits for the second (resolution: about 0.5 us)."""
        milliseconds = c_float()
        self._call("cuEventSynchronize", end)
        self._call("cuEventElapsedTime", byref(milliseconds), begin, end)
        return milliseconds.value * 1e3

    def destroy_event(self, event: int) -> None:
        self._call("cuEventDestroy_v2", event)

    def close(self) -> None:
        """Give the context back; memory and streams must have been freed before."""
        if self._retained:
            self._retained = False
            self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _made(self, function: str, flags: int) -> int:
        handle = c_void_p()
        self._call(function, byref(handle), flags)
        return handle.value or 0

    def _attribute(self, number: int) -> int:
        value = c_int()
        self._call("cuDeviceGetAttribute", byref(value), number, self._device)
        return value.value

    def _call(self, function: str, *arguments: object) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            self._refuse(function, code)

    def _refuse(self, function: str, code: int) -> None:
        text = c_char_p()
        known = self._library.cuGetErrorString(code, byref(text)) == 0 and text.value is not None
        reason = text.value.decode("utf-8", "replace") if known and text.value else "unknown error"
        raise CudaError(f"{function} failed: {reason} (CUDA error {code})")


def _load() -> ctypes.CDLL:
    reasons = []
    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError as error:
            reasons.append(str(error))
            continue
        for function, types in _SIGNATURES.items():
            try:
                bound = getattr(library, function)
            except AttributeError as error:
                raise NoDevice(f"the NVIDIA driver is too old: {name} lacks {function}") from error
            bound.argtypes, bound.restype = types, c_int
        return library
    raise NoDevice("no NVIDIA driver on this machine ({})".format("; ".join(reasons)))
