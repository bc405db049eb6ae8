"""What is advised: never what is as large as the source, or hardly coarser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from slmdesk.core.settings import Settings
from slmdesk.formats.architecture import Architecture
from slmdesk.memory.fit import loading_of
from slmdesk.quantize.planning import sizes
from slmdesk.quantize.recommending import ADVISED, Recommendation, recommend
from slmdesk.quantize.source import SourceGguf, open_source

ROOM = 16 * 10**9


@pytest.fixture
def advise(tmp_path: Path):  # type: ignore[no-untyped-def]
    wishes = loading_of(Settings(tmp_path / "settings.toml"))

    def look(
        source: SourceGguf, available: int = ROOM, exact: dict[str, int] | None = None
    ) -> Recommendation:
        return recommend(
            source, Architecture.from_gguf(source.header), wishes, available=available, sizes=exact
        )

    return look


async def test_a_small_model_in_4_bits_is_left_as_it_is(advise, smollm2: Path) -> None:  # type: ignore[no-untyped-def]
    source = open_source(smollm2)
    exact = await sizes(source, ADVISED)
    assert exact["Q8_0"] == 144_811_232 > source.bytes
    found = advise(source, exact=exact)
    assert (found.quant, found.bytes, found.verdict) == ("", source.bytes, "fits")
    assert "quantized already" in found.why
    # Where it does not fit, no quant of it helps: the best becomes 87 MB of 98.
    tight = advise(source, available=60_000_000, exact=exact)
    assert (tight.quant, tight.verdict) == ("", "too_big")
    assert "clearly smaller" in tight.why


def test_a_larger_one_is_advised_as_far_as_it_gains(advise, smollm2: Path) -> None:  # type: ignore[no-untyped-def]
    small = open_source(smollm2)

    def like(quant: str, bits: float, parameters: int) -> SourceGguf:
        return replace(small, quant=quant, parameters=parameters, bytes=int(parameters * bits / 8))

    seven = 7 * 10**9
    assert advise(like("F16", 16.0, seven)).quant == "Q4_K_M"
    assert advise(like("Q8_0", 8.5, seven)).quant == "Q4_K_M"
    assert advise(like("Q6_K", 6.56, seven)).quant == "Q4_K_M"
    assert advise(like("Q5_K_M", 5.7, seven)).quant == ""
    # Too large as it is: then the best that is clearly smaller, and fits.
    assert advise(like("Q5_K_M", 5.7, seven), available=5 * 10**9).quant in {"IQ4_XS", "Q3_K_M"}
    assert advise(like("F16", 16.0, 135_000_000)).quant == "Q8_0"
    assert advise(like("Q8_0", 8.5, 135_000_000)).quant == ""
