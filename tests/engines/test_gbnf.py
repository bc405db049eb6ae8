"""Grammars in llama.cpp's notation: the same language, whatever they are made of, and nothing that takes for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.llama.matchers import Matchers
from slmdesk.inference.asks import Grammar
from slmdesk.llama.model import Model
from slmdesk.llama.native import Native

Takes = Callable[[str, str], bool]


@pytest.fixture(scope="module")
def model(desk_guide: Path) -> Iterator[Model]:
    loaded = Model(Native(), str(desk_guide))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def matchers(model: Model) -> Matchers:
    return Matchers(model)


@pytest.fixture(scope="module")
def takes(model: Model, matchers: Matchers) -> Takes:
    """Whether a text follows a grammar to its end."""
    end = min(token for token in range(model.tokens) if model.piece(token) is None)

    def taken(grammar: str, text: str) -> bool:
        matcher = matchers.matcher(Grammar(grammar))
        return all(matcher.take(token) for token in [*model.tokenize(text, special=False), end])

    return taken


JSON = r"""
# Any JSON object.
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""


@pytest.mark.parametrize(
    ("grammar", "good", "bad"),
    [
        ('root ::= "yes" | "no"', ["yes", "no"], ["yesno", "", "ye"]),
        (
            'root ::= item{2,3}\nitem ::= "- " [^\\n]+ "\\n"',
            ["- a\n- b\n", "- a\n- 日本\n- c\n"],
            ["- a\n", "- \n- a\n"],
        ),
        ("root ::= [a-c0-9_-]+ [^x-z] .", ["a-_9.ü", "b\t\n"], ["x", "ax", "axy", "azz"]),
        (r'root ::= "\x41\u00e9\U0001F642\t\"\\\[\]" [\]\-a]', ['Aé🙂\t"\\[]-', 'Aé🙂\t"\\[]]'], ["A"]),
        ('root ::= ("a" | "b" "c"){2} "d"?', ["aad", "bca", "bcbcd"], ["ad", "abd"]),
        (
            'root ::= "a"* "b"+ "c"{3} "d"{1,} "e"{,2}',
            ["bcccd", "aabbcccdddee"],
            ["acccd", "bcccdeee", "bccd"],
        ),
        ('root ::= a-b\na-b ::= a_b\na_b ::= Ab\nAb ::= aB\naB ::= "x"', ["x"], ["X"]),  # names by their case
        (
            'root ::= s\ns ::= "(" s ")" s | inner | ""\ninner ::= [0-9]{2}',
            ["", "()", "(())12", "(()())"],
            ["(", "())", "(1)"],
        ),
        ('root ::= root "+" root | [0-9]+', ["1", "1+23+4"], ["1+", "+1"]),  # llama.cpp refuses this
        (
            JSON,
            ['{"a": [1, -2.5e+3, {"b\\n\\u00e9": null}]}', '{\n  "ü": ""}'],
            ["[]", '{"a"}', '{"a": "\n"}', "{}x"],
        ),
        ('root ::= "" | ("" | "a" | ("b" |)) # end', ["", "a", "b"], ["ab"]),
        ('root::="a"#no space\r\n', ["a"], ["b"]),
    ],
)
def test_the_language_of_a_grammar(takes: Takes, grammar: str, good: list[str], bad: list[str]) -> None:
    for text in good:
        assert takes(grammar, text), text
    for text in bad:
        assert not takes(grammar, text), text


def test_tokens_are_named_by_number_and_text(model: Model, matchers: Matchers) -> None:
    name = next(text for text in sorted(model.special_texts) if model.piece(model.token_of(text)) == b"")
    token = model.token_of(name)
    end = min(one for one in range(model.tokens) if model.piece(one) is None)
    letter = model.tokenize("a", special=False)[0]
    for grammar in (f'root ::= "a" {name} x\nx ::= "b" x | "a"', f'root ::= "a" <[{token}]> "a"'):
        matcher = matchers.matcher(Grammar(grammar))
        assert [matcher.take(one) for one in (letter, letter, token, letter, end)] == [
            True,
            False,
            True,
            True,
            True,
        ]
    matcher = matchers.matcher(Grammar(f'root ::= !{name} "a"'))
    assert not matcher.take(token)
    assert matcher.take(letter)


@pytest.mark.parametrize(
    ("grammar", "says"),
    [
        ("root ::= (", "expecting )"),
        ("root ::= missing", "missing"),
        ('root ::= "a', "unexpected end"),
        ("root ::= [a", "unexpected end"),
        ("root ::= [z-a]", "lies between"),
        ("root ::= [^]", "no characters"),
        ('root ::= "\\q"', "unknown escape"),
        ('root ::= "\\u12"', "unknown escape"),
        ('root ::= "\\ud83d"', "surrogate"),
        ("root ::= 'a'", "expecting newline or end"),
        ("root ::= *", "preceding item"),
        ('root ::= "a"{3,2}', "at most"),
        ('root ::= "a"{', "expecting integer"),
        ("root ::= <[99999999]>", "oken"),
        ("root ::= <no such token>", "invalid token"),
        ('root = "a"', "::="),
        ('rot ::= "a"', "root"),
        ("", "root"),
        ("root ::= root", "no answer"),
        ('root ::= "a" root', "no answer"),
    ],
)
def test_a_wrong_grammar_is_refused_with_the_reason(matchers: Matchers, grammar: str, says: str) -> None:
    with pytest.raises(SlmDeskError, match="grammar") as caught:
        matchers.matcher(Grammar(grammar))
    assert caught.value.code == "grammar_invalid"
    assert says in caught.value.message


RULES = "\n".join(f"r{number} ::= r{number + 1} {{}} r{number + 1}" for number in range(40))
HOSTILE = [
    'root ::= "a"{400000000}',
    'root ::= "a"{99999999999999999999}',
    "root ::= " + "(" * 50_000,
    "root ::= " + "(" * 200 + '"a"' + ")" * 200,
    "root ::= " + '"a"? ' * 20_000,
    "root ::= r0 \n" + RULES.replace("{}", "") + '\nr40 ::= "a"?',
    'root ::= "' + "a" * 300_000 + '"',
    "root ::= " + "a" * 100_000,
    "root ::= r0\n" + "\n".join(f"r{n} ::= r{n + 1}" for n in range(4000)) + '\nr4000 ::= "a"',
    "root ::= r0\n" + "\n".join(f"r{n} ::= r{n + 1}" for n in range(4000)) + '\nr4000 ::= "a" r0 | "b"',
    "root ::= r0\n" + "\n".join(f"r{n} ::= r{n + 1}" for n in range(9000)) + '\nr9000 ::= "a"',
]


@pytest.mark.parametrize("grammar", HOSTILE, ids=lambda grammar: grammar[:30])
def test_what_would_take_for_ever_is_refused(matchers: Matchers, grammar: str) -> None:
    with pytest.raises(SlmDeskError) as caught:
        matchers.matcher(Grammar(grammar))
    assert caught.value.code == "grammar_invalid"


CIRCLE = "\n".join(f"r{number} ::= r{number + 1}" for number in range(900))
HARD = [  # each of these occupies llama.cpp's own reader or sampler for more than a minute
    ('root ::= (("a"?){100}){100}', "aaa"),
    ("root ::= " + " ".join('("a" | "b" | "c" |)' for _ in range(40)), "abcab"),
    ("root ::= r0\n" + RULES.replace("{}", "|") + '\nr40 ::= "a"', "a"),
    ('root ::= ("a" | "aa" | "aaa")*', "a" * 50),
    ('root ::= s\ns ::= "a" s | "a" t s | ""\nt ::= "a" t | |', "a" * 50),
    ("root ::= " + " | ".join(f'"{number}"' for number in range(10_000)), "9999"),
    ("root ::= r0\n" + CIRCLE + '\nr900 ::= "a" | "(" r0 ")"', "((a))"),
    ("root ::= r0\n" + "\n".join(f"r{n} ::= r{n + 1}" for n in range(900)) + '\nr900 ::= "a"', "a"),
]


@pytest.mark.parametrize(("grammar", "text"), HARD, ids=lambda value: value[:30])
def test_what_leaves_many_ways_open_is_followed(takes: Takes, grammar: str, text: str) -> None:
    assert takes(grammar, text)
    assert not takes(grammar, text + "x")
