"""A stranger's card becomes text, and nothing of it is run or fetched."""

from __future__ import annotations

import pytest

from slmdesk.gui.catalog.card_view import readable
from slmdesk.gui.catalog.forecast_view import sum_words
from slmdesk.memory.fit import Fit
from slmdesk.memory.forecast import Forecast


@pytest.mark.parametrize(
    ("card", "shown"),
    [
        ("a <script>alert('x')</script>b", "a b"),
        ("<div align='center'><h2>Title</h2></div>", "## Title"),
        ("before<!-- hidden -->after", "beforeafter"),
        ('<a href="https://example.org/x"><img src="y.png"></a> text', "text"),
        ('<a class="b" href="https://example.org/x">Words</a>', "[Words](https://example.org/x)"),
        ("![picture](https://example.org/spy.png) text", "text"),
        ("[![badge](https://a/b.svg)](https://a/b) text", "text"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("```html\n<div>kept</div>\n```", "```html\n<div>kept</div>\n```"),
        ("```\n<b>kept</b>\n```\n<b>bare</b>", "```\n<b>kept</b>\n```\nbare"),
        ("", ""),
    ],
)
def test_html_and_pictures_go_and_code_stays(card: str, shown: str) -> None:
    assert readable(card) == shown


def test_the_forecast_shows_its_sum() -> None:
    expected = Forecast(
        3_500_000_000, 2_500_000_000, 600_000_000, 300_000_000, 100_000_000, 8192, 8192, error=0.03
    )
    told = sum_words(Fit(expected, 3_500_000_000, 6_100_000_000, "fits", 32768))
    assert told == (
        "Weights 2.5 GB + KV cache 600 MB + compute 300 MB + overhead 100 MB = 3.5 GB at a context of 8,192 tokens. "
        "6.1 GB are free now. The last forecast on this machine was 3% off."
    )
    small = Fit(expected, 3_500_000_000, 2_000_000_000, "too_big", 0)
    assert "would fit" not in sum_words(small)
