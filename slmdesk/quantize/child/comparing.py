"""In the child: what several models answer to the same prompt when each takes its likeliest token every time.

Greedy, so that a difference comes from the weights alone; the first token in which two answers part shows where.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slmdesk.core.errors import SlmDeskError
from slmdesk.quantize.child.evaluate import Evaluator, load, tokenize_text
from slmdesk.quantize.child.ggml import QuantizerLibrary

if TYPE_CHECKING:
    from slmdesk.quantize.child.main import Teller
    from slmdesk.quantize.protocol import CompareSpec

_ROOM = 256  # bytes of one token's text at most


def run(spec: CompareSpec, tell: Teller) -> dict[str, Any]:
    """One entry for each path in `answers`: `tokens`, `pieces` (their texts), `text`, `stopped` (the model ended the
    answer itself). `differs_at`: the first index in which not all of them agree, None where they are the same.

    Raises `SlmDeskError`: `prompt_empty`, `context_exceeded`, `evaluation_failed`, `template_failed`,
    `template_invalid`, and those of a load.
    """
    library = QuantizerLibrary()
    answers = []
    for index, path in enumerate(spec.paths):
        tell(index, len(spec.paths), Path(path).name)
        answers.append(_answer(library, spec, path))
    tell(1, 1, force=True)
    return {"answers": answers, "differs_at": first_difference([answer["tokens"] for answer in answers])}


def first_difference(answers: list[list[int]]) -> int | None:
    """The first index in which the lists differ; one that ends earlier differs there."""
    longest = max(map(len, answers), default=0)
    for index in range(longest):
        if len({answer[index] if index < len(answer) else None for answer in answers}) > 1:
            return index
    return None


def _answer(library: QuantizerLibrary, spec: CompareSpec, path: str) -> dict[str, Any]:
    api = library.api
    model = load(library, path, gpu_layers=spec.gpu_layers)
    vocabulary = api.llama_model_get_vocab(model)
    prompt = _prompt_tokens(library, model, spec)
    if not len(prompt):
        raise SlmDeskError(
            "prompt_empty", "The prompt is empty.", "Type something to compare the answers to."
        )
    size = len(prompt) + spec.most_tokens
    trained = int(api.llama_model_n_ctx_train(model))
    if size > trained:
        raise SlmDeskError(
            "context_exceeded",
            f"The prompt ({len(prompt)} tokens) and the answer ({spec.most_tokens}) do not fit into the model's"
            f" context of {trained} tokens.",
            "Shorten the prompt.",
        )
    size += -size % 32
    evaluator = Evaluator(
        library, model, chunk=size, threads=spec.threads, file_bytes=Path(path).stat().st_size
    )
    try:
        tokens = np.zeros(size, np.int32)
        tokens[: len(prompt)] = prompt
        evaluator.start(tokens, keep_first=True)
        made: list[int] = []
        stopped = False
        _prompt(evaluator, len(prompt))
        while len(made) < spec.most_tokens:
            token = int(evaluator.logits(1)[0].argmax())
            if api.llama_vocab_is_eog(vocabulary, token):
                stopped = True
                break
            made.append(token)
            position = len(prompt) + len(made) - 1
            evaluator.follow(position, token)
            if len(made) < spec.most_tokens:
                evaluator.feed(position, position + 1, wanted=True)
    finally:
        evaluator.close()
        api.llama_model_free(model)
    pieces = _pieces(library, path, made) if made else []
    return {"path": path, "tokens": made, "pieces": pieces, "text": "".join(pieces), "stopped": stopped}


def _prompt_tokens(library: QuantizerLibrary, model: int, spec: CompareSpec) -> Any:
    """The prompt as the model was trained to see it: as a question in its chat format, where it has one."""
    api = library.api
    if not spec.prompt.strip():
        return np.zeros(0, np.int32)
    template = api.llama_model_chat_template(model, None) if spec.chat else None
    if not template:
        return tokenize_text(library, model, spec.prompt.encode(), special=False)
    from slmdesk.engines.llama.templates import ChatTemplate

    vocabulary = api.llama_model_get_vocab(model)
    first, last = (
        _text(library, vocabulary, token)
        for token in (api.llama_vocab_bos(vocabulary), api.llama_vocab_eos(vocabulary))
    )
    made = ChatTemplate(template.decode(errors="replace"), bos=first, eos=last)
    text = made.prompt([{"role": "user", "content": spec.prompt}]).text
    twice = bool(first) and text.startswith(first)  # the tokenizer would put it in front as well
    return tokenize_text(library, model, text.encode(), special=True, first=not twice)


def _text(library: QuantizerLibrary, vocabulary: Any, token: int) -> str:
    if token < 0:
        return ""
    buffer = ctypes.create_string_buffer(_ROOM)
    count = library.api.llama_token_to_piece(vocabulary, token, buffer, _ROOM, 0, True)
    return buffer.raw[: max(count, 0)].decode(errors="replace")


def _prompt(evaluator: Evaluator, count: int) -> None:
    at = 0
    while at < count - 1:
        end = min(at + evaluator.chunk // 2, count - 1)
        evaluator.feed(at, end, wanted=False)
        at = end
    evaluator.feed(count - 1, count, wanted=True)


def _pieces(library: QuantizerLibrary, path: str, tokens: list[int]) -> list[str]:
    """The text of each token; a character that is spread over several stands with the last of them."""
    api = library.api
    model = load(library, path, vocabulary_only=True)
    try:
        vocabulary = api.llama_model_get_vocab(model)
        buffer = ctypes.create_string_buffer(_ROOM)
        pieces: list[str] = []
        open_bytes = b""
        for token in tokens:
            count = max(api.llama_token_to_piece(vocabulary, token, buffer, _ROOM, 0, True), 0)
            open_bytes += buffer.raw[:count]
            text, open_bytes = _decoded(open_bytes)
            pieces.append(text)
        pieces[-1] += open_bytes.decode("utf-8", "replace")
        return pieces
    finally:
        api.llama_model_free(model)


def _decoded(data: bytes) -> tuple[str, bytes]:
    """As much text as there is, and the bytes of a character that has only begun."""
    for cut in range(min(len(data), 3) + 1):
        try:
            return data[: len(data) - cut].decode(), data[len(data) - cut :]
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", "replace"), b""
