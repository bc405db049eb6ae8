"""How a model is spoken to whose file brings no chat template: the form its family was trained on.

Told by the vocabulary first: a family's marks are tokens of their own. Where there are none, by architecture and
name. Base models hold their family's marks too and were never trained on them (Gemma 3 270M repeats the question
without end), so they are given a plain dialogue. The templates are written from what the publishers describe.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.formats.gguf import read_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from slmdesk.formats.gguf import GgufHeader

_HEAD = "{{ bos_token }}"
_EACH = "{% for message in messages %}"
_END = "{% endfor %}"
_NO_SYSTEM = "{% if message.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"


def _opening(text: str) -> str:
    """What begins the answer."""
    return "{% if add_generation_prompt %}{{ '" + text + "' }}{% endif %}"


CHATML = (
    _EACH + "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}" + _END
) + _opening("<|im_start|>assistant\\n")

_PHI_4 = (
    _EACH + "{{ '<|im_start|>' + message.role + '<|im_sep|>' + message.content + '<|im_end|>' }}" + _END
) + _opening("<|im_start|>assistant<|im_sep|>")

_GEMMA = (
    _HEAD
    + _EACH
    + _NO_SYSTEM
    + "{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' }}"
    + "{{ (message.content | trim) + '<end_of_turn>\\n' }}"
    + _END
    + _opening("<start_of_turn>model\\n")
)

_GEMMA_4 = (
    _HEAD
    + _EACH
    + "{{ '<|turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' }}"
    + "{{ (message.content | trim) + '<turn|>\\n' }}"
    + _END
    + _opening("<|turn>model\\n")
)

_LLAMA_3 = (
    _HEAD
    + _EACH
    + "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}"
    + "{{ (message.content | trim) + '<|eot_id|>' }}"
    + _END
    + _opening("<|start_header_id|>assistant<|end_header_id|>\\n\\n")
)

_GRANITE = (
    _EACH
    + "{{ '<|start_of_role|>' + message.role + '<|end_of_role|>' + message.content + '<|end_of_text|>\\n' }}"
    + _END
    + _opening("<|start_of_role|>assistant<|end_of_role|>")
)

_HARMONY = (
    _EACH
    + "{% if message.role == 'assistant' %}"
    + "{{ '<|start|>assistant<|channel|>final<|message|>' + message.content + '<|end|>' }}"
    + "{% else %}{{ '<|start|>' + message.role + '<|message|>' + message.content + '<|end|>' }}{% endif %}"
    + _END
    + _opening("<|start|>assistant")
)

_DEEPSEEK = (
    _HEAD
    + _EACH
    + "{% if message.role == 'system' %}{{ message.content }}"
    + "{% elif message.role == 'user' %}{{ '<｜User｜>' + message.content }}"
    + "{% else %}{{ '<｜Assistant｜>' + message.content + '<｜end▁of▁sentence｜>' }}{% endif %}"
    + _END
    + _opening("<｜Assistant｜>")
)

_COMMAND_R = (
    _HEAD
    + _EACH
    + "{{ '<|START_OF_TURN_TOKEN|>' + {'system': '<|SYSTEM_TOKEN|>', 'user': '<|USER_TOKEN|>',"
    + " 'assistant': '<|CHATBOT_TOKEN|>'}[message.role] + message.content + '<|END_OF_TURN_TOKEN|>' }}"
    + _END
    + _opening("<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>")
)

_PHI_3 = (_EACH + "{{ '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}" + _END) + _opening(
    "<|assistant|>\\n"
)

_ZEPHYR = (
    _EACH + "{{ '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}" + _END
) + _opening("<|assistant|>\\n")

_GLM_4 = ("[gMASK]<sop>" + _EACH + "{{ '<|' + message.role + '|>\\n' + message.content }}" + _END) + _opening(
    "<|assistant|>\\n"
)

_MISTRAL_7 = (
    _HEAD
    + _EACH
    + "{% if message.role == 'system' %}{{ '[SYSTEM_PROMPT]' + message.content + '[/SYSTEM_PROMPT]' }}"
    + "{% elif message.role == 'user' %}{{ '[INST]' + message.content + '[/INST]' }}"
    + "{% else %}{{ message.content + eos_token }}{% endif %}"
    + _END
)

_MISTRAL_3 = (
    _HEAD
    + _EACH
    + _NO_SYSTEM
    + "{% if message.role == 'user' %}{{ '[INST] ' + message.content + '[/INST]' }}"
    + "{% else %}{{ ' ' + message.content + eos_token }}{% endif %}"
    + _END
)

_MISTRAL_TEKKEN = _MISTRAL_3.replace("'[INST] '", "'[INST]'").replace("' ' + ", "")

_MISTRAL_1 = (
    _HEAD
    + _EACH
    + _NO_SYSTEM
    + "{% if message.role == 'user' %}{{ '[INST] ' + message.content + ' [/INST]' }}"
    + "{% else %}{{ ' ' + message.content + eos_token }}{% endif %}"
    + _END
)

# The instructions stand inside the first question, and every question begins anew with the begin-of-text mark.
_LLAMA_2 = (
    "{% if messages[0].role == 'system' %}"
    "{% set system = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' %}{% set rest = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
    "{% for message in rest %}"
    + _NO_SYSTEM
    + "{% if message.role == 'user' %}"
    + "{{ bos_token + '[INST] ' + (system if loop.first else '') + (message.content | trim) + ' [/INST]' }}"
    + "{% else %}{{ ' ' + (message.content | trim) + ' ' + eos_token }}{% endif %}"
    + _END
)

_PHI_2 = (
    _EACH
    + "{% if message.role == 'system' %}{{ message.content + '\\n' }}"
    + "{% elif message.role == 'user' %}{{ 'Instruct: ' + message.content + '\\n' }}"
    + "{% else %}{{ 'Output: ' + message.content + '\\n' }}{% endif %}"
    + _END
    + _opening("Output:")
)

_VICUNA = (
    _HEAD
    + _EACH
    + "{% if message.role == 'system' %}{{ message.content + '\\n\\n' }}"
    + "{% elif message.role == 'user' %}{{ 'USER: ' + message.content + '\\n' }}"
    + "{% else %}{{ 'ASSISTANT: ' + message.content + eos_token + '\\n' }}{% endif %}"
    + _END
    + _opening("ASSISTANT:")
)

_ALPACA = (
    _HEAD
    + _EACH
    + "{% if message.role == 'system' %}{{ message.content + '\\n\\n' }}"
    + "{% elif message.role == 'user' %}{{ '### Instruction:\\n' + message.content + '\\n\\n' }}"
    + "{% else %}{{ '### Response:\\n' + message.content + '\\n\\n' }}{% endif %}"
    + _END
    + _opening("### Response:\\n")
)

_DIALOGUE = (
    _HEAD
    + _EACH
    + "{% if message.role == 'system' %}{{ message.content + '\\n\\n' }}"
    + "{% elif message.role == 'user' %}{{ 'User: ' + message.content + '\\n\\n' }}"
    + "{% else %}{{ 'Assistant: ' + message.content + '\\n\\n' }}{% endif %}"
    + _END
    + _opening("Assistant:")
)


@dataclass(frozen=True, slots=True)
class ChatForm:
    """One way of speaking to a model. `ends`: what ends an answer, as a token of its own or spelled out.

    `spaced`: a space stands between the prompt and an answer, which is no part of it.
    """

    name: str  # for people: "Gemma"
    template: str
    ends: tuple[str, ...] = ()
    spaced: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    """A form with the tokens that a vocabulary holds when it belongs to it."""

    marks: tuple[str, ...]
    form: ChatForm


PLAIN = ChatForm("plain dialogue", _DIALOGUE, ("\n\nUser:", "\nUser:"), spaced=True)
_ALPACA_FORM = ChatForm("Alpaca", _ALPACA, ("### Instruction:",))

# The first whose marks are all in the vocabulary.
_BY_MARKS = (
    _Known(
        ("<start_of_turn>", "<end_of_turn>"),
        ChatForm("Gemma", _GEMMA, ("<end_of_turn>", "<start_of_turn>")),
    ),
    _Known(("<|turn>", "<turn|>"), ChatForm("Gemma 4", _GEMMA_4, ("<turn|>", "<|turn>"))),
    _Known(
        ("<|start_header_id|>", "<|end_header_id|>"),
        ChatForm("Llama 3", _LLAMA_3, ("<|eot_id|>", "<|eom_id|>", "<|start_header_id|>")),
    ),
    _Known(
        ("<|start_of_role|>", "<|end_of_role|>"),
        ChatForm("Granite", _GRANITE, ("<|start_of_role|>",)),
    ),
    _Known(
        ("<|start|>", "<|channel|>", "<|message|>"),
        ChatForm("Harmony", _HARMONY, ("<|return|>", "<|call|>")),
    ),
    _Known(
        ("<｜User｜>", "<｜Assistant｜>"),
        ChatForm("DeepSeek", _DEEPSEEK, ("<｜User｜>",)),
    ),
    _Known(
        ("<|START_OF_TURN_TOKEN|>", "<|CHATBOT_TOKEN|>"),
        ChatForm("Command R", _COMMAND_R, ("<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|>")),
    ),
    _Known(
        ("<|im_start|>", "<|im_sep|>", "<|im_end|>"),
        ChatForm("Phi-4", _PHI_4, ("<|im_end|>", "<|im_start|>")),
    ),
    _Known(
        ("<|im_start|>", "<|im_end|>"),
        ChatForm("ChatML", CHATML, ("<|im_end|>", "<|im_start|>")),
    ),
    _Known(
        ("[gMASK]", "<sop>", "<|user|>"),
        ChatForm("GLM-4", _GLM_4, ("<|user|>", "<|observation|>")),
    ),
    _Known(
        ("<|user|>", "<|assistant|>", "<|end|>"),
        ChatForm("Phi-3", _PHI_3, ("<|end|>", "<|user|>")),
    ),
    _Known(("<|user|>", "<|assistant|>"), ChatForm("Zephyr", _ZEPHYR, ("<|user|>",))),
    _Known(("[SYSTEM_PROMPT]", "[INST]", "[/INST]"), ChatForm("Mistral", _MISTRAL_7, ("[INST]",))),
)
_MISTRAL_MARKS = ("[INST]", "[/INST]")

# Words in a model's name, where the vocabulary tells nothing: their marks are plain text to the tokenizer.
_BY_NAME = (
    (("zephyr", "tinyllama"), ChatForm("Zephyr", _ZEPHYR, ("<|user|>",))),
    (("vicuna", "wizardlm"), ChatForm("Vicuna", _VICUNA, ("\nUSER:",), spaced=True)),
    (("mistral", "mixtral"), ChatForm("Mistral", _MISTRAL_1, ("[INST]",))),
    (("llama-2", "llama 2", "llama2", "codellama"), ChatForm("Llama 2", _LLAMA_2, ("[INST]",))),
    (("alpaca",), _ALPACA_FORM),
)
# What a tuned model's name says: a file without a template and without such a word is nearly always a base model.
_TUNED = re.compile(
    r"(?<![a-z])(it|instruct\w*|chat\w*|assistant|sft|dpo|rlhf|r1|hermes|dolphin|openchat|alpaca|vicuna|zephyr"
    r"|tinyllama|wizard\w*)(?![a-z])"
)


def form_of_file(header: GgufHeader) -> ChatForm:
    """`form_of` for a GGUF file, whose vocabulary is read for it. Raises `SlmDeskError` as `read_header` does."""
    get = header.metadata.get
    try:
        tokens = read_array(header.path, header, "tokenizer.ggml.tokens")
    except KeyError:
        tokens = []
    names = [get(key) for key in ("general.name", "general.basename", "general.finetune")]
    ends = [get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot")]
    return form_of(
        header.architecture,
        " ".join([*map(str, filter(None, names)), header.path.stem]),
        str(get("tokenizer.ggml.model", "")),
        set(tokens).__contains__,
        [tokens[end] for end in ends if isinstance(end, int) and 0 <= end < len(tokens)],
    )


def form_of(
    architecture: str, name: str, tokenizer: str, holds: Callable[[str], bool], eos: Iterable[str] = ()
) -> ChatForm:
    """The form for a model without a chat template.

    `name`: all that the file says of its name. `tokenizer`: `tokenizer.ggml.model` ("llama" for SentencePiece,
    "gpt2" for BPE). `holds(text)`: whether the vocabulary has `text` as one token. `eos`: the tokens that the file
    itself ends answers with; a family's end of turn among them shows that the model was trained on it.
    """
    known = _by_marks(tokenizer, holds)
    lowered = name.lower()
    tuned = _TUNED.search(lowered) is not None or (known is not None and not {*known.ends}.isdisjoint(eos))
    if known is not None:
        return known if tuned else PLAIN
    if architecture == "phi2":
        return ChatForm("Phi-2", _PHI_2, ("\nInstruct:", "<|endoftext|>"), spaced=True)
    if not tuned:
        return PLAIN
    return next((form for words, form in _BY_NAME if any(word in lowered for word in words)), _ALPACA_FORM)


def _by_marks(tokenizer: str, holds: Callable[[str], bool]) -> ChatForm | None:
    for known in _BY_MARKS:
        if all(map(holds, known.marks)):
            return known.form
    if not all(map(holds, _MISTRAL_MARKS)):
        return None
    template = _MISTRAL_3 if tokenizer == "llama" else _MISTRAL_TEKKEN
    return ChatForm("Mistral", template, ("[INST]",))


def in_words(name: str) -> str:
    """What a person is told of a form that stands in for a template; "" where the file has its own."""
    if not name:
        return ""
    if name == PLAIN.name:
        return "This file has no chat template and looks like a base model: it sees the chat as a plain dialogue."
    return f"This file has no chat template: it is spoken to in the form of its family, {name}."
