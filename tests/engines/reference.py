"""What llama.cpp itself says to a prompt, greedily: a bare `llama_decode` loop in a process of its own.

The prompt comes from llama-cpp-python's own template code and llama.cpp's own tokenizer; nothing of this program is
used. stdin: {"model", "chats": [messages or a prompt], "tokens": most of them}. stdout: one JSON list.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

os.environ.setdefault("GGML_NO_BACKTRACE", "1")

import llama_cpp.llama_cpp as llama
import numpy as np
from llama_cpp.llama_chat_format import Jinja2ChatFormatter


class Reference:
    """A model, a context and one batch, all with llama.cpp's defaults but the number of cells."""

    def __init__(self, path: str, cells: int = 2048) -> None:
        self._quiet = llama.llama_log_callback(lambda *_: None)
        llama.llama_log_set(self._quiet, ctypes.c_void_p(0))
        llama.llama_backend_init()
        self.model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
        self.vocabulary = llama.llama_model_get_vocab(self.model)
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = cells
        self.context = llama.llama_init_from_model(self.model, parameters)
        self.batch = llama.llama_batch_init(parameters.n_batch, 0, 1)

    def prompt(self, chat: Any) -> str:
        """The text of a chat by the file's own template; a text as it is."""
        if isinstance(chat, str):
            return chat
        template = llama.llama_model_chat_template(self.model, None).decode()
        marks = [
            self.piece(token).decode() if token >= 0 else ""
            for token in (llama.llama_vocab_eos(self.vocabulary), llama.llama_vocab_bos(self.vocabulary))
        ]
        return str(Jinja2ChatFormatter(template, *marks)(messages=chat).prompt)

    def tokenize(self, text: str) -> list[int]:
        """As llama-server does: begin of text where the model wants one, and not twice."""
        data = text.encode()
        room = len(data) + 8
        tokens = (ctypes.c_int32 * room)()
        count = llama.llama_tokenize(self.vocabulary, data, len(data), tokens, room, True, True)
        found = list(tokens[:count])
        return found[1:] if found[:1] * 2 == found[:2] and found[0] == self.begin else found

    @property
    def begin(self) -> int:
        return int(llama.llama_vocab_bos(self.vocabulary))

    def piece(self, token: int, *, special: bool = True) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        size = llama.llama_token_to_piece(self.vocabulary, token, buffer, len(buffer), 0, special)
        return buffer.raw[:size]

    def lead(self) -> float:
        """By how much the most likely token stands before the second, in logits."""
        count = llama.llama_vocab_n_tokens(self.vocabulary)
        logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(self.context, -1), (count,))
        second, first = np.partition(logits, -2)[-2:]
        return float(first - second)

    def answer(self, prompt: list[int], most: int) -> tuple[list[int], list[float]]:
        """The most likely token each time, up to the end of the turn, and its lead."""
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)
        sampler = llama.llama_sampler_init_greedy()
        made: list[int] = []
        leads: list[float] = []
        self._decode(prompt, 0)
        while len(made) < most:
            token = llama.llama_sampler_sample(sampler, self.context, -1)
            if llama.llama_vocab_is_eog(self.vocabulary, token):
                break
            made.append(token)
            leads.append(self.lead())
            self._decode([token], len(prompt) + len(made) - 1)
        llama.llama_sampler_free(sampler)
        return made, leads

    def _decode(self, tokens: list[int], position: int) -> None:
        batch = self.batch
        for index, token in enumerate(tokens):
            batch.token[index], batch.pos[index], batch.n_seq_id[index] = token, position + index, 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = index == len(tokens) - 1
        batch.n_tokens = len(tokens)
        assert llama.llama_decode(self.context, batch) == 0


def main() -> None:
    spec = json.loads(sys.stdin.read())
    reference = Reference(spec["model"])
    results = []
    for chat in spec["chats"]:
        text = reference.prompt(chat)
        prompt = reference.tokenize(text)
        made, leads = reference.answer(prompt, spec["tokens"])
        pieces = [reference.piece(token, special=False) for token in made]
        results.append(
            {
                "prompt": text,
                "prompt_tokens": prompt,
                "tokens": made,
                "leads": leads,
                "pieces": [piece.decode("utf-8", "surrogateescape") for piece in pieces],
                "text": b"".join(pieces).decode("utf-8", "ignore"),
            }
        )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
