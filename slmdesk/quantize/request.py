"""What a person asks for: which model, which quants, how. The same for the window, the command line and presets."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write
from slmdesk.formats.quants import WITHOUT_MATRIX
from slmdesk.quantize.protocol import Options
from slmdesk.quantize.source import output_name
from slmdesk.quantize.targets import find_targets, tensor_type_number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

AUTO, NONE, BY_TARGETS = "auto", "none", ""
PATTERN = "{name}-{quant}"
_KIND, _VERSION = "slmdesk quantize preset", 1
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
    options: Options = field(default_factory=Options)

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
        names = {output_name(self.pattern, {"name": "x", "quant": target}) for target in targets}
        if len(names) < len(targets):
            raise SlmDeskError(
                "pattern_invalid",
                f"The naming pattern “{self.pattern}” gives several quants the same name.",
                "Put {quant} into it.",
            )
        return replace(self, targets=targets)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Request:
        """Raises `SlmDeskError("request_invalid")`."""
        try:
            measure = data.get("measure")
            return cls(
                model=str(data.get("model", "")),
                targets=tuple(map(str, data.get("targets", ()))),
                imatrix=str(data.get("imatrix", BY_TARGETS)),
                measure=bool(measure) if measure is not None else None,
                text=str(data.get("text", "")),
                calibration_text=str(data.get("calibration_text", "")),
                output=str(data.get("output", "")),
                pattern=str(data.get("pattern", PATTERN)) or PATTERN,
                options=Options.from_json(data.get("options", {})),
            )
        except (TypeError, ValueError, AttributeError) as error:
            raise SlmDeskError("request_invalid", f"The request cannot be read: {error}.", "") from error


def save_preset(path: Path, request: Request) -> None:
    """Write a preset to share: how, but not which model and where. Raises `file_unwritable`, `disk_full`."""
    data = replace(request, model="", output="", text="", calibration_text="").to_json()
    if data["imatrix"] not in {AUTO, NONE, BY_TARGETS}:
        data["imatrix"] = AUTO  # a file of one model is of no use to another
    for key in ("model", "output", "text", "calibration_text"):
        del data[key]
    whole = {"kind": _KIND, "version": _VERSION, "quantize": data}
    atomic_write(path, json.dumps(whole, indent=1, ensure_ascii=False) + "\n")


def load_preset(path: Path, model: str) -> Request:
    """A preset for a model. Raises `preset_unreadable`, and what `Request.checked` raises."""
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(_PRESET_LIMIT))
        if (
            not isinstance(data, dict)
            or data.get("kind") != _KIND
            or not isinstance(data.get("quantize"), dict)
        ):
            raise ValueError("it is something else")  # noqa: TRY301
    except (OSError, ValueError, RecursionError) as error:
        raise SlmDeskError(
            "preset_unreadable", f"{path.name} is no preset for quantizing: {error}.", "Choose another file."
        ) from error
    return replace(Request.from_json(data["quantize"]), model=model).checked()
