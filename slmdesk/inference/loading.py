"""What a model is loaded with, and what was loaded then."""

from __future__ import annotations

from typing import Literal

from slmdesk.inference.wire import Wire

CacheType = Literal["f16", "q8_0", "q4_0"]
Serves = Literal["chat", "embed", "rank"]
"""What a loaded model is asked for: answers, vectors of texts, or scores of documents."""


class ScaledAdapter(Wire, frozen=True, omit_defaults=True):
    """A file (LoRA) that changes a model, by so much: what it adds is multiplied with `scale`.

    `needed`: without it the model is not loaded; else a note says that it is not used.
    """

    path: str
    scale: float = 1.0
    needed: bool = False

    @classmethod
    def of(cls, text: str) -> ScaledAdapter:
        """From a path, or a path and its scale as in “poems.gguf@0.5”; needed."""
        path, at, scale = text.rpartition("@")
        try:
            return cls(path, float(scale), needed=True) if at and path else cls(text, needed=True)
        except ValueError:
            return cls(text, needed=True)


class Loading(Wire, frozen=True):
    """How to load one model. Counts are tokens; 0 means that the engine decides."""

    context_length: int = 0  # what one conversation may use; 0: the model's own, at most 8192
    parallel: int = 4  # conversations answered at once; they share the cache
    contexts: int = 1  # how many of that length the cache should hold, as far as memory allows
    cache_cells: int = 0  # cells of the KV cache shared by all conversations; 0: decided from the above
    threads: int = 0  # 0: physical cores
    batch: int = 512  # tokens of prompt evaluated in one step
    gpu_layers: int = (
        -1
    )  # -1: as many as fit the GPU; 0: no part for a GPU is loaded, so no driver is touched
    cache_type: CacheType = "f16"
    flash_attention: bool = True
    prefix_bytes: int = 256_000_000  # of plain memory, at most, for conversations that had to leave the cache
    drafts: bool = True  # tokens that text before suggests are evaluated ahead; the answer is the same
    extra_buffers: bool = True  # copies of weights in an order that suits the processor
    template: str = ""  # of Ollama, in Go's form: goes before the file's own where it says something else
    adapters: tuple[ScaledAdapter, ...] = ()

    @property
    def adapter_paths(self) -> tuple[str, ...]:
        return tuple(adapter.path for adapter in self.adapters)


class Facts(Wire, frozen=True):
    """What was loaded. Sizes in bytes, lengths in tokens."""

    context_length: int
    parallel: int
    cache_cells: int
    vocabulary: int
    parameters: int
    architecture: str
    description: str
    has_chat_template: bool
    load_seconds: float
    memory_bytes: int  # resident memory of the process after the load, its cache counted as full
    file_bytes: int
    prefix_bytes: int = 0  # that the prefix cache may take beside `memory_bytes`
    chat_form: str = ""  # what stands in for a template that the file does not have
    layers: int = 0  # of the model, the output counted as one
    gpu_layers: int = 0  # of those, the ones a GPU has
    device: str = ""  # the GPU's name, "" where there is none in use
    device_bytes: int = 0  # allocated there
    bos: str = ""  # the text of the token that begins a text, and of the one that ends it
    eos: str = ""
    serves: Serves = "chat"
    dimensions: int = 0  # numbers of a vector, where it makes some
    pooling: str = ""  # how it comes to one vector, or score, a text: "mean", "cls", "last", "rank"
    shortens: bool = False  # the first numbers of its vectors are vectors too
    notes: tuple[str, ...] = ()  # sentences for a person: what of `Loading` could not be done
