"""In the child: the importance matrix, from llama.cpp's evaluation callback over a text.

For each weight matrix, the squares of its inputs are summed over all tokens: a column whose inputs are large
deserves more care when it is rounded. What is summed, and for which tensors, follows llama.cpp's tools/imatrix.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slmdesk.core.errors import SlmDeskError
from slmdesk.quantize.child.evaluate import Evaluator, chunks_of, load, tokenize
from slmdesk.quantize.child.ggml import QuantizerLibrary
from slmdesk.quantize.matrix_file import Matrix, MatrixEntry, write_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slmdesk.quantize.child.main import Teller
    from slmdesk.quantize.protocol import MatrixSpec

_F32 = 0
_FEWEST_ROWS = 16  # smaller batches are passed over, as in llama.cpp's tool


class GgmlTensor(ctypes.Structure):
    """struct ggml_tensor"""

    _fields_ = [
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
        ("extra", ctypes.c_void_p),
        ("padding", ctypes.c_char * 8),
    ]


_OP_OFFSET = GgmlTensor.op.offset


class Collector:
    """Sums of squared inputs, by weight tensor."""

    def __init__(self, library: QuantizerLibrary) -> None:
        self._base = library.base
        numbers = {self._base.ggml_op_name(n): n for n in range(self._operations())}
        self._multiply, self._multiply_id = numbers[b"MUL_MAT"], numbers[b"MUL_MAT_ID"]
        self.sums: dict[str, NDArray[np.float64]] = {}  # (matrices, row length)
        self.counts: dict[str, NDArray[np.int64]] = {}
        self.problem: BaseException | None = None
        self._latest: tuple[int, NDArray[np.float64]] | None = None

    def _operations(self) -> int:
        # enum ggml_op has about 100 members; MUL_MAT and MUL_MAT_ID stand in its first third.
        return 60

    def forget_inputs(self) -> None:
        """Before each evaluation: tensors' addresses are used again."""
        self._latest = None

    def node(self, address: int, ask: bool) -> bool:
        """llama.cpp's callback. Nothing may be raised through C: what goes wrong is kept in `problem`."""
        op = ctypes.c_int.from_address(address + _OP_OFFSET).value
        if op not in (self._multiply, self._multiply_id):
            return not ask
        try:
            node = GgmlTensor.from_address(address)
            weights = GgmlTensor.from_address(node.src[0])
            name = _plain(weights.name)
            if ask:
                return self._wanted(node, op, name)
            if op == self._multiply:
                self._take(node, weights, name)
            else:
                self._take_experts(node, weights, name)
        except Exception as error:  # noqa: BLE001 - see above
            self.problem = self.problem or error
        return self.problem is None

    def _wanted(self, node: GgmlTensor, op: int, name: str) -> bool:
        if op == self._multiply_id:
            return True
        inputs = GgmlTensor.from_address(node.src[1])
        return inputs.ne[1] >= _FEWEST_ROWS and inputs.type == _F32 and name.startswith("blk.")

    def _take(self, node: GgmlTensor, weights: GgmlTensor, name: str) -> None:
        inputs = GgmlTensor.from_address(node.src[1])
        layers, groups = weights.ne[2], weights.ne[3]
        matrices, columns = layers * groups, inputs.ne[0]
        sums = self.sums.setdefault(name, np.zeros((matrices, columns)))
        self.counts.setdefault(name, np.zeros(1, np.int64))[0] += (
            inputs.ne[1] * inputs.ne[2] * inputs.ne[3] // matrices
        )
        if matrices == 1:
            # Queries, keys and values (and gate and up) read the same inputs, one after the other.
            if self._latest is None or self._latest[0] != node.src[1]:
                values = self._values(inputs)
                self._latest = (node.src[1], _squares(values.reshape(-1, columns)))
            sums[0] += self._latest[1]
            return
        values = self._values(inputs)
        for third in range(inputs.ne[3]):
            for second in range(inputs.ne[2]):
                sums[(third % groups) * layers + second % layers] += _squares(values[third, second])

    def _take_experts(self, node: GgmlTensor, weights: GgmlTensor, name: str) -> None:
        inputs = GgmlTensor.from_address(node.src[1])
        chosen = GgmlTensor.from_address(node.src[2])
        experts, columns = weights.ne[2], inputs.ne[0]
        used, tokens = chosen.ne[0], inputs.ne[2]
        values = self._values(inputs)[0]  # (tokens, used or 1, columns)
        ids = self._values(chosen, np.int32)[0, 0]  # (tokens, used)
        sums = self.sums.setdefault(name, np.zeros((experts, columns)))
        counts = self.counts.setdefault(name, np.zeros(experts, np.int64))
        for slot in range(used):
            rows = values[:, slot % values.shape[1]]
            which = ids[:tokens, slot]
            chooser = np.zeros((experts, tokens), np.float32)
            chooser[which, np.arange(tokens)] = 1
            sums += chooser @ np.square(rows)
            counts += np.bincount(which, minlength=experts)

    def _values(self, tensor: GgmlTensor, kind: Any = np.float32) -> NDArray[Any]:
        """A tensor's data as an array of shape (ne3, ne2, ne1, ne0): where it lies, or a copy from the GPU."""
        address = ctypes.addressof(tensor)
        size = int(self._base.ggml_nbytes(address))
        if self._base.ggml_backend_buffer_is_host(tensor.buffer):
            memory: Any = (ctypes.c_char * size).from_address(tensor.data)
        else:
            memory = (ctypes.c_char * size)()
            self._base.ggml_backend_tensor_get(address, memory, 0, size)
        shape = tuple(reversed(tensor.ne))
        strides = tuple(reversed(tensor.nb))
        return np.ndarray(shape, kind, memory, strides=strides)

    def matrix(self, dataset: str, chunks: int, chunk: int) -> Matrix:
        """What was collected. Raises `SlmDeskError("evaluation_failed")` for inputs that are not finite."""
        entries = {}
        for name, sums in self.sums.items():
            if not np.isfinite(sums).all():
                raise SlmDeskError(
                    "evaluation_failed",
                    f"The model computes values that are not finite, before its tensor {name}.",
                    "The model is damaged, or needs BF16 or F32 weights; no importance matrix can be made of it.",
                )
            entries[name] = MatrixEntry(sums.astype(np.float32), self.counts[name].astype(np.float32))
        return Matrix(entries, (dataset,), chunks, chunk)


def _squares(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Column sums of squares, shape (columns,)."""
    sums: NDArray[np.float32] = np.einsum("ij,ij->j", rows, rows)
    return sums.astype(np.float64)


def _plain(name: bytes) -> str:
    """`CUDA0#blk.0.attn_k.weight#0` is what a copy on a GPU is called."""
    text = name.decode("utf-8", "replace")
    return text.split("#")[1] if "#" in text else text


def run(spec: MatrixSpec, tell: Teller) -> dict[str, Any]:
    """Compute and write the matrix. The result: `chunks`, `tokens`, `entries`, `seconds`.

    Raises `SlmDeskError`: `text_too_short`, `text_unreadable`, `evaluation_failed`, and those of a load.
    """
    library = QuantizerLibrary()
    started = time.perf_counter()
    model = load(library, spec.source, gpu_layers=spec.gpu_layers)
    text = Path(spec.text)
    chunks = chunks_of(
        tokenize(library, model, text, special=spec.special), spec.chunk, spec.most_chunks, text
    )
    collector = Collector(library)
    evaluator = Evaluator(
        library,
        model,
        chunk=spec.chunk,
        threads=spec.threads,
        on_node=collector.node,
        file_bytes=Path(spec.source).stat().st_size,
    )
    for number, chunk in enumerate(chunks):
        tell(number, len(chunks))
        evaluator.start(chunk)
        for begin in range(0, spec.chunk, evaluator.rows):
            collector.forget_inputs()
            evaluator.feed(begin, min(begin + evaluator.rows, spec.chunk), wanted=True)
            if collector.problem is not None:
                raise collector.problem
    matrix = collector.matrix(spec.dataset, len(chunks), spec.chunk)
    write_matrix(Path(spec.output), matrix)
    tell(len(chunks), len(chunks), force=True)
    return {
        "chunks": len(chunks),
        "tokens": int(chunks.size),
        "entries": len(matrix.entries),
        "seconds": time.perf_counter() - started,
    }
