"""What the machine has, on the real one; and probes that fail, each by itself."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from slmdesk.core import gpus, hardware
from slmdesk.core.gpus import Gpu


def test_this_machine() -> None:
    found = hardware.probe()
    assert found.cpu_name
    assert 1 <= found.cores.fast <= found.cores.physical <= found.cores.logical <= (os.cpu_count() or 1)
    assert 0 < found.memory_available <= found.memory_total <= psutil.virtual_memory().total
    assert found.problems == ()
    if found.architecture in {"x86_64", "AMD64"}:
        assert "sse3" in found.cpu_features


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_features_are_those_of_the_kernel() -> None:
    words = Path("/proc/cpuinfo").read_text().split()
    for feature in hardware.probe().cpu_features:
        assert feature in words or feature in {"sse3", "fp16", "neon"}


def test_a_probe_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> tuple[int, int]:
        raise OSError("no such sensor")

    monkeypatch.setattr(hardware, "memory", fail)
    monkeypatch.setattr(hardware, "_cpu_features", fail)
    found = hardware.probe()
    assert (found.memory_total, found.cpu_features) == (0, ())
    assert found.problems == ("memory: no such sensor", "processor features: no such sensor")
    assert found.cores.logical >= 1


def test_memory_agrees_with_the_system() -> None:
    total, available = hardware.memory()
    assert 0 < available <= total <= psutil.virtual_memory().total


def script(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program named nvidia-smi on PATH."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


posix = pytest.mark.skipif(sys.platform != "linux", reason="a shell script stands in for the driver's tool")


@posix
def test_cards_of_nvidia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, "echo 'NVIDIA RTX 4090, 24564, 20000'; echo 'GB10, [N/A], [N/A]'", monkeypatch)
    found, problems = gpus.probe()
    assert Gpu("NVIDIA RTX 4090", 24564 * 2**20, 20000 * 2**20, "cuda") in found
    assert Gpu("NVIDIA GB10", 0, 0, "cuda") in found
    assert problems == ()


@posix
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "echo 'NVIDIA-SMI has failed because of the driver'; exit 9",
            "NVIDIA-SMI has failed because of the driver",
        ),
        ("echo nonsense", "unpack"),
        ("exec sleep 60", "timed out"),
    ],
)
def test_a_broken_driver_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    monkeypatch.setattr(gpus, "_TIME_LIMIT_S", 0.2 if "sleep" in text else 5.0)
    script(tmp_path, text, monkeypatch)
    _, problems = gpus.probe()
    assert len(problems) == 1
    assert problems[0].startswith("nvidia-smi: ")
    assert problem in problems[0]


def test_no_driver_is_no_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus._nvidia() == []


def test_cards_in_the_kernels_folder(tmp_path: Path) -> None:
    def card(name: str, **files: str) -> None:
        device = tmp_path / name / "device"
        device.mkdir(parents=True)
        for file, text in files.items():
            (device / file).write_text(text + "\n")

    card("card0", vendor="0x8086", device="0x46a6")
    card(
        "card1",
        vendor="0x1002",
        mem_info_vram_total="8000",
        mem_info_vram_used="3000",
        product_name="AMD Radeon",
    )
    card("card1-DP-1", vendor="0x1002")
    card("card2", vendor="0x1af4")  # a virtual machine's
    card("card3")
    assert gpus._linux_devices(tmp_path) == [
        Gpu("Intel graphics (46a6)", 0, 0, "vulkan"),
        Gpu("AMD Radeon", 8000, 5000, "vulkan"),
    ]


@pytest.mark.parametrize(
    ("values", "gpu"),
    [
        ({}, None),
        ({"DriverDesc": "Microsoft Basic Display Adapter"}, None),
        (
            {"DriverDesc": "AMD Radeon RX 7600", "HardwareInformation.qwMemorySize": 8 * 2**30},
            Gpu("AMD Radeon RX 7600", 8 * 2**30, 8 * 2**30, "vulkan"),
        ),
        (
            {"DriverDesc": "Intel UHD", "HardwareInformation.MemorySize": (2**30).to_bytes(4, "little")},
            Gpu("Intel UHD", 2**30, 2**30, "vulkan"),
        ),
    ],
)
def test_adapters_of_windows(values: dict[str, object], gpu: Gpu | None) -> None:
    assert gpus._windows_gpu(values) == gpu


def test_output_raises_for_a_failing_command() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        gpus.output([sys.executable, "-c", "import sys; sys.exit(3)"])
