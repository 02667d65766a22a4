"""The one OpenVINO core of a process, and the signal stack that loading it must not take."""

import ctypes
import functools
import sys
from typing import Any


class SignalStack(ctypes.Structure):
    """Linux's stack_t: the stack that a thread's signal handlers run on."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@functools.cache
def openvino_core() -> Any:
    """Return this process's ov.Core with its CPU plugin loaded.

    The plugin gives the thread that loads it a signal stack of its own, and when it goes unmaps
    that and restores the one before (OpenVINO, intel_cpu/src/sigstack_manager.cpp). After two
    cores that do not go in reverse order, the one before is the other's, unmapped: the next signal
    ends the process, or overwrites what has been mapped there since. So there is one core, which
    stays, and the stack that was there is put back.
    """
    import openvino as ov

    core, before = ov.Core(), signal_stack()
    core.get_property("CPU", "FULL_DEVICE_NAME")
    if before is not None:
        _sigaltstack(ctypes.byref(before), None)
    return core


def openvino_capabilities() -> list[str]:
    """Return what OpenVINO says this CPU computes natively, such as ["FP32", "BF16", "INT8"]."""
    capabilities: list[str] = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return capabilities


def signal_stack() -> SignalStack | None:
    """Return this thread's signal stack, None where the system is not Linux."""
    if sys.platform != "linux":
        return None
    found = SignalStack()
    _sigaltstack(None, ctypes.byref(found))
    return found


def _sigaltstack(new: Any, old: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.sigaltstack(new, old):
        raise OSError(ctypes.get_errno(), "sigaltstack failed")
