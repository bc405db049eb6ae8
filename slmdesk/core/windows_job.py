"""A Windows job object: the system ends everything in it when the last handle to it closes.

Nothing here is imported on other systems. Names and layouts are those of winnt.h and jobapi2.h.
"""

from __future__ import annotations

import ctypes
from ctypes import wintypes

_KILL_ON_JOB_CLOSE = 0x2000
_EXTENDED_LIMIT_INFORMATION = 9
_PROCESS_SET_QUOTA = 0x0100
_PROCESS_TERMINATE = 0x0001


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", wintypes.DWORD),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", wintypes.DWORD),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", wintypes.DWORD),
        ("SchedulingClass", wintypes.DWORD),
    )


class _IoCounters(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "ReadOperationCount",
            "WriteOperationCount",
            "OtherOperationCount",
            "ReadTransferCount",
            "WriteTransferCount",
            "OtherTransferCount",
        )
    )


class _ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("BasicLimitInformation", _BasicLimits),
        ("IoInfo", _IoCounters),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


class WindowsJob:
    """One child and what it starts. `close` (or the end of this process) ends what is still running."""

    def __init__(self, kernel: ctypes.CDLL, handle: int) -> None:
        self._kernel = kernel
        self._handle: int | None = handle

    @classmethod
    def around(cls, pid: int) -> WindowsJob | None:
        """A new job with the process in it; None where the system allows none (the stdin watch stays)."""
        kernel = _kernel()
        job = kernel.CreateJobObjectW(None, None)
        if not job:
            return None
        limits = _ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = _KILL_ON_JOB_CLOSE
        size = ctypes.sizeof(limits)
        process = kernel.OpenProcess(_PROCESS_SET_QUOTA | _PROCESS_TERMINATE, False, pid)
        held = (
            bool(process)
            and kernel.SetInformationJobObject(job, _EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), size)
            and kernel.AssignProcessToJobObject(job, process)
        )
        if process:
            kernel.CloseHandle(process)
        if not held:
            kernel.CloseHandle(job)
            return None
        return cls(kernel, job)

    def terminate(self) -> None:
        """End everything in the job now."""
        if self._handle is not None:
            self._kernel.TerminateJobObject(self._handle, 1)

    def close(self) -> None:
        """Give the handle back, which ends what is left in the job."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._kernel.CloseHandle(handle)


def _kernel() -> ctypes.CDLL:
    """kernel32 with the types of the functions used: handles are pointers wide."""
    kernel: ctypes.CDLL = getattr(ctypes, "WinDLL")("kernel32")  # noqa: B009 - mypy does not know it elsewhere
    handle, boolean, word = wintypes.HANDLE, wintypes.BOOL, wintypes.DWORD
    signatures = {
        "CreateJobObjectW": (handle, (ctypes.c_void_p, wintypes.LPCWSTR)),
        "SetInformationJobObject": (boolean, (handle, ctypes.c_int, ctypes.c_void_p, word)),
        "AssignProcessToJobObject": (boolean, (handle, handle)),
        "TerminateJobObject": (boolean, (handle, wintypes.UINT)),
        "OpenProcess": (handle, (word, boolean, word)),
        "CloseHandle": (boolean, (handle,)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(kernel, name)
        function.restype = result
        function.argtypes = arguments
    return kernel
