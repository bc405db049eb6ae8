"""What a GGUF file is for, where that is not chatting: told from its header, before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from slmdesk.formats.gguf import GgufHeader

_ENCODERS = {
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3", "eurobert",
    "gemma-embedding", "t5encoder", "llama-embed",
}  # fmt: skip
_DIFFUSION = {"dream", "llada", "llada-moe", "rnd1"}
_PICTURES = {
    "flux", "sd1", "sd2", "sd3", "sdxl", "aura", "hidream", "hyvid", "wan", "ltxv", "lumina2", "qwen_image", "cosmos",
}  # fmt: skip
_SOUND = {"wavtokenizer-dec", "whisper"}
_RANK = 4  # enum llama_pooling_type

CHAT_MODEL = "Choose a chat or instruct model."
ITS_MODEL = "Choose the model's own file; this one only goes with it."


def not_for_chat(header: GgufHeader) -> SlmDeskError | None:
    """Why nobody can chat with this file, as `model_not_chat`; None for a model that writes text."""
    what, hint = _purpose(header)
    if not what:
        return None
    return SlmDeskError("model_not_chat", f"{header.path.name} {what}.", hint)


def goes_with_model(header: GgufHeader) -> bool:
    """Whether the file is nothing by itself: a projector, an adapter, a draft head, an importance matrix."""
    return _companion(header) is not None


def _purpose(header: GgufHeader) -> tuple[str, str]:
    """What completes "NAME …", and what to do; ("", "") for a model that writes text."""
    part = header.metadata.get("split.no")
    if isinstance(part, int) and part > 0:
        return f"is part {part + 1} of a model in several files", "Choose its first part."
    return _companion(header) or _other_model(header) or ("", "")


def _companion(header: GgufHeader) -> tuple[str, str] | None:
    """Files that go with a model."""
    name, kind = header.architecture, header.kind
    if name == "clip" or kind == "mmproj":
        return "is a projector: it lets another model see or hear", ITS_MODEL
    if kind == "imatrix" or "imatrix.chunk_count" in header.metadata:
        return "is an importance matrix, which is used for quantizing", ITS_MODEL
    if name == "controlvector":
        return "is a control vector, which changes how another model writes", ITS_MODEL
    if kind == "adapter" or "adapter.type" in header.metadata:
        return "is an adapter (LoRA), which changes another model", ITS_MODEL
    if name.startswith("eagle"):
        return "is a draft head, which makes another model faster", ITS_MODEL
    return None


def _other_model(header: GgufHeader) -> tuple[str, str] | None:
    """Models that do something else."""
    name = header.architecture
    pooling = header.number("pooling_type")
    if pooling == _RANK:
        return "is a model that ranks texts (reranker); it does not write any", CHAT_MODEL
    if name in _ENCODERS or pooling > 0:
        return "is an embedding model: it compares texts and does not write any", CHAT_MODEL
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
    if name in _SOUND:
        return "is a model for sound", CHAT_MODEL
    return None
