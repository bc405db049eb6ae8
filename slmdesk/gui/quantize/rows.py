"""The quants that could be made, as lines of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.quantize.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.formats.quants import QuantFormat
    from slmdesk.memory.fit import Fit
    from slmdesk.quantize.planning import QuantForecast

USUAL = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_XS", "Q3_K_M", "Q2_K")
"""What the table shows at first; the others come with “Show all”."""
_NEARLY = 0.95
"""A file of such a share of the source's size saves nothing worth a loss."""


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One line of the table of targets. `bytes` is an estimate where there is no `forecast` yet. `source_bytes` and
    `source_quant` are of what it would be made of; 0 and "" while they are not known."""

    target: QuantFormat
    ticked: bool
    recommended: bool
    bytes: int
    forecast: QuantForecast | None
    source_bytes: int = 0
    source_quant: str = ""

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def fit(self) -> Fit | None:
        return self.forecast.fit if self.forecast is not None else None

    @property
    def exact(self) -> bool:
        return self.forecast is not None

    @property
    def gains_nothing(self) -> bool:
        """Whether it is as large as what it is made of, or larger."""
        return 0 < self.source_bytes <= self.bytes / _NEARLY


def target_rows(
    *,
    whole: bool,
    ticked: set[str],
    recommended: str,
    parameters: int,
    forecasts: Mapping[str, QuantForecast],
    source_bytes: int = 0,
    source_quant: str = "",
) -> list[TargetRow]:
    """The lines of the table, the largest quant first. Ticked ones are always among them."""
    return [
        TargetRow(
            target,
            target.name in ticked,
            target.name == recommended,
            forecasts[target.name].bytes if target.name in forecasts else target.bytes_of(parameters),
            forecasts.get(target.name),
            source_bytes,
            source_quant,
        )
        for target in TARGETS.values()
        if whole or target.name in USUAL or target.name in ticked or target.name == recommended
    ]
