"""The graphics processors of this machine, by asking whatever tool or folder the system has for it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_TIME_LIMIT_S = 5.0
_NO_WINDOW: int = getattr(subprocess, "CREATE_NO_WINDOW", 0)
_DRM = Path("/sys/class/drm")
_VENDORS = {"0x1002": "AMD", "0x8086": "Intel", "0x10de": "NVIDIA"}
# Drivers of virtual machines and of server management chips: nothing to compute with.
_DISPLAY_ONLY = ("Microsoft Basic", "Microsoft Remote", "Hyper-V", "VMware", "VirtualBox", "Parsec", "Citrix")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One graphics processor. Bytes; 0 where not known. `backend` is what computes on it: cuda, metal, vulkan."""

    name: str
    memory_total: int
    memory_free: int
    backend: str


def probe() -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """The GPUs found, and one line for each probe that failed. Takes seconds where a driver hangs."""
    probes: list[tuple[str, Callable[[], list[Gpu]]]] = []
    if sys.platform == "darwin":
        probes.append(("system_profiler", _macos))
    else:
        probes.append(("nvidia-smi", _nvidia))
    if sys.platform == "linux":
        probes.append(("graphics devices", _linux_devices))
    if sys.platform == "win32":
        probes.append(("display adapters", _windows_adapters))
    found: list[Gpu] = []
    problems: list[str] = []
    for name, look in probes:
        try:
            gpus = look()
        except Exception as error:  # noqa: BLE001 - any driver or tool may fail in its own way
            problems.append(f"{name}: {str(error) or type(error).__name__}")
            continue
        # nvidia-smi knows more about its own than the system does, and comes first.
        found += [gpu for gpu in gpus if not (found and "NVIDIA" in gpu.name and gpu.backend != "cuda")]
    return tuple(found), tuple(problems)


def output(command: list[str]) -> str:
    """What a short command prints. Raises `OSError` or `subprocess.SubprocessError`; gives it 5 seconds."""
    done = subprocess.run(
        command,
        capture_output=True,
        check=True,
        timeout=_TIME_LIMIT_S,
        stdin=subprocess.DEVNULL,
        creationflags=_NO_WINDOW,
    )
    return done.stdout.decode("utf-8", "replace")


def _nvidia() -> list[Gpu]:
    query = "--query-gpu=name,memory.total,memory.free"
    try:
        text = output(["nvidia-smi", query, "--format=csv,noheader,nounits"])
    except FileNotFoundError:
        return []  # no driver, so no such card to tell about
    except subprocess.CalledProcessError as error:
        words = (error.stdout or error.stderr or b"").decode("utf-8", "replace").strip().splitlines()
        raise OSError(words[0] if words else f"exit status {error.returncode}") from error
    found = []
    for line in text.splitlines():
        name, total, free = (part.strip() for part in line.rsplit(",", 2))
        label = name if name.startswith("NVIDIA") else f"NVIDIA {name}"
        found.append(Gpu(label, _mebibytes(total), _mebibytes(free), "cuda"))
    return found


def _mebibytes(text: str) -> int:
    return (
        int(text) * 1024 * 1024 if text.isdigit() else 0
    )  # "[N/A]" where memory is shared with the processor


def _linux_devices(root: Path = _DRM) -> list[Gpu]:
    """AMD and Intel cards (and NVIDIA's without their driver) from /sys/class/drm/cardN/device."""
    found = []
    for card in sorted(root.glob("card[0-9]*")):
        device = card / "device"
        vendor = _VENDORS.get(_line(device / "vendor"))
        if "-" in card.name or vendor is None:  # card0-HDMI-A-1 is a socket of card0
            continue
        total = _line(device / "mem_info_vram_total")
        used = _line(device / "mem_info_vram_used")
        size = int(total) if total.isdigit() else 0
        left = size - int(used) if used.isdigit() else size
        model = _line(device / "product_name") or f"graphics ({_line(device / 'device').removeprefix('0x')})"
        name = model if model.startswith(vendor) else f"{vendor} {model}"
        found.append(Gpu(name, size, max(0, left), "vulkan"))
    return found


def _line(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _macos() -> list[Gpu]:
    data: dict[str, Any] = json.loads(output(["system_profiler", "SPDisplaysDataType", "-json"]))
    found = []
    for entry in data.get("SPDisplaysDataType", []):
        name = str(entry.get("sppci_model") or entry.get("_name") or "graphics")
        metal = "spdisplays_mtlgpufamilysupport" in entry or "spdisplays_metal" in str(entry.keys())
        words = str(entry.get("spdisplays_vram") or entry.get("spdisplays_vram_shared") or "").split()
        size = int(words[0]) if words and words[0].isdigit() else 0
        size *= 1024**3 if words[1:2] == ["GB"] else 1024**2
        if not size and name.startswith("Apple"):
            size = int(output(["sysctl", "-n", "hw.memsize"]))  # memory is shared
        found.append(Gpu(name, size, size, "metal" if metal else "vulkan"))
    return found


def _windows_adapters() -> list[Gpu]:
    """Display adapters from the registry: name and memory, without starting anything."""
    found: list[Gpu] = []
    if sys.platform == "win32":
        import winreg

        group = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, group) as adapters:
            for index in range(winreg.QueryInfoKey(adapters)[0]):
                number = winreg.EnumKey(adapters, index)
                if not number.isdigit():
                    continue
                with winreg.OpenKey(adapters, number) as adapter:
                    values = {}
                    for entry in range(winreg.QueryInfoKey(adapter)[1]):
                        name, value, _kind = winreg.EnumValue(adapter, entry)
                        values[name] = value
                gpu = _windows_gpu(values)
                if gpu is not None:
                    found.append(gpu)
    return found


def _windows_gpu(values: dict[str, Any]) -> Gpu | None:
    name = str(values.get("DriverDesc", ""))
    if not name or any(word in name for word in _DISPLAY_ONLY):
        return None
    size = values.get("HardwareInformation.qwMemorySize", values.get("HardwareInformation.MemorySize", 0))
    if isinstance(size, bytes):
        size = int.from_bytes(size, "little")
    return Gpu(name, int(size), int(size), "vulkan")
