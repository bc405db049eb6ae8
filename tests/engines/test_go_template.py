"""Ollama's templates, in Go's form: rendered as Ollama renders them, or refused as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.families import CHATML
from slmdesk.engines.llama.go_template import GoTemplate
from slmdesk.engines.llama.templates import ChatTemplate
from slmdesk.engines.llama.which_template import SAMPLES

# One question and one answer at a time, the older kind.
CHATML_TURN = (
    "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}"
    "{{ if .Prompt }}<|im_start|>user\n{{ .Prompt }}<|im_end|>\n{{ end }}"
    "<|im_start|>assistant\n{{ .Response }}<|im_end|>\n"
)
INSTRUCTED = "[INST] {{ if .System }}<<SYS>>{{ .System }}<</SYS>>\n\n{{ end }}{{ .Prompt }} [/INST]"
# All messages, the newer kind.
GEMMA = """{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if or (eq .Role "user") (eq .Role "system") }}<start_of_turn>user
{{ .Content }}<end_of_turn>
{{ if $last }}<start_of_turn>model
{{ end }}
{{- else if eq .Role "assistant" }}<start_of_turn>model
{{ .Content }}{{ if not $last }}<end_of_turn>
{{ end }}
{{- end }}
{{- end }}"""
HEADERS = """{{- /* a comment */ -}}
{{- if or .System .Tools }}<|start_header_id|>system<|end_header_id|>

{{ .System }}<|eot_id|>
{{- end }}
{{- $seen := 0 -}}
{{- range .Messages -}}
{{- if ne .Role "system" }}<|start_header_id|>{{ .Role }}<|end_header_id|>

{{ .Content }}<|eot_id|>
{{- $seen = len .Content -}}
{{- end }}
{{- end }}<|start_header_id|>assistant<|end_header_id|>

"""


def says(*turns: str) -> list[dict[str, Any]]:
    """Turns as "role: text"."""
    return [dict(zip(("role", "content"), turn.split(": ", 1), strict=True)) for turn in turns]


def test_turns_are_written_one_pair_after_the_other() -> None:
    messages = says("system: Be brief.", "user: Hi", "assistant: Hello.", "user: Bye")
    assert GoTemplate(CHATML_TURN).render(messages) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("messages", SAMPLES)
def test_a_family_in_gos_form_says_what_it_says_in_jinjas(messages: list[dict[str, Any]]) -> None:
    theirs, ours = ChatTemplate(GoTemplate(CHATML_TURN)), ChatTemplate(CHATML)
    assert theirs.prompt(messages).text == ours.prompt(messages).text


def test_an_answer_goes_behind_a_template_that_names_none() -> None:
    messages = says("system: S", "user: A", "assistant: B", "user: C")
    assert GoTemplate(INSTRUCTED).render(messages) == "[INST] <<SYS>>S<</SYS>>\n\nA [/INST]B[INST] C [/INST]"


def test_messages_are_gone_through_with_their_place() -> None:
    messages = says("system: S", "user: A", "assistant: B", "user: C")
    assert GoTemplate(GEMMA).render(messages) == (
        "<start_of_turn>user\nS<end_of_turn>\n<start_of_turn>user\nA<end_of_turn>\n"
        "<start_of_turn>model\nB<end_of_turn>\n<start_of_turn>user\nC<end_of_turn>\n<start_of_turn>model\n"
    )
    assert (
        ChatTemplate(GoTemplate(GEMMA))
        .prompt([*messages, *says("assistant: Once")])
        .text.endswith("<start_of_turn>model\nOnce")
    )


def test_comments_variables_and_trim_marks() -> None:
    assert GoTemplate(HEADERS).render(says("system: S", "user: A")) == (
        "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nA<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_neighbours_of_one_role_become_one_message() -> None:
    assert (
        GoTemplate("{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ end }}").render(
            says("user: a", "user: b")
        )
        == "<user>a\n\nb"
    )


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ('{{ if and .System (eq .Prompt "a" "q") }}x{{ end }}', "x"),
        ("{{ if not .Tools }}x{{ else }}y{{ end }}", "x"),
        ("{{ with .System }}{{ . }}{{ end }}", "s"),
        ("{{ range .Tools }}y{{ else }}x{{ end }}", "x"),
        ('{{ "a\\n\\"b" }}{{ `c\\n` }}', 'a\n"bc\\n'),
        ("{{ .System | len }}{{ (len .System) }}{{ true }}", "11true"),
        ("{{ if gt (len .Prompt) 0 }}x{{ end }}{{ json .System }}", 'x"s"'),
        ("{{ if $.Missing.Deeper }}y{{ else if .System }}x{{ else }}z{{ end }}", "x"),
        ("a  {{- .System -}}  b", "asb"),
    ],
)
def test_expressions(expression: str, value: str) -> None:
    template = GoTemplate(expression + "{{ if .Prompt }}{{ end }}{{ .Response }}")
    assert template.render(says("system: s", "user: q")) == value


@pytest.mark.parametrize(
    "source",
    [
        "nothing of a dialogue",
        "{{ .Prompt",
        "{{ if .Prompt }}",
        "{{ end }}{{ .Prompt }}",
        '{{ template "x" .Prompt }}',
        "{{ .Prompt | printf }}",
        "{{ currentDate }}{{ .Prompt }}",
        "{{ .Prompt }}{{ }}",
        "{{ .Prompt }}{{ $x := 1, 2 }}",
        "{{ .Prompt }}" + "{{ if .Prompt }}" * 5000,
        '{{ .Prompt }}{{ "\\x" }}',
        "{{ .Prompt }}{{ .A ! .B }}",
        "{{ if .Prompt }}{{ else with .System }}{{ end }}",
    ],
)
def test_what_cannot_be_done_is_refused_when_it_is_read(source: str) -> None:
    with pytest.raises(SlmDeskError) as raised:
        GoTemplate(source)
    assert raised.value.code == "template_invalid"


@pytest.mark.parametrize(
    "source",
    [
        "{{ .Prompt 1 }}",
        "{{ $x }}{{ .Prompt }}",
        "{{ range .Prompt }}{{ end }}",
        "{{ index .Prompt 99 }}",
        "{{ slice .Prompt 9 }}{{ lt .Prompt 1 }}",
        "{{ (.Prompt }}",
        "{{ .Prompt | .System }}",
    ],
)
def test_what_goes_wrong_while_it_runs_is_an_error_of_the_template(source: str) -> None:
    with pytest.raises(SlmDeskError):
        ChatTemplate(GoTemplate(source)).prompt(says("user: q"))
