"""Weights as their formats lay them out: blocks of random bytes, and what numbers they stand for.

Written from the formats' definition (the block structs of ggml-common.h and the reference dequantizers of
ggml-quants.c), in plain numpy and without any of llama.cpp's code: the self-test's other opinion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.float32]

# IQ4's sixteen values (kvalues_iq4nl).
_IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)


@dataclass(frozen=True, slots=True)
class Family:
    """One type of weights. A block stands for `numbers` weights and takes `size` bytes.

    `scales` are the places (byte offsets) of the 16-bit floats that all weights of a block are proportional to;
    `middle` is what must be taken off the first scale's quants to centre them, where a second scale is added.
    """

    name: str
    ggml_type: int  # enum ggml_type
    numbers: int
    size: int
    scales: tuple[int, ...]
    numbers_of: Callable[[Bytes], Numbers]
    middle: float = 0.0
    ternary: bool = False  # of two bits three values are used

    def weights(self, rng: np.random.Generator, rows: int, columns: int) -> tuple[Bytes, Numbers]:
        """Random weights of mean about 0 and variance 1/`columns`: their bytes, and [rows, columns] of numbers."""
        if not self.scales:
            return self._plain(rng, rows, columns)
        count = rows * columns // self.numbers
        blocks = rng.integers(0, 256, (count, self.size), np.uint8)
        if self.ternary:
            blocks &= ~(blocks & blocks << 1 & 0b10101010)  # 3 becomes 1
        ones = rng.uniform(0.5, 1.5, count)
        if len(self.scales) == 1:
            ones *= rng.choice([-1.0, 1.0], count)  # most quants reach further on one side of 0
        self._put_scales(blocks, ones)
        spread = float(self.numbers_of(blocks).std())
        self._put_scales(blocks, ones / (spread * columns**0.5))
        return blocks.reshape(-1), self.numbers_of(blocks).reshape(rows, columns)

    def _plain(self, rng: np.random.Generator, rows: int, columns: int) -> tuple[Bytes, Numbers]:
        values = (rng.random((rows, columns), np.float32) - np.float32(0.5)) * np.float32(
            (12 / columns) ** 0.5
        )
        if self.name == "BF16":
            data = (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8).reshape(-1)
        else:
            data = values.astype(np.float16 if self.name == "F16" else np.float32).view(np.uint8).reshape(-1)
        return data, self.numbers_of(data.reshape(-1, self.size)).reshape(rows, columns)

    def _put_scales(self, blocks: Bytes, scale: NDArray[np.float64]) -> None:
        first = scale.astype(np.float16)
        _put(blocks, self.scales[0], first)
        if len(self.scales) > 1:
            _put(blocks, self.scales[1], (first.astype(np.float32) * self.middle).astype(np.float16))


def _put(blocks: Bytes, at: int, values: NDArray[np.float16]) -> None:
    blocks[:, at : at + 2] = values.view(np.uint8).reshape(-1, 2)


def _half(blocks: Bytes, at: int) -> Numbers:
    """The 16-bit float at a byte offset of each block, as a column."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16).astype(np.float32)


def _nibbles(data: Bytes) -> Bytes:
    """Low halves of all bytes, then their high halves: [n, m] -> [n, 2 m]."""
    return np.concatenate((data & 15, data >> 4), axis=1)


def _f32(blocks: Bytes) -> Numbers:
    return np.ascontiguousarray(blocks).view(np.float32)


def _f16(blocks: Bytes) -> Numbers:
    return np.ascontiguousarray(blocks).view(np.float16).astype(np.float32)


def _bf16(blocks: Bytes) -> Numbers:
    return (np.ascontiguousarray(blocks).view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _q4_0(blocks: Bytes) -> Numbers:
    # d, 16 bytes of two quants: d * (q - 8)
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).astype(np.float32) - 8)


def _q4_1(blocks: Bytes) -> Numbers:
    # d, m, 16 bytes: d * q + m
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]) + _half(blocks, 2)


def _q5_0(blocks: Bytes) -> Numbers:
    # d, 32 fifth bits, 16 bytes of four bits: d * (q - 16)
    fifth = np.unpackbits(blocks[:, 2:6], axis=1, bitorder="little")
    return _half(blocks, 0) * ((_nibbles(blocks[:, 6:]) | fifth << 4).astype(np.float32) - 16)


def _q5_1(blocks: Bytes) -> Numbers:
    # d, m, 32 fifth bits, 16 bytes of four bits: d * q + m
    fifth = np.unpackbits(blocks[:, 4:8], axis=1, bitorder="little")
    return _half(blocks, 0) * (_nibbles(blocks[:, 8:]) | fifth << 4) + _half(blocks, 2)


def _q8_0(blocks: Bytes) -> Numbers:
    # d, 32 signed bytes: d * q
    return _half(blocks, 0) * blocks[:, 2:].view(np.int8)


def _q2_k(blocks: Bytes) -> Numbers:
    # 16 bytes of a scale and a minimum, 2 times 32 bytes of four quants, d, dmin: d * s * q - dmin * m
    quants = _pairs_of_bits(blocks[:, 16:80]).reshape(-1, 16, 16)
    scales: Numbers = _half(blocks, 80) * (blocks[:, :16] & 15)
    minima: Numbers = _half(blocks, 82) * (blocks[:, :16] >> 4)
    numbers: Numbers = scales[:, :, None] * quants - minima[:, :, None]
    return numbers.reshape(len(blocks), 256)


def _q3_k(blocks: Bytes) -> Numbers:
    # 32 bytes of third bits, 2 times 32 bytes of two bits, 16 scales of 6 bits in 12 bytes, d: d * (s - 32) * (q - 4)
    shifts = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    third = blocks[:, None, :32] >> shifts & 1
    quants = (_pairs_of_bits(blocks[:, 32:96]).reshape(-1, 8, 32) | third << 2).astype(np.float32) - 4
    low = np.concatenate((blocks[:, 96:104] & 15, blocks[:, 96:104] >> 4), axis=1)
    high = (blocks[:, None, 104:108] >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 4, 1) & 3).reshape(-1, 16)
    scales = _half(blocks, 108) * ((low | high << 4).astype(np.float32) - 32)
    numbers: Numbers = scales[:, :, None] * quants.reshape(-1, 16, 16)
    return numbers.reshape(len(blocks), 256)


def _q4_k(blocks: Bytes) -> Numbers:
    # d, dmin, 8 scales and 8 minima of 6 bits in 12 bytes, 4 times 32 bytes of two quants: d * s * q - dmin * m
    return _scaled_and_lowered(blocks, _nibbles_of_32(blocks[:, 16:]))


def _q5_k(blocks: Bytes) -> Numbers:
    # the same with 32 bytes of fifth bits between the scales and the quants
    fifth = blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8).reshape(1, 8, 1) & 1
    quants: Bytes = (_nibbles_of_32(blocks[:, 48:]) | fifth << 4).astype(np.uint8)
    return _scaled_and_lowered(blocks, quants)


def _scaled_and_lowered(blocks: Bytes, quants: Bytes) -> Numbers:
    packed = blocks[:, 4:16]
    low, middle, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate((low & 63, (high & 15) | (low >> 6) << 4), axis=1)
    minima = np.concatenate((middle & 63, (high >> 4) | (middle >> 6) << 4), axis=1)
    scaled = (_half(blocks, 0) * scales)[:, :, None] * quants
    numbers: Numbers = scaled - (_half(blocks, 2) * minima)[:, :, None]
    return numbers.reshape(len(blocks), 256)


def _nibbles_of_32(data: Bytes) -> Bytes:
    """32 low halves, then the high halves of the same bytes: [n, 128] -> [n, 8, 32]."""
    pairs = data.reshape(-1, 4, 1, 32)
    return np.concatenate((pairs & 15, pairs >> 4), axis=2).reshape(-1, 8, 32)


def _pairs_of_bits(data: Bytes) -> Bytes:
    """The lowest two bits of 32 bytes, then the next two of the same bytes, …: [n, 64] -> [n, 256]."""
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    bits: Bytes = (data.reshape(-1, 2, 1, 32) >> shifts & 3).astype(np.uint8)
    return bits.reshape(-1, 256)


def _q6_k(blocks: Bytes) -> Numbers:
    # 128 bytes of four bits, 64 bytes of two more, 16 signed scales, d: d * s * (q - 32)
    low = blocks[:, :128].reshape(-1, 2, 1, 64)
    four = np.concatenate((low & 15, low >> 4), axis=2).reshape(-1, 2, 4, 32)
    two = _pairs_of_bits(blocks[:, 128:192]).reshape(-1, 2, 4, 32)
    quants = (four | two << 4).astype(np.float32).reshape(-1, 16, 16) - 32
    scales = _half(blocks, 208) * blocks[:, 192:208].view(np.int8)
    numbers: Numbers = scales[:, :, None] * quants
    return numbers.reshape(len(blocks), 256)


def _iq4_nl(blocks: Bytes) -> Numbers:
    # d, 16 bytes of two places in the table
    return _half(blocks, 0) * _IQ4[_nibbles(blocks[:, 2:])]


def _iq4_xs(blocks: Bytes) -> Numbers:
    # d, 8 scales of 6 bits (two high bits each in 2 bytes, four low ones in 4), 8 times 16 bytes: d * (s - 32) * table
    shifts = np.arange(0, 16, 2, dtype=np.uint16)
    high = np.ascontiguousarray(blocks[:, 2:4]).view(np.uint16) >> shifts & 3
    low = np.stack((blocks[:, 4:8] & 15, blocks[:, 4:8] >> 4), axis=2).reshape(-1, 8)
    scales = _half(blocks, 0) * ((low | high << 4).astype(np.float32) - 32)
    table = _IQ4[_nibbles(blocks[:, 8:].reshape(-1, 16))].reshape(-1, 8, 32)
    numbers: Numbers = scales[:, :, None] * table
    return numbers.reshape(len(blocks), 256)


def _tq2_0(blocks: Bytes) -> Numbers:
    # 2 times 32 bytes of four quants, d: d * (q - 1)
    return _half(blocks, 64) * (_pairs_of_bits(blocks[:, :64]).astype(np.float32) - 1)


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("F32", 0, 1, 4, (), _f32),
        Family("F16", 1, 1, 2, (), _f16),
        Family("BF16", 30, 1, 2, (), _bf16),
        Family("Q8_0", 8, 32, 34, (0,), _q8_0),
        Family("Q4_0", 2, 32, 18, (0,), _q4_0),
        Family("Q4_1", 3, 32, 20, (0, 2), _q4_1, middle=-7.5),
        Family("Q5_0", 6, 32, 22, (0,), _q5_0),
        Family("Q5_1", 7, 32, 24, (0, 2), _q5_1, middle=-15.5),
        Family("Q2_K", 10, 256, 84, (80, 82), _q2_k, middle=1.5),
        Family("Q3_K", 11, 256, 110, (108,), _q3_k),
        Family("Q4_K", 12, 256, 144, (0, 2), _q4_k, middle=7.5),
        Family("Q5_K", 13, 256, 176, (0, 2), _q5_k, middle=15.5),
        Family("Q6_K", 14, 256, 210, (208,), _q6_k),
        Family("IQ4_NL", 20, 32, 18, (0,), _iq4_nl),
        Family("IQ4_XS", 23, 256, 136, (0,), _iq4_xs),
        Family("TQ2_0", 35, 256, 66, (64,), _tq2_0, ternary=True),
    )
}
