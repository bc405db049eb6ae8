"""The tools of the Quantize page: what each asks for, and the wish that comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from slmdesk.quantize.adapter_types import AUTO, KEPT
from slmdesk.quantize.file_tools import tool_requests as requests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from slmdesk.quantize.file_tools.tool_requests import ToolRequest

Kind = Literal["model", "file", "files", "folder", "choice", "words"]
Values = "Mapping[str, str]"
SHOW = "imatrix show"
GGUF, MATRICES, TEXTS = (
    "GGUF files (*.gguf)",
    "Importance matrices (*.gguf *.dat *.imatrix)",
    "Texts (*.txt *.md)",
)


@dataclass(frozen=True, slots=True)
class FormEntry:
    """One field. "model": a library id or a GGUF file; "files": one a line. `needed`: nothing is planned without it."""

    key: str
    label: str
    kind: Kind
    help: str = ""
    kinds: str = GGUF
    choices: tuple[tuple[str, str], ...] = ()
    value: str = ""
    needed: bool = False
    placeholder: str = ""


@dataclass(frozen=True, slots=True)
class ToolForm:
    """One tool. `wish` raises ValueError with a sentence for what it cannot read; None stands for a tool that only
    looks."""

    id: str
    title: str
    verb: str
    icon: str
    about: str
    entries: tuple[FormEntry, ...]
    wish: Callable[[Mapping[str, str]], ToolRequest] | None


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _split(values: Mapping[str, str]) -> ToolRequest:
    most = values["most"].strip().lower()
    if most.endswith(("tensors", "tensor")):
        number = most.partition("tensor")[0].strip()
        if not number.isdigit() or not int(number):
            raise ValueError(f"“{values['most']}” is no number of tensors; an example is 128 tensors.")
        return requests.SplitRequest(values["source"], max_tensors=int(number))
    try:
        return requests.SplitRequest(values["source"], max_bytes=requests.size_in_bytes(most))
    except ValueError:
        raise ValueError(f"“{values['most']}” is no size; an example is 2 GB.") from None


def _sum(values: Mapping[str, str]) -> ToolRequest:
    files = lines_of(values["source"])
    return requests.MatrixSumRequest(files[0], tuple(files[1:]))


def _adapters(values: Mapping[str, str]) -> ToolRequest:
    adapters = tuple(requests.adapter_in(line) for line in lines_of(values["adapters"]))
    return requests.AdapterMergeRequest(values["source"], adapters, values["type"])


_TYPES = (("f16", "F16"), ("bf16", "BF16"), ("f32", "F32"), ("q8_0", "Q8_0"))
_MODEL = FormEntry(
    "source", "Model", "model", needed=True, placeholder="A model of the library, or a GGUF file"
)

FORMS: tuple[ToolForm, ...] = (
    ToolForm(
        "split",
        "Split a model into parts",
        "Split",
        "list",
        "Some disks, sticks and hubs take no large files. The parts are one model: every program that reads GGUF takes"
        " the first of them.",
        (
            _MODEL,
            FormEntry(
                "most",
                "Largest part",
                "words",
                "A size as in 2 GB, or a number of tensors as in 128 tensors. Sticks (FAT32) take 4 GB.",
                value="4 GB",
                needed=True,
            ),
        ),
        _split,
    ),
    ToolForm(
        "join",
        "Merge the parts of a model",
        "Merge",
        "merge",
        "A model in several files becomes one file again, the same that was split.",
        (
            FormEntry(
                "source",
                "Model, or any of its parts",
                "model",
                needed=True,
                placeholder="A model of the library, or a file …-00001-of-0000N.gguf",
            ),
        ),
        lambda values: requests.JoinRequest(values["source"]),
    ),
    ToolForm(
        "imatrix",
        "Make an importance matrix",
        "Make",
        "speed",
        "The model reads a text, and what its weights are multiplied with is noted: weights that matter most are then"
        " rounded with most care.",
        (
            _MODEL,
            FormEntry(
                "text",
                "Text",
                "file",
                "Empty takes the built-in text of many subjects and languages.",
                TEXTS,
                placeholder="The built-in text",
            ),
        ),
        lambda values: requests.MatrixRequest(values["source"], values["text"]),
    ),
    ToolForm(
        "imatrix sum",
        "Merge importance matrices",
        "Merge",
        "merge",
        "Matrices that one model got from several texts are added up.",
        (FormEntry("source", "Matrices", "files", "One file a line.", MATRICES, needed=True),),
        _sum,
    ),
    ToolForm(
        SHOW,
        "Look into an importance matrix",
        "Look",
        "search",
        "Which weights it tells of, how often each was used, and how the inputs of each are spread.",
        (
            FormEntry("source", "Matrix", "file", kinds=MATRICES, needed=True),
            FormEntry(
                "model",
                "Model (optional)",
                "model",
                "With a model: which of its weights the matrix says nothing about.",
            ),
        ),
        None,
    ),
    ToolForm(
        "convert",
        "Convert a model to GGUF",
        "Convert",
        "switch",
        "A folder as publishers keep it (config.json and safetensors) becomes a GGUF, without being quantized further.",
        (
            FormEntry("source", "Folder, or a model of the library", "folder", needed=True),
            FormEntry(
                "type",
                "Weights",
                "choice",
                choices=(("", "As they are, nothing is lost"), *_TYPES),
            ),
            FormEntry(
                "part",
                "What",
                "choice",
                "A model that sees or hears has a projector, a file of its own beside the model.",
                choices=(("", "The model"), ("projector", "Its projector (mmproj)")),
            ),
        ),
        lambda values: requests.ConvertRequest(
            values["source"], values["type"], values["part"] == "projector"
        ),
    ),
    ToolForm(
        "adapter",
        "Convert a LoRA adapter",
        "Convert",
        "switch",
        "The folder of an adapter that a training program wrote (PEFT) becomes a GGUF adapter.",
        (
            FormEntry("source", "Folder of the adapter", "folder", needed=True),
            FormEntry(
                "base",
                "Folder of its model (optional)",
                "folder",
                "Only its config.json is needed. Empty: what the adapter names, where the library has it.",
            ),
            FormEntry("type", "Weights", "choice", choices=_TYPES, value="f16"),
        ),
        lambda values: requests.AdapterRequest(values["source"], values["base"], values["type"]),
    ),
    ToolForm(
        "adapter merge",
        "Merge LoRA adapters into a model",
        "Merge",
        "merge",
        "What an adapter learned becomes part of the weights. The full model (F16, BF16 or F32) is the best to start"
        " from.",
        (
            _MODEL,
            FormEntry(
                "adapters",
                "Adapters",
                "files",
                "One GGUF file a line; “=0.5” behind it makes it half as strong.",
                needed=True,
            ),
            FormEntry(
                "type",
                "Weights that change",
                "choice",
                choices=(
                    (AUTO, "F16, or F32 where they are F32"),
                    ("F32", "F32"),
                    ("BF16", "BF16"),
                    (KEPT, "Rounded again to what they are"),
                ),
                value=AUTO,
            ),
        ),
        _adapters,
    ),
)


def form_of(tool: str) -> ToolForm:
    """The first one for a tool nobody knows."""
    return next((form for form in FORMS if form.id == tool), FORMS[0])
