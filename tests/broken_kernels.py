"""Kernels of ggml that crash or compute wrong: a library made here and put in front of the real one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

preloads = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="libraries are put in front of others with LD_PRELOAD here, and a compiler makes them",
)


# What stands in front of ggml's own functions. Without AMX, repacked weights have their turn on every processor.
_BEFORE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

/* llama.cpp is loaded for itself alone, so RTLD_NEXT does not see it. */
static void *next(const char *name) { return dlsym(dlopen("libggml-cpu.so.0", RTLD_LAZY | RTLD_NOLOAD), name); }
void *_Z28ggml_backend_amx_buffer_typev(void) { return NULL; }
"""
TIMES_REPACKED = """
typedef void (*times)(int, float *, size_t, const void *, const void *, int, int);
#define REPLACE(name) void name(int n, float *s, size_t bs, const void *x, const void *y, int rows, int columns) { \\
    static times real; if (!real) real = (times) next(#name); \\
    real(n, s, bs, x, y, rows, columns); BREAK }
REPLACE(ggml_gemm_q4_K_8x4_q8_K)
REPLACE(ggml_gemm_q4_K_8x8_q8_K)
REPLACE(ggml_gemm_q4_K_16x1_q8_K)
REPLACE(ggml_gemv_q4_K_8x4_q8_K)
REPLACE(ggml_gemv_q4_K_8x8_q8_K)
REPLACE(ggml_gemv_q4_K_16x1_q8_K)
"""
DOT = """
typedef void (*dot)(int, float *, size_t, const void *, size_t, const void *, size_t, int);
void ggml_vec_dot_%s(int n, float *s, size_t bs, const void *x, size_t bx, const void *y, size_t by, int nrc) {
    static dot real; if (!real) real = (dot) next("ggml_vec_dot_%s");
    real(n, s, bs, x, bx, y, by, nrc);
    %s
}
"""


def preload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Children of this test meet `code` in front of ggml's functions."""
    source, library = tmp_path / "broken.c", tmp_path / "broken.so"
    source.write_text(_BEFORE + code)
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
