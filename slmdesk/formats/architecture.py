"""What of a model decides its memory: its layers, what each keeps of a conversation, and the widths of its steps.

Read from a GGUF header or from a publisher's config.json. The rules (which layers slide, which are recurrent, what
each keeps) are those of llama.cpp's llama-hparams.cpp, llama-model.cpp and its models/ folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf import GgufArray, read_array

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.formats.gguf import GgufHeader

# Every so many layers one without a window, where the file gives no pattern of its own (load_swa_pattern's default).
_PATTERNS = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "cohere2": 4,
    "cohere2moe": 4,
    "olmo2": 4,
    "gpt-oss": 2,
    "plamo3": 8,
    "mellum": 4,
    "afmoe": 4,
    "exaone-moe": 4,
    "smallthinker": 4,
    "laguna": 4,
    "llama4": 4,
    "exaone4": 4,
    "granite_swa": 4,
    "gemma4": 6,
    "mimo2": 6,
    "step35": 4,
}
_DENSE_FIRST = {"smallthinker", "laguna"}
_WINDOWS = {"gemma2": 4096, "llama4": 8192, "exaone4": 4096, "exaone-moe": 128, "smallthinker": 4096}
_RECURRENT = {"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"}
# Hybrids whose layers are recurrent where they have no KV heads, and those that say so in other ways.
_BY_HEADS = {
    "jamba",
    "plamo2",
    "granitehybrid",
    "lfm2",
    "lfm2moe",
    "kimi-linear",
    "nemotron_h",
    "nemotron_h_moe",
}
_BY_INTERVAL = {"qwen3next", "qwen35", "qwen35moe", "qwen4exp"}
_LAYERS_LIMIT = 512  # LLAMA_MAX_LAYERS


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer keeps: `keys` and `values` numbers a token, `state` numbers (float32) a conversation."""

    keys: int = 0
    values: int = 0
    state: int = 0
    windowed: bool = False


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes a forecast needs. Widths are numbers, not bytes; 0 where a model has no such thing."""

    name: str
    layers: tuple[Layer, ...]
    hidden: int
    feed_forward: int  # the widest; of mixtures the one of an expert
    heads: int
    queries: int  # width of all query heads together
    vocabulary: int
    context_length: int = 0  # trained
    window: int = 0
    experts: int = 0
    experts_used: int = 0
    inner: int = 0  # of state-space layers
    state_width: int = 0  # a channel's state; with `groups` what a step carries beside `inner`
    groups: int = 0
    merges: int = 0  # of the tokenizer

    @property
    def recurrent(self) -> bool:
        """Whether it keeps no KV cache at all."""
        return not any(layer.keys for layer in self.layers)

    @property
    def hybrid(self) -> bool:
        """Whether some layers keep states. Such memory cannot be cut back, so no spare conversations are kept."""
        return any(layer.state for layer in self.layers)

    @classmethod
    def from_gguf(cls, header: GgufHeader) -> Architecture:
        """Raises `SlmDeskError("architecture_incomplete")` when the header lacks what a forecast needs."""
        return _from_keys(_Keys(header), header)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Architecture:
        """From a config.json of the transformers library. Raises as `from_gguf`."""
        from slmdesk.formats.model_config import gguf_keys

        name, keys = gguf_keys(config)
        return _from_keys(_Keys(None, name, keys), None)


class _Keys:
    """Metadata of one architecture, with lists where a model gives a number a layer."""

    def __init__(
        self, header: GgufHeader | None, name: str = "", values: Mapping[str, Any] | None = None
    ) -> None:
        self._header = header
        self.name = header.architecture if header else name
        self._values: Mapping[str, Any] = values or {}

    def raw(self, key: str) -> Any:
        if self._header is None:
            return self._values.get(key)
        name = f"{self.name}.{key}"
        value = self._header.metadata.get(name)
        if isinstance(value, GgufArray):
            if value.count > _LAYERS_LIMIT:
                return None
            return read_array(self._header.path, self._header, name)
        return value

    def number(self, key: str, default: int = 0) -> int:
        """A whole number; of a list the largest."""
        value = self.raw(key)
        if isinstance(value, list):
            value = max((item for item in value if isinstance(item, int)), default=None)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default

    def each(self, key: str, layers: int, default: int = 0) -> list[int]:
        """A number for every layer."""
        value = self.raw(key)
        if isinstance(value, list):
            numbers = [int(item) if isinstance(item, int) and item >= 0 else 0 for item in value[:layers]]
            return numbers + [numbers[-1] if numbers else default] * (layers - len(numbers))
        return [self.number(key, default)] * layers


def _from_keys(keys: _Keys, header: GgufHeader | None) -> Architecture:
    name = keys.name
    count, hidden = keys.number("block_count"), keys.number("embedding_length")
    vocabulary = (header.vocabulary if header else 0) or keys.number("vocab_size")
    if header and not vocabulary:
        vocabulary = next((t.shape[-1] for t in header.tensors if t.name == "token_embd.weight"), 0)
    if not (0 < count <= _LAYERS_LIMIT and hidden and vocabulary):
        raise SlmDeskError(
            "architecture_incomplete",
            f"The model does not say what its memory depends on (architecture {name or 'unknown'}).",
            "Load it to see how much memory it takes.",
        )
    heads = keys.number("attention.head_count")
    head = keys.number("attention.key_length", hidden // heads if heads else 0)
    inner, state = keys.number("ssm.inner_size"), keys.number("ssm.state_size")
    merges = _length(header.metadata.get("tokenizer.ggml.merges")) if header else keys.number("merges")
    return Architecture(
        name=name,
        layers=_layers(keys, count, hidden),
        hidden=hidden,
        feed_forward=_feed_forward(keys),
        heads=heads,
        queries=heads * head,
        vocabulary=vocabulary,
        context_length=keys.number("context_length"),
        window=_window(keys),
        experts=keys.number("expert_count"),
        experts_used=keys.number("expert_used_count"),
        inner=inner,
        state_width=state,
        groups=keys.number("ssm.group_count"),
        merges=merges,
    )


def _feed_forward(keys: _Keys) -> int:
    plain = keys.number("feed_forward_length")
    if not keys.number("expert_count"):
        return plain
    one = keys.number("expert_feed_forward_length", plain)
    if not keys.number("leading_dense_block_count"):
        return one
    return max(one, plain // max(keys.number("expert_used_count"), 1))


def _length(array: Any) -> int:
    return array.count if isinstance(array, GgufArray) else len(array or ())


def _window(keys: _Keys) -> int:
    """Tokens of the sliding window, where llama.cpp uses it for this architecture."""
    if keys.name == "exaone4" and keys.number("block_count") != 64:
        return 0
    if keys.name not in _PATTERNS and keys.name not in {"lfm2", "lfm2moe"}:
        return 0
    return keys.number("attention.sliding_window", _WINDOWS.get(keys.name, 0))


def _layers(keys: _Keys, count: int, hidden: int) -> tuple[Layer, ...]:
    heads = keys.each("attention.head_count", count)
    kv_heads = (
        keys.each("attention.head_count_kv", count)
        if keys.raw("attention.head_count_kv") is not None
        else heads
    )
    head = hidden // max(heads[0] or keys.number("attention.head_count"), 1)
    size_k, size_v = keys.number("attention.key_length", head), keys.number("attention.value_length", head)
    slid_k = keys.number("attention.key_length_swa", size_k)
    slid_v = keys.number("attention.value_length_swa", size_v)
    compressed = bool(keys.number("attention.key_length_mla"))  # MLA: the keys hold the values as well
    recurrent, attends = _kinds(keys, count, kv_heads)
    windowed = _windowed(keys, count, recurrent)
    state = _state(keys, hidden)
    shared_from = count - keys.number("attention.shared_kv_layers")
    if keys.name == "gemma3n":
        shared_from = min(20, count)
    last = min(shared_from, count - keys.number("nextn_predict_layers"))
    layers = []
    for layer in range(count):
        key, value = (slid_k, slid_v) if windowed[layer] else (size_k, size_v)
        keeps = attends[layer] and layer < last
        layers.append(
            Layer(
                keys=kv_heads[layer] * key if keeps else 0,
                values=kv_heads[layer] * value if keeps and not compressed else 0,
                state=state if recurrent[layer] else 0,
                windowed=windowed[layer],
            )
        )
    return tuple(layers)


def _kinds(keys: _Keys, count: int, kv_heads: list[int]) -> tuple[list[bool], list[bool]]:
    """Which layers keep a state, and which attend."""
    name = keys.name
    if name in _RECURRENT:
        return [True] * count, [False] * count
    if name == "falcon-h1":
        return [True] * count, [True] * count
    if name in _BY_HEADS:
        recurrent = [number == 0 for number in kv_heads]
        if name.startswith("nemotron_h"):  # some of its layers are feed-forward only
            plain = [number > 0 for number in keys.each("feed_forward_length", count)]
            recurrent = [
                is_recurrent and not only for is_recurrent, only in zip(recurrent, plain, strict=True)
            ]
        return recurrent, [number > 0 for number in kv_heads]
    if name in _BY_INTERVAL:
        listed = keys.raw("attention.recurrent_layers")
        if isinstance(listed, list) and len(listed) >= count:
            recurrent = [bool(item) for item in listed[:count]]
        else:
            interval = max(keys.number("full_attention_interval", 4), 1)
            recurrent = [(layer + 1) % interval != 0 for layer in range(count)]
        return recurrent, [not item for item in recurrent]
    return [False] * count, [True] * count


def _windowed(keys: _Keys, count: int, recurrent: list[bool]) -> list[bool]:
    """Which layers look at a sliding window only (llama_hparams::set_swa_pattern)."""
    if not _window(keys):
        return [False] * count
    if keys.name in {"lfm2", "lfm2moe"}:
        return [not item for item in recurrent]
    pattern = keys.raw("attention.sliding_window_pattern")
    if isinstance(pattern, list) and len(pattern) >= count:
        return [bool(item) for item in pattern[:count]]
    every = keys.number("attention.sliding_window_pattern", _PATTERNS[keys.name])
    if every == 0:
        return [True] * count
    if keys.name in _DENSE_FIRST:
        return [layer % every != 0 for layer in range(count)]
    return [layer % every < every - 1 for layer in range(count)]


def _state(keys: _Keys, hidden: int) -> int:
    """Numbers a recurrent layer keeps of a conversation (llama_hparams::n_embd_r and n_embd_s)."""
    wkv = keys.number("wkv.head_size")
    if wkv:
        return (keys.number("token_shift_count", 2) + wkv) * hidden
    short = keys.number("shortconv.l_cache")
    if short:
        return hidden * (short - 1)
    kernel = keys.number("ssm.conv_kernel")
    kda = keys.number("kda.head_dim")
    heads = keys.number("attention.head_count")
    if kda:
        return 3 * (kernel - 1 if kernel else 3) * heads * kda + kda * kda * heads
    inner, state = keys.number("ssm.inner_size"), keys.number("ssm.state_size")
    moved = inner + 2 * keys.number("ssm.group_count") * state
    return max(kernel - 1, 0) * moved + state * inner
