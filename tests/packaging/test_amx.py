"""AMX's tile configuration reaches the processor whole: in a program built as llama.cpp is, and in builds of it.

The processor's part is emulated where it has no AMX (packaging/compiler/amx_emulator.c).
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import llama_build
from release import amx
from release.project import DIST

GCC = shutil.which("g++")

pytestmark = [
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or platform.machine() != "x86_64",
        reason="AMX is a part of x86-64, and its emulator one for Linux",
    ),
    pytest.mark.skipif(GCC is None, reason="needs GCC"),
]

# What llama.cpp does (ggml_tile_config_init and tinygemm_kernel_amx), with a product that plain loops check.
PROGRAM = r"""
#include <cstdint>
#include <cstdio>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

struct configuration {
    uint8_t palette = 0, start_row = 0, reserved[14] = {0};
    uint16_t bytes[16] = {0};
    uint8_t rows[16] = {0};
};

__attribute__((noinline)) void configure() { // as in a function too large to be inlined
    static thread_local bool done = false;
    if (done) return;
    alignas(64) configuration tiles = {};
    tiles.palette = 1;
    tiles.rows[0] = tiles.rows[1] = 8;
    tiles.bytes[0] = tiles.bytes[1] = 64;
    for (int i = 2; i < 8; i++) {
        tiles.rows[i] = 16;
        tiles.bytes[i] = i < 4 ? 32 : 64;
    }
    _tile_loadconfig(&tiles);
    done = true;
}

int8_t left[16 * 32], right[8 * 64];
int32_t product[16 * 16];

int main() {
    if (syscall(SYS_arch_prctl, 0x1023, 18) != 0) return 3;
    for (int i = 0; i < 16 * 32; i++) left[i] = int8_t(i * 37 + 11);
    for (int i = 0; i < 8 * 64; i++) right[i] = int8_t(i * 91 - 5);
    configure();
    _tile_zero(4);
    _tile_loadd(2, left, 32);
    _tile_loadd(0, right, 64);
    _tile_dpbssd(4, 2, 0);
    _tile_stored(4, product, 64);
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++) {
            int32_t sum = 0;
            for (int k = 0; k < 32; k++) sum += left[32 * m + k] * right[64 * (k / 4) + 4 * n + k % 4];
            if (sum != product[16 * m + n]) return std::printf("wrong at %d, %d\n", m, n), 1;
        }
    std::puts("right");
}
"""


def built(folder: Path, *flags: str) -> Path:
    source, program = folder / "tiles.cpp", folder / "tiles"
    source.write_text(PROGRAM, encoding="utf-8")
    command = [str(GCC), "-O3", "-std=gnu++17", "-mamx-tile", "-mamx-int8", *flags]
    subprocess.run([*command, "-o", str(program), str(source)], check=True)
    return program


def ran(program: Path) -> subprocess.CompletedProcess[str]:
    told = dict(os.environ, LD_PRELOAD=str(amx.emulator(program.parent)))
    return subprocess.run([str(program)], env=told, capture_output=True, text=True, check=False)


def test_with_the_header_the_product_is_right(tmp_path: Path) -> None:
    header = llama_build.COMPILER / "amx_tiles.h"
    done = ran(built(tmp_path, "-include", str(header)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


def test_without_it_the_fault_is_found(tmp_path: Path) -> None:
    found = subprocess.run(
        [str(GCC), "-print-file-name=include/amxtileintrin.h"], capture_output=True, text=True, check=True
    )
    if "(const void **)__config" not in Path(found.stdout.strip()).read_text(encoding="utf-8"):
        pytest.skip("this GCC says that all of the configuration is read")
    done = ran(built(tmp_path))
    # What the rest of the configuration holds is what lay on the stack.
    assert (done.returncode, done.stdout, done.stderr[:5]) == (86, "", "amx: ")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("folder", [Path(sys.prefix), DIST], ids=["environment", "release"])
def test_builds_of_llama_cpp_are_safe(folder: Path, smollm2: Path) -> None:
    found = amx.libraries(folder)
    if not found:
        pytest.skip(f"no llama.cpp with code for AMX in {folder}")
    for library in found:
        try:
            amx.check(library, model=smollm2)
        except amx.NotRunError as error:
            pytest.skip(str(error))
