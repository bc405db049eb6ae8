"""What a person asks for: which model, which quants, how. The same for the window, the command line and presets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write
from slmdesk.formats.quants import WITHOUT_MATRIX
from slmdesk.inference.wire import Wire, converted, plain
from slmdesk.quantize.protocol import Options
from slmdesk.quantize.source import output_name
from slmdesk.quantize.targets import find_targets, tensor_type_number

if TYPE_CHECKING:
    from pathlib import Path

AUTO, NONE, BY_TARGETS = "auto", "none", ""
PATTERN = "{name}-{quant}"
_PLAIN = Options()
_PRESET_LIMIT = 256 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """`imatrix`: "auto" (computed here), "none", a file, or "" (computed where a target gains by it). `measure` None:
    for models under 4 B parameters. `text`: a file to measure with, "" for the built-in one. `output`: a folder, ""
    for the model's own.
    """

    model: str
    targets: tuple[str, ...]
    imatrix: str = BY_TARGETS
    measure: bool | None = None
    text: str = ""
    calibration_text: str = ""
    output: str = ""
    pattern: str = PATTERN
    options: Options = _PLAIN

    @property
    def matrix(self) -> str:
        """Which importance matrix is used: "auto", "none", or a file."""
        if self.imatrix != BY_TARGETS:
            return self.imatrix
        targets = find_targets(self.targets) if self.targets else []
        wanting = any(target.wants_matrix for target in targets)
        wanting |= any(kind in WITHOUT_MATRIX for _, kind in self.options.overrides)
        return AUTO if wanting else NONE

    def checked(self) -> Request:
        """With canonical names. Raises `target_unknown`, `target_missing`, `tensor_type_unknown`,
        `pattern_invalid`."""
        targets = tuple(target.name for target in find_targets(self.targets))
        naming = self.pattern or PATTERN
        options = self.options
        for name in (options.output_type, options.embedding_type, *(kind for _, kind in options.overrides)):
            if name:
                tensor_type_number(name)
        for pattern, _ in options.overrides:
            try:
                re.compile(pattern)
            except re.error as error:
                raise SlmDeskError(
                    "pattern_invalid",
                    f"“{pattern}” is no regular expression: {error}.",
                    "Correct the pattern, for example attn_v=q8_0.",
                ) from error
        names = {output_name(naming, {"name": "x", "quant": target}) for target in targets}
        if len(names) < len(targets):
            raise SlmDeskError(
                "pattern_invalid",
                f"The naming pattern “{naming}” gives several quants the same name.",
                "Put {quant} into it.",
            )
        return replace(self, targets=targets, pattern=naming)

    def to_json(self) -> dict[str, Any]:
        return plain(self)

    @classmethod
    def from_json(cls, data: object) -> Request:
        """Raises `SlmDeskError("bad_request")` that says which field is wrong."""
        return converted(data, cls)


class _Preset(Wire, frozen=True, kw_only=True):
    kind: Literal["slmdesk quantize preset"] = "slmdesk quantize preset"
    version: int = 1
    quantize: dict[str, Any]


def save_preset(path: Path, request: Request) -> None:
    """Write a preset to share: how, but not which model and where. Raises `file_unwritable`, `disk_full`."""
    data = replace(request, model="", output="", text="", calibration_text="").to_json()
    if data["imatrix"] not in {AUTO, NONE, BY_TARGETS}:
        data["imatrix"] = AUTO  # a file of one model is of no use to another
    for key in ("model", "output", "text", "calibration_text"):
        del data[key]
    atomic_write(path, json.dumps(_Preset(quantize=data).to_json(), indent=1, ensure_ascii=False) + "\n")


def load_preset(path: Path, model: str) -> Request:
    """A preset for a model. Raises `preset_unreadable`, and what `Request.checked` raises."""
    try:
        with path.open("rb") as file:
            preset = converted(json.loads(file.read(_PRESET_LIMIT)), _Preset)
        request = Request.from_json({**preset.quantize, "model": model})
    except (OSError, ValueError, RecursionError, SlmDeskError) as error:
        reason = error.message if isinstance(error, SlmDeskError) else f"{error}."
        raise SlmDeskError(
            "preset_unreadable", f"{path.name} is no preset for quantizing: {reason}", "Choose another file."
        ) from error
    return request.checked()
