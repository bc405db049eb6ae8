"""A loaded GGUF: its vocabulary, and tokens to text and back."""

from __future__ import annotations

import ctypes
import os
import re
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.steps import holds

if TYPE_CHECKING:
    from collections.abc import Callable

    from slmdesk.inference.steps import Step
    from slmdesk.llama.native import Native

_CONTROL_OR_UNKNOWN = (1 << 3) | (1 << 0)  # enum llama_token_attr
_CUT_FIRST = (1 << 4) | _CONTROL_OR_UNKNOWN  # looked for before a text is cut into tokens
_UNUSED = 1 << 1
_STRETCH = 4096  # characters of a long prompt that are cut into tokens at once
_SENTENCE_PIECE = 1  # enum llama_vocab_type


class Model:
    """A loaded GGUF: its vocabulary, and tokens to text and back.

    `gpu_layers` layers go to the device at the address `device` (llama.cpp's count: the output is one of them).
    `texts[token]` holds a token's text once `piece` was asked for it, or None where it is not known yet, is empty, is
    no complete UTF-8, or ends the answer.
    """

    def __init__(
        self,
        native: Native,
        path: str,
        *,
        gpu_layers: int = 0,
        device: int | None = None,
        step: Step = "all",
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        api = native.api
        self.native = native
        parameters = api.llama_model_default_params()
        # One device by its address, or an empty list: llama.cpp would take every GPU it knows of.
        self._devices = (ctypes.c_void_p * 2)(device if gpu_layers else None, None)
        parameters.devices = ctypes.cast(self._devices, ctypes.c_void_p)
        parameters.n_gpu_layers = gpu_layers if device else 0
        parameters.use_extra_bufts = not holds(step, "no_extra_buffers")

        def progress(fraction: float, _data: object) -> bool:
            if on_progress is not None:
                on_progress(fraction)
            return True

        self._progress = api.llama_progress_callback(progress)
        parameters.progress_callback = self._progress
        self.handle: int | None = api.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self.handle:
            raise SlmDeskError("model_damaged", "llama.cpp did not load the model.", "")
        self.vocabulary = api.llama_model_get_vocab(self.handle)
        self.tokens: int = api.llama_vocab_n_tokens(self.vocabulary)
        self.texts: list[str | None] = [None] * self.tokens
        self._pieces: dict[int, bytes | None] = {}
        self._buffer = ctypes.create_string_buffer(4096)
        self.bos: int = api.llama_vocab_bos(self.vocabulary)
        self.eos: int = api.llama_vocab_eos(self.vocabulary)
        self.sep: int = api.llama_vocab_sep(self.vocabulary)
        self.add_bos: bool = api.llama_vocab_get_add_bos(self.vocabulary)
        self.add_eos: bool = api.llama_vocab_get_add_eos(self.vocabulary)
        self.add_sep: bool = api.llama_vocab_get_add_sep(self.vocabulary)
        # SentencePiece writes "Hello" as "▁Hello" at the beginning of a text, unless the file says otherwise.
        self.space_prefix: bool = (
            api.llama_vocab_type(self.vocabulary) == _SENTENCE_PIECE
            and self._metadata("tokenizer.ggml.add_space_prefix") != "false"
        )
        self.special_texts = self._special_texts()
        self._begins = self._safe_begins()
        self.also_ends: frozenset[int] = (
            frozenset()
        )  # tokens that end an answer though the file does not say so
        self.shown: frozenset[int] = frozenset()  # control tokens that are text to whoever reads the answer

    @property
    def description(self) -> str:
        size = self.native.api.llama_model_desc(self.handle, self._buffer, len(self._buffer))
        return self._buffer.raw[: max(size, 0)].decode(errors="replace")

    def _metadata(self, key: str) -> str:
        size = self.native.api.llama_model_meta_val_str(
            self.handle, key.encode(), self._buffer, len(self._buffer)
        )
        return self._buffer.raw[: max(size, 0)].decode(errors="replace")

    @property
    def parameters(self) -> int:
        return int(self.native.api.llama_model_n_params(self.handle))

    @property
    def trained_context(self) -> int:
        return int(self.native.api.llama_model_n_ctx_train(self.handle))

    @property
    def layers(self) -> int:
        return int(self.native.api.llama_model_n_layer(self.handle))

    @property
    def keeps_every_position(self) -> bool:
        """False for recurrent and hybrid models, whose memory cannot be cut back to an earlier position."""
        api = self.native.api
        return not (api.llama_model_is_recurrent(self.handle) or api.llama_model_is_hybrid(self.handle))

    @property
    def generates_text(self) -> bool:
        api = self.native.api
        return bool(api.llama_model_has_decoder(self.handle)) and not api.llama_model_is_diffusion(
            self.handle
        )

    @property
    def encodes_first(self) -> bool:
        """Encoder-decoder models (T5), which answer in a way this engine does not speak."""
        return bool(self.native.api.llama_model_has_encoder(self.handle))

    @property
    def vector_size(self) -> int:
        """Numbers of a vector that it gives for a text."""
        return int(self.native.api.llama_model_n_embd_out(self.handle))

    @property
    def score_size(self) -> int:
        """Numbers that a ranking model gives for a text; the first is the score."""
        return int(self.native.api.llama_model_n_cls_out(self.handle))

    def chat_template(self, name: str = "") -> str | None:
        """The file's template, or the one of that name."""
        template = self.native.api.llama_model_chat_template(self.handle, name.encode() or None)
        return template.decode(errors="replace") if template else None

    def tokenize(self, text: str, *, special: bool, whole: bool = False) -> list[int]:
        """Token ids of `text`. `special`: texts such as `<|im_end|>` become their control tokens.

        Nothing is put before or behind, but with `whole` what the file wants there. Raises
        `SlmDeskError("bad_request")` for text that has no tokens here.
        """
        data = text.encode("utf-8", "replace")
        if not data and not whole:
            return []
        api = self.native.api
        room = len(data) + 16
        while True:
            tokens = (ctypes.c_int32 * room)()
            count = api.llama_tokenize(self.vocabulary, data, len(data), tokens, room, whole, special)
            if count >= 0:
                return tokens[:count]
            if count == -(2**31) or -count <= room:
                raise SlmDeskError(
                    "bad_request", "The text cannot be cut into tokens.", "Send a shorter text."
                )
            room = -count

    def tokenize_prompt(self, text: str) -> list[int]:
        """As `tokenize` with control tokens, in time that grows with the text.

        llama.cpp looks for each control token in all that follows, anew for each stretch between two of them: a long
        conversation took time by the square of its messages. It is handed over in stretches that begin with a control
        token, where a cut changes nothing: in no token stands that token's first character further in, and no space
        is before it, which such a token could take along.
        """
        tokens: list[int] = []
        start = 0
        if len(text) > 2 * _STRETCH and self._begins is not None:
            lengths = {len(special) for special in self.special_texts}
            for found in self._begins.finditer(text, _STRETCH):
                at = found.start()
                if at - start < _STRETCH or text[at - 1].isspace():
                    continue
                if any(text[at : at + length] in self.special_texts for length in lengths):
                    tokens += self.tokenize(text[start:at], special=True)
                    start = at
        return tokens + self.tokenize(text[start:], special=True)

    def token_of(self, text: str) -> int:
        """The token that is exactly this text, control tokens included; -1 where there is none."""
        tokens = self.tokenize(text, special=True)
        return tokens[0] if len(tokens) == 1 and self.special_text(tokens[0]) == text else -1

    def piece(self, token: int) -> bytes | None:
        """The bytes of a token (empty for control tokens that are not `shown`), None for one that ends the answer."""
        if token in self._pieces:
            return self._pieces[token]
        api = self.native.api
        ends = token in self.also_ends or api.llama_vocab_is_eog(self.vocabulary, token)
        piece = None if ends else self._read_piece(token, special=token in self.shown)
        self._pieces[token] = piece
        if piece is not None:
            try:
                self.texts[token] = piece.decode() or None
            except UnicodeDecodeError:
                self.texts[token] = None
        return piece

    def raw(self, token: int) -> bytes:
        """A token's bytes, whatever it does; a control token's are its name."""
        return self._read_piece(token, special=True)

    def special_text(self, token: int) -> str:
        """The text of a control token such as `<s>`; empty where there is no such token."""
        return self._read_piece(token, special=True).decode(errors="replace") if token >= 0 else ""

    def _read_piece(self, token: int, *, special: bool) -> bytes:
        api = self.native.api
        size = api.llama_token_to_piece(self.vocabulary, token, self._buffer, len(self._buffer), 0, special)
        if size < 0:
            self._buffer = ctypes.create_string_buffer(-size)
            size = api.llama_token_to_piece(self.vocabulary, token, self._buffer, -size, 0, special)
        return self._buffer.raw[:size]

    def vocabulary_bytes(self) -> list[bytes | None]:
        """By token, what `piece` gives, without keeping it: for whoever needs the whole vocabulary once."""
        api, attributes = self.native.api, self.native.token_attributes
        pieces: list[bytes | None] = []
        for token in range(self.tokens):
            if token in self.also_ends or api.llama_vocab_is_eog(self.vocabulary, token):
                pieces.append(None)
            elif attributes(self.vocabulary, token) & _UNUSED:
                pieces.append(b"")
            else:
                pieces.append(self._read_piece(token, special=token in self.shown))
        return pieces

    def _special_texts(self) -> frozenset[str]:
        """Texts that the tokenizer would turn into control tokens."""
        attributes = self.native.token_attributes
        found = [
            token for token in range(self.tokens) if attributes(self.vocabulary, token) & _CONTROL_OR_UNKNOWN
        ]
        texts = (self._read_piece(token, special=True).decode(errors="replace") for token in found)
        return frozenset(text for text in texts if len(text) > 1)

    def _safe_begins(self) -> re.Pattern[str] | None:
        """Finds characters with which control tokens begin, and which stand nowhere else in such a token."""
        attributes = self.native.token_attributes
        inner = {
            character
            for token in range(self.tokens)
            if attributes(self.vocabulary, token) & _CUT_FIRST
            for character in self._read_piece(token, special=True).decode(errors="replace")[1:]
        }
        begins = {text[0] for text in self.special_texts} - inner
        return re.compile(f"[{re.escape(''.join(sorted(begins)))}]") if begins else None

    @property
    def fill_in_tokens(self) -> tuple[int, int, int]:
        """The tokens before a gap's prefix, in its place and before its suffix; -1 where there is none."""
        api = self.native.api
        return (
            int(api.llama_vocab_fim_pre(self.vocabulary)),
            int(api.llama_vocab_fim_mid(self.vocabulary)),
            int(api.llama_vocab_fim_suf(self.vocabulary)),
        )

    def close(self) -> None:
        if self.handle:
            self.native.api.llama_model_free(self.handle)
            self.handle = None
