"""Exit statuses and last words of engines, decoded."""

from __future__ import annotations

import pytest

from slmdesk.engines import failures

PATH = "/models/some-Q4_K_M.gguf"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (-9, "engine_killed"),
        (137, "engine_killed"),
        (-15, "engine_killed"),
        (-11, "engine_crashed"),
        (139, "engine_crashed"),
        (-6, "engine_crashed"),
        (-4, "cpu_unsupported"),
        (132, "cpu_unsupported"),
        (0xC0000005, "engine_crashed"),
        (0xC000001D, "cpu_unsupported"),
        (-1073741795, "cpu_unsupported"),
        (0xFFFFFFFFC000001D, "cpu_unsupported"),
        (0xC0000017, "out_of_memory"),
        (0xC0000135, "engine_missing"),
        (0xC0000409, "engine_crashed"),
        (1, "engine_crashed"),
        (failures.CRASHED_EXIT, "engine_crashed"),
        (0, "engine_crashed"),
    ],
)
def test_a_status_while_answering(status: int, code: str) -> None:
    error = failures.decode(status, [], PATH, loading=False)
    assert error.code == code
    assert error.hint
    assert str(abs(status)) not in error.message
    assert "exit status" in error.details


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("error loading model: unknown model architecture: 'lamma'", "architecture_unknown", "lamma"),
        (
            "error loading model vocabulary: unknown pre-tokenizer type: 'zeta'",
            "architecture_unknown",
            "zeta",
        ),
        (
            "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 99",
            "out_of_memory",
            "some",
        ),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "out_of_memory", "some"),
        (
            "gguf_init_from_file_ptr: invalid magic characters: 'ABCD', expected 'GGUF'",
            "model_damaged",
            "some",
        ),
        ("error loading model: invalid vector subscript", "model_damaged", "some"),
        ("error loading model: missing tensor 'blk.3.ffn_up.weight'", "model_damaged", "blk.3.ffn_up"),
        ("key not found in model: llama.block_count", "model_damaged", "block_count"),
        ("GGML_ASSERT(id_to_token.size() == token_to_id.size()) failed", "model_damaged", "twice"),
        ("tensor 'output.weight' has wrong shape; expected 1, got 2", "model_damaged", "output.weight"),
        ("K cache type q8_0 with block size 32 does not divide n_embd_head_k=80", "spec_invalid", "cache"),
        ("Illegal instruction (core dumped)", "cpu_unsupported", "processor"),
    ],
)
def test_last_words_while_loading(line: str, code: str, told: str) -> None:
    error = failures.decode(-6, ["something before", line, "and after"], PATH, loading=True)
    assert error.code == code
    assert told in error.message
    assert line in error.details


def test_memory_that_ran_out_is_said_while_answering_too() -> None:
    assert failures.decode(-6, ["failed to allocate buffer"], PATH, loading=False).code == "out_of_memory"


def test_a_model_that_loaded_is_not_called_damaged_later() -> None:
    assert failures.decode(-6, ["failed to open something"], PATH, loading=False).code == "engine_crashed"


def test_an_unknown_end_while_loading_points_at_the_file() -> None:
    error = failures.decode(-11, [], PATH, loading=True)
    assert error.code == "engine_crashed"
    assert "some-Q4_K_M.gguf" in error.message


def test_a_load_that_hangs() -> None:
    error = failures.start_timeout(PATH, 300, ["last line"])
    assert error.code == "engine_start_timeout"
    assert "last line" in error.details


@pytest.mark.parametrize(
    "status",
    [-11, -4, -7, -6, -8, 139, 0xC0000005, 0xC000001D, 0xC00000FD, 0xC0000094, 0xC0000409, 0xC0000374],
)
def test_native_code_that_fails_may_be_mended_by_a_step(status: int) -> None:
    answering = failures.decode(status, ["ggml.c:1: GGML_ASSERT(x) failed"], PATH, loading=False)
    assert isinstance(answering, failures.NativeFaultError)
    assert not answering.loading
    loading = failures.decode(status, [], PATH, loading=True)
    assert isinstance(loading, failures.NativeFaultError)
    assert loading.loading
    assert not isinstance(loading.without_cure(), failures.NativeFaultError)


@pytest.mark.parametrize(
    ("status", "lines", "loading"),
    [
        (-9, [], False),
        (137, [], False),
        (-15, [], False),
        (0xC000013A, [], False),
        (1, [], False),
        (0, [], True),
        (failures.CRASHED_EXIT, [], False),
        (-6, ["terminate called after throwing an instance of 'std::bad_alloc'"], False),
        (-6, ["GGML_ASSERT(id_to_token.size() == token_to_id.size()) failed"], True),
        (-11, ["error loading model: missing tensor 'blk.3.ffn_up.weight'"], True),
        (0xC0000135, [], True),
    ],
)
def test_what_others_or_the_file_did_is_no_fault_of_native_code(
    status: int, lines: list[str], loading: bool
) -> None:
    error = failures.decode(status, lines, PATH, loading=loading)
    assert not isinstance(error, failures.NativeFaultError)


def test_what_ctypes_makes_of_a_native_fault_on_windows() -> None:
    """Its words and numbers are those of Modules/_ctypes/callproc.c, SetException."""
    status = failures.native_status
    assert status(OSError("exception: access violation reading 0x0000000000000010")) == 0xC0000005
    assert status(OSError("exception: stack overflow")) == 0xC00000FD
    assert status(OSError("exception: something of a later Python")) == 0xC0000005
    number = OSError("[WinError -1073741795] Windows Error 0xc000001d")
    number.winerror = -1073741795
    assert status(number) == 0xC000001D
    assert status(OSError(2, "No such file or directory")) is None
    assert status(ValueError("exception: access violation")) is None
