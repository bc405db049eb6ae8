"""What stands in for a chat template that a file does not have."""

from __future__ import annotations

import pytest

from slmdesk.engines.families import PLAIN, form_of, in_words
from slmdesk.engines.llama.templates import ChatTemplate

TURNS = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "A"},
    {"role": "assistant", "content": "B"},
    {"role": "user", "content": "C"},
]

# name, architecture, model's name, tokenizer, tokens of the vocabulary, and the prompt of TURNS as published.
Case = tuple[str, str, str, str, list[str], str]
FAMILIES: list[Case] = [
    (
        "Gemma",
        "gemma3",
        "gemma-3-270m",
        "llama",
        ["<start_of_turn>", "<end_of_turn>"],
        (
            "<s><start_of_turn>user\nS\n\nA<end_of_turn>\n<start_of_turn>model\nB<end_of_turn>\n"
            "<start_of_turn>user\nC<end_of_turn>\n<start_of_turn>model\n"
        ),
    ),
    (
        "Gemma 4",
        "gemma4",
        "gemma 4",
        "llama",
        ["<|turn>", "<turn|>"],
        "<s><|turn>system\nS<turn|>\n<|turn>user\nA<turn|>\n<|turn>model\nB<turn|>\n<|turn>user\nC<turn|>\n<|turn>model\n",
    ),
    (
        "Llama 3",
        "llama",
        "base",
        "gpt2",
        ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        (
            "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nA<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nB<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nC<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n"
        ),
    ),
    (
        "Granite",
        "granite",
        "x",
        "gpt2",
        ["<|start_of_role|>", "<|end_of_role|>"],
        (
            "<|start_of_role|>system<|end_of_role|>S<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>A<|end_of_text|>\n"
            "<|start_of_role|>assistant<|end_of_role|>B<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>C<|end_of_text|>\n"
            "<|start_of_role|>assistant<|end_of_role|>"
        ),
    ),
    (
        "Harmony",
        "gpt-oss",
        "x",
        "gpt2",
        ["<|start|>", "<|channel|>", "<|message|>"],
        (
            "<|start|>system<|message|>S<|end|><|start|>user<|message|>A<|end|>"
            "<|start|>assistant<|channel|>final<|message|>B<|end|><|start|>user<|message|>C<|end|><|start|>assistant"
        ),
    ),
    (
        "DeepSeek",
        "deepseek2",
        "x",
        "gpt2",
        ["<｜User｜>", "<｜Assistant｜>"],
        "<s>S<｜User｜>A<｜Assistant｜>B<｜end▁of▁sentence｜><｜User｜>C<｜Assistant｜>",
    ),
    (
        "Command R",
        "command-r",
        "x",
        "gpt2",
        ["<|START_OF_TURN_TOKEN|>", "<|CHATBOT_TOKEN|>"],
        (
            "<s><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>S<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>A"
            "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>B<|END_OF_TURN_TOKEN|>"
            "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>C<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
        ),
    ),
    (
        "Phi-4",
        "phi3",
        "x",
        "gpt2",
        ["<|im_start|>", "<|im_sep|>", "<|im_end|>"],
        (
            "<|im_start|>system<|im_sep|>S<|im_end|><|im_start|>user<|im_sep|>A<|im_end|>"
            "<|im_start|>assistant<|im_sep|>B<|im_end|><|im_start|>user<|im_sep|>C<|im_end|><|im_start|>assistant<|im_sep|>"
        ),
    ),
    (
        "ChatML",
        "qwen2",
        "x",
        "gpt2",
        ["<|im_start|>", "<|im_end|>"],
        (
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\nB<|im_end|>\n"
            "<|im_start|>user\nC<|im_end|>\n<|im_start|>assistant\n"
        ),
    ),
    (
        "GLM-4",
        "glm4",
        "x",
        "gpt2",
        ["[gMASK]", "<sop>", "<|user|>", "<|assistant|>"],
        "[gMASK]<sop><|system|>\nS<|user|>\nA<|assistant|>\nB<|user|>\nC<|assistant|>\n",
    ),
    (
        "Phi-3",
        "phi3",
        "x",
        "llama",
        ["<|user|>", "<|assistant|>", "<|end|>"],
        "<|system|>\nS<|end|>\n<|user|>\nA<|end|>\n<|assistant|>\nB<|end|>\n<|user|>\nC<|end|>\n<|assistant|>\n",
    ),
    (
        "Zephyr",
        "llama",
        "x",
        "llama",
        ["<|user|>", "<|assistant|>"],
        "<|system|>\nS</s>\n<|user|>\nA</s>\n<|assistant|>\nB</s>\n<|user|>\nC</s>\n<|assistant|>\n",
    ),
    (
        "Mistral",
        "llama",
        "x",
        "gpt2",
        ["[INST]", "[/INST]", "[SYSTEM_PROMPT]"],
        "<s>[SYSTEM_PROMPT]S[/SYSTEM_PROMPT][INST]A[/INST]B</s>[INST]C[/INST]",
    ),
    ("Mistral", "llama", "x", "gpt2", ["[INST]", "[/INST]"], "<s>[INST]S\n\nA[/INST]B</s>[INST]C[/INST]"),
    ("Mistral", "llama", "x", "llama", ["[INST]", "[/INST]"], "<s>[INST] S\n\nA[/INST] B</s>[INST] C[/INST]"),
    (
        "Mistral",
        "llama",
        "Mistral-7B-Instruct-v0.1",
        "llama",
        [],
        "<s>[INST] S\n\nA [/INST] B</s>[INST] C [/INST]",
    ),
    (
        "Llama 2",
        "llama",
        "Llama-2-7b-chat",
        "llama",
        [],
        "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nA [/INST] B </s><s>[INST] C [/INST]",
    ),
    ("Phi-2", "phi2", "phi-2", "gpt2", [], "S\nInstruct: A\nOutput: B\nInstruct: C\nOutput:"),
    (
        "Vicuna",
        "llama",
        "vicuna-7b-v1.5",
        "llama",
        [],
        "<s>S\n\nUSER: A\nASSISTANT: B</s>\nUSER: C\nASSISTANT:",
    ),
    (
        "Alpaca",
        "llama",
        "some-7b-instruct",
        "llama",
        [],
        "<s>S\n\n### Instruction:\nA\n\n### Response:\nB\n\n### Instruction:\nC\n\n### Response:\n",
    ),
    (
        "plain dialogue",
        "gptneox",
        "pythia-160m",
        "gpt2",
        [],
        "<s>S\n\nUser: A\n\nAssistant: B\n\nUser: C\n\nAssistant:",
    ),
]


@pytest.mark.parametrize("case", FAMILIES, ids=lambda case: f"{case[0]} {case[2]}")
def test_each_family_in_its_own_form(case: Case) -> None:
    name, architecture, model, tokenizer, tokens, prompt = case
    tuned = f"{model} it" if tokens else model
    form = form_of(architecture, tuned, tokenizer, set(tokens).__contains__)
    assert form.name == name
    assert ChatTemplate(form.template, bos="<s>", eos="</s>").prompt(TURNS).text == prompt


@pytest.mark.parametrize("case", FAMILIES, ids=lambda case: f"{case[0]} {case[2]}")
def test_answers_are_continued_in_each(case: Case) -> None:
    """Where a second answer stands in a form is where one that is being written goes on."""
    name, architecture, model, tokenizer, tokens, prompt = case
    form = form_of(architecture, f"{model}{' it' * bool(tokens)}", tokenizer, set(tokens).__contains__)
    assert form.name == name
    template = ChatTemplate(form.template, bos="<s>", eos="</s>")
    begun = template.prompt([*TURNS[:3], TURNS[3], {"role": "assistant", "content": " D "}]).text
    assert begun.startswith(prompt)
    assert begun.endswith(" D ")
    assert begun[len(prompt) :].removeprefix("<|channel|>final<|message|>").strip() == "D"


def test_a_base_model_is_told_from_a_tuned_one() -> None:
    gemma = {"<start_of_turn>", "<end_of_turn>"}.__contains__
    assert form_of("gemma3", "Gemma 3 270m gemma-3", "llama", gemma, ["<eos>"]) is PLAIN
    assert form_of("gemma3", "Gemma 3 270m It", "llama", gemma, ["<eos>"]).name == "Gemma"
    assert form_of("gemma3", "merge-7", "llama", gemma, ["<end_of_turn>"]).name == "Gemma"
    assert form_of("llama", "Profit Model With Italics", "llama", set[str]().__contains__) is PLAIN


def test_a_person_is_told() -> None:
    assert in_words("") == ""
    assert "Gemma" in in_words("Gemma")
    assert "dialogue" in in_words(PLAIN.name)
