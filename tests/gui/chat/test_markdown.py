"""What is read from Markdown, case by case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmdesk.gui.chat.markdown.blocks import (
    Block,
    CodeBlock,
    Span,
    TableBlock,
    TextBlock,
    plain,
    plain_text,
    verbatim,
)
from slmdesk.gui.chat.markdown.parse import parse
from slmdesk.gui.chat.markdown.stream import StreamingMarkdown


def words(*texts: str) -> list[Block]:
    return [TextBlock("paragraph", (Span(text),)) for text in texts]


def test_styles_inside_a_line() -> None:
    assert parse("a **b *c*** `d` ~~e~~ [f](https://g.example)") == [
        TextBlock(
            "paragraph",
            (
                Span("a "),
                Span("b ", bold=True),
                Span("c", bold=True, italic=True),
                Span(" "),
                Span("d", code=True),
                Span(" "),
                Span("e", strike=True),
                Span(" "),
                Span("f", href="https://g.example"),
            ),
        )
    ]


def test_lists_know_their_markers_and_depth() -> None:
    blocks = parse("3. one\n4. two\n   - inner\n     - deeper\n\n   second paragraph\n- [x] done\n- [ ] open")
    assert [
        (block.marker, block.indent, plain_text([block])) for block in blocks if isinstance(block, TextBlock)
    ] == [
        ("3.", 1, "3. one"),
        ("4.", 1, "4. two"),
        ("•", 2, "• inner"),
        ("◦", 3, "◦ deeper"),
        ("", 1, "second paragraph"),
        ("☑", 1, "☑ done"),
        ("☐", 1, "☐ open"),
    ]


def test_code_in_a_list_keeps_its_marker_on_a_line_of_its_own() -> None:
    assert parse("- ```sh\n  ls\n  ```") == [
        TextBlock("paragraph", (), indent=1, marker="•"),
        CodeBlock("ls", "sh", indent=1),
    ]


def test_a_table() -> None:
    assert parse("| a | b |\n|:--|--:|\n| **1** |\n| 2 | 3 |") == [
        TableBlock(
            ((Span("a"),), (Span("b"),)),
            (((Span("1", bold=True),), ()), ((Span("2"),), (Span("3"),))),
            ("left", "right"),
        )
    ]


def test_headings_quotes_and_rules() -> None:
    assert parse("## Head\n> said\n>> twice\n\n---") == [
        TextBlock("heading", (Span("Head"),), level=2),
        TextBlock("paragraph", (Span("said"),), quote=1),
        TextBlock("paragraph", (Span("twice"),), quote=2),
        TextBlock("rule"),
    ]


def test_a_fence_that_is_not_closed_yet_is_code() -> None:
    stream = StreamingMarkdown()
    for piece in ("Here:\n\n``", "`py\nx = ", "1\ny", " = 2\n"):
        stream.append(piece)
        stream.update()
    assert stream.blocks == [*words("Here:"), CodeBlock("x = 1\ny = 2", "py")]
    stream.append("```\nAfter")
    stream.finish()
    assert stream.blocks == [*words("Here:"), CodeBlock("x = 1\ny = 2", "py"), *words("After")]


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '<img src="https://evil.example/x.png" onerror="go()">',
        "<iframe src=file:///etc/passwd></iframe>",
        "<b>bold</b>",
        "<!-- hidden -->",
    ],
)
def test_html_is_shown_as_the_text_it_is(text: str) -> None:
    assert [
        span.text
        for block in parse(text)
        if isinstance(block, TextBlock)
        for span in block.spans
        if not span.href
    ]
    assert plain_text(parse(text)) == text
    assert not any(span.bold for block in parse(text) if isinstance(block, TextBlock) for span in block.spans)


@pytest.mark.parametrize(
    "target", ["javascript:alert(1)", "file:///etc/passwd", "data:text/html,x", "slmdesk:go", "//x.example"]
)
def test_only_web_and_mail_addresses_are_links(target: str) -> None:
    blocks = parse(f"[press]({target})")
    assert all(not span.href for block in blocks if isinstance(block, TextBlock) for span in block.spans)


def test_an_image_is_a_link_and_never_fetched() -> None:
    assert parse("![a cat](https://x.example/cat.png)") == [
        TextBlock("paragraph", (Span("a cat", href="https://x.example/cat.png"),))
    ]


def test_bare_addresses_are_links_without_their_full_stop() -> None:
    assert parse("See https://a.example/b_c. Yes") == [
        TextBlock(
            "paragraph",
            (Span("See "), Span("https://a.example/b_c", href="https://a.example/b_c"), Span(". Yes")),
        )
    ]


def test_a_reference_may_come_after_its_use() -> None:
    stream = StreamingMarkdown()
    for piece in ("[here][1] it is\n\n", "more\n\n", "[1]: https://a.example\n"):
        stream.append(piece)
        stream.update()
    stream.finish()
    assert stream.blocks[0] == TextBlock(
        "paragraph", (Span("here", href="https://a.example"), Span(" it is"))
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[Answer]: 42", "[Answer]: 42"),
        ("Well.\n\n[Answer]: 42", "Well.\n[Answer]: 42"),
        ("> [Answer]: 42", "[Answer]: 42"),
        ("- [Answer]: 42", "• [Answer]: 42"),
        ("1. [x]: y\n2. b", "1. [x]: y\n2. b"),
        ("[A]: 1\n[B]: 2\nthe end", "[A]: 1\n[B]: 2\nthe end"),
        ("[Answer]:\n42", "[Answer]:\n42"),
        ("[^1]: a note\nmore", "[^1]: a note\nmore"),
        ("[1]: https://a.example 'never used'", "[1]: https://a.example 'never used'"),
        ("[1]: https://a.example\n\n`[1]`", "[1]: https://a.example\n[1]"),
        ("[1]: https://a.example\n[1]: https://b.example\n[1]", "[1]: https://b.example\n1"),
        ("[a]: 42\n\nsee [a]", "[a]: 42\nsee a (42)"),
        ("[Answer](42)", "Answer (42)"),
        ("![Answer](42)", "Answer (42)"),
        ("[the docs](docs/a%20b.md)", "the docs (docs/a b.md)"),
        ("<!-- 42 -->", "<!-- 42 -->"),
        ("<answer></answer>", "<answer></answer>"),
        ("===", "==="),
        ("\\", "\\"),
        ("![]()", "![]()"),
        (">", ">"),
        ("[]()", "[]()"),
        ("**", "**"),
        ("``", "``"),
        ("#", "#"),
    ],
)
def test_nothing_that_was_written_goes_unseen(text: str, shown: str) -> None:
    assert plain_text(parse(text)) == shown
    stream = StreamingMarkdown()
    for letter in text:
        stream.append(letter)
        stream.update()
        assert stream.blocks or not stream.source.strip()
    stream.finish()
    assert plain_text(stream.blocks) == shown


def test_marks_without_words_leave_something_to_see() -> None:
    for text in ("---", "***", "```", "~~~", "|a|\n|-|"):
        assert parse(text)
    assert parse("```Answer: 42\n```") == [CodeBlock("", "Answer: 42")]


@given(st.text("[]:()>-`#*_!|<>a1 \n\\", min_size=1, max_size=24))
def test_whatever_is_written_leaves_something_to_see(text: str) -> None:
    assert parse(text) or not text.strip()


def test_deep_nesting_neither_fails_nor_takes_long() -> None:
    assert parse("> " * 3000 + "deep")
    assert parse("- " * 1000 + "deep")
    assert parse("[" * 4000)
    assert parse("*a _b " * 1500)


def test_typed_text_is_not_markdown() -> None:
    assert verbatim("# not a *heading*\n\n<b>") == [
        TextBlock("line", (Span("# not a *heading*"),)),
        TextBlock("line"),
        TextBlock("line", (Span("<b>"),)),
    ]


def test_formulas_keep_their_backslashes() -> None:
    source = r"Since \(a\, b\) and \[x^2\], a \* b stays with \{c\}."
    assert plain_text(parse(source)) == r"Since \(a\, b\) and \[x^2\], a * b stays with \{c\}."
    assert plain_text(parse(r"`\(` and `\*`")) == r"\( and \*"


def test_a_line_break_in_a_table_is_one() -> None:
    table = parse("| a | b |\n|---|---|\n| one<br>two | `<br>` |")[0]
    assert isinstance(table, TableBlock)
    assert [plain(cell) for cell in table.rows[0]] == ["one\ntwo", "<br>"]
    assert plain_text(parse("one <br/> two <BR> three <bread>")) == "one\ntwo\nthree <bread>"
