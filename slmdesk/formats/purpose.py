"""What a GGUF file is for, where that is not chatting: told from its header, before anything is loaded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from slmdesk.formats.gguf import GgufHeader

Companion = Literal["projector", "matrix", "control vector", "adapter", "draft"]
Purpose = Literal["chat", "embed", "rank", "other"]
"""What a model does: write text, make vectors of texts, rank texts for a question, or something not run here."""

ENCODERS = frozenset(
    (
        "bert modern-bert nomic-bert nomic-bert-moe neo-bert jina-bert-v2 jina-bert-v3 eurobert "
        "gemma-embedding llama-embed"
    ).split()
)
"""Architectures that read a text in both directions and are run for vectors."""
_DIFFUSION = {"dream", "llada", "llada-moe", "rnd1"}
_PICTURES = frozenset(("flux sd1 sd2 sd3 sdxl aura hidream hyvid wan ltxv lumina2 qwen_image cosmos").split())
# Names that only Ollama's own engine has; its other files have the vision part inside, which is a file of its own else.
_OLLAMA = {"gptoss", "mllama", "qwen25vl"}
_SOUND = {"wavtokenizer-dec", "whisper"}
_DRAFTS = ("eagle", "dflash", "dspark", "gemma4-assistant")
_NAMES: dict[str, Companion] = {
    "mmproj": "projector",
    "imatrix": "matrix",
    "lora": "adapter",
    "adapter": "adapter",
    "mtp": "draft",
    "eagle3": "draft",
    "dflash": "draft",
    "dspark": "draft",
    "draft": "draft",
    "control-vector": "control vector",
    "control_vector": "control vector",
}
_NAMED = re.compile(
    r"(?i)(?:^|[-._])(mmproj|imatrix|lora|adapter|eagle3|control[-_]vector)(?=$|[-._])|^(mtp|dflash|dspark|draft)(?=[-._])"
)
_RANK = 4  # enum llama_pooling_type
# What a model says of itself and of what it is for, with the purpose behind it.
_Told = tuple[str, str, Purpose]

CHAT_MODEL = "Choose a chat or instruct model."
ELSEWHERE = "Get a GGUF of the model from the catalog."
VECTORS = "Choose a chat or instruct model; this one gives programs their vectors, at /v1/embeddings."
RANKING = "Choose a chat or instruct model; this one ranks documents for programs, at /v1/rerank."
ITS_MODEL = "Choose the model's own file; this one only goes with it."


def not_for_chat(header: GgufHeader) -> SlmDeskError | None:
    """Why nobody can chat with this file, as `model_not_chat`; None for a model that writes text."""
    what, hint, _ = _told(header)
    if not what:
        return None
    return SlmDeskError("model_not_chat", f"{header.path.name} {what}.", hint)


def purpose_of(header: GgufHeader) -> Purpose:
    """What the file's model does; "other" also for files that go with a model."""
    return _told(header)[2]


def companion_kind(header: GgufHeader) -> Companion | None:
    """What kind of file this is that goes with a model; None for one that is a model, or a part of one."""
    found = _companion(header)
    return found[0] if found else None


def companion_named(name: str) -> Companion | None:
    """The same guessed from a file's name, as llama.cpp's converters give them, where nothing of it was read yet."""
    found = _NAMED.search(name)
    return _NAMES[(found[1] or found[2]).lower()] if found else None


def _told(header: GgufHeader) -> _Told:
    """What completes "NAME …", what to do, and the purpose; empty texts for a model that writes text."""
    part = header.metadata.get("split.no")
    if isinstance(part, int) and part > 0:
        return f"is part {part + 1} of a model in several files", "Choose its first part.", "other"
    if companion := _companion(header):
        return companion[1], ITS_MODEL, "other"
    if found := _of_texts(header):
        return found
    what, hint = _other_model(header) or ("", "")
    return what, hint, "other" if what else "chat"


def _companion(header: GgufHeader) -> tuple[Companion, str] | None:
    """Files that go with a model."""
    name, kind = header.architecture, header.kind
    if name == "clip" or kind == "mmproj":
        return "projector", "is a projector: it lets another model see or hear"
    if kind == "imatrix" or "imatrix.chunk_count" in header.metadata:
        return "matrix", "is an importance matrix, which is used for quantizing"
    if name == "controlvector":
        return "control vector", "is a control vector, which changes how another model writes"
    if kind == "adapter" or "adapter.type" in header.metadata:
        return "adapter", "is an adapter (LoRA), which changes another model"
    if name.startswith(_DRAFTS) or _is_draft_head(header):
        return "draft", "is a draft head, which makes another model faster"
    return None


def _is_draft_head(header: GgufHeader) -> bool:
    """Whether a model's layers for drafting are there and its own are not: what the converter's `--mtp` writes, told
    as llama.cpp's loaders tell it (models/qwen35.cpp)."""
    if header.number("nextn_predict_layers") <= 0 or header.metadata.get("split.count", 1) != 1:
        return False
    layers = [tensor.name for tensor in header.tensors if tensor.name.startswith("blk.")]
    return bool(layers) and not any(name.startswith("blk.0.") for name in layers)


def _of_texts(header: GgufHeader) -> _Told | None:
    """Models that read texts and are run here."""
    pooling = header.number("pooling_type")
    if pooling == _RANK and header.architecture != "t5encoder":
        return "is a model that ranks texts (reranker); it does not write any", RANKING, "rank"
    if header.architecture in ENCODERS or (pooling > 0 and header.architecture != "t5encoder"):
        return "is an embedding model: it compares texts and does not write any", VECTORS, "embed"
    return None


def _other_model(header: GgufHeader) -> tuple[str, str] | None:
    """Models that do something else."""
    name = header.architecture
    if name == "t5encoder":
        return "is an embedding model of a kind (T5) that is not supported", CHAT_MODEL
    if name == "t5":
        return "is a model that rewrites a whole text (T5), which is not supported", CHAT_MODEL
    if name in _DIFFUSION or any(key.startswith("diffusion.") for key in header.metadata):
        return (
            "is a diffusion model: it does not write from left to right, which is not supported",
            CHAT_MODEL,
        )
    if header.metadata.get(f"{name}.attention.causal") is False:
        return "is an encoder: it reads texts and does not write any", CHAT_MODEL
    if name in _PICTURES:
        return "is a model that makes pictures", CHAT_MODEL
    if name in _OLLAMA or any(tensor.name.startswith(("v.", "mm.")) for tensor in header.tensors):
        return "is a file for Ollama's own engine, which nothing else reads", ELSEWHERE
    if name in _SOUND:
        return "is a model for sound", CHAT_MODEL
    return None
