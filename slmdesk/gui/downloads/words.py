"""What is said of a job: what happens now, why it waits, and the one thing that helps."""

from __future__ import annotations

import time
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from slmdesk.core import amounts
from slmdesk.core.error_codes import DANGEROUS, LICENCE, TOKEN
from slmdesk.engines.registry import KINDS

if TYPE_CHECKING:
    from slmdesk.core.error_codes import ErrorCode
    from slmdesk.core.errors import SlmDeskError
    from slmdesk.core.jobs.job_store import Job

Section = Literal["active", "failed", "done", ""]
Help = Literal["retry", "page", "token", "online", "settings", "catalog"]

_SETTINGS: frozenset[ErrorCode] = frozenset(
    {
        "endpoint_invalid",
        "ca_file_invalid",
        "proxy_invalid",
        "proxy_failed",
        "certificate_invalid",
        "folder_unwritable",
    }
)
_CATALOG: frozenset[ErrorCode] = DANGEROUS | frozenset(
    {
        "not_gguf",
        "gguf_truncated",
        "gguf_damaged",
        "files_missing",
        "repo_not_found",
        "revision_not_found",
        "plan_old",
    }
)
HELP_WORDS: dict[Help, str] = {
    "retry": "Try again",
    "page": "Open its page",
    "token": "Enter a token",
    "online": "Work online",
    "settings": "Open settings",
    "catalog": "Choose another file",
}


_ICONS = {
    "quantize": "quantize",
    "file tool": "quantize",
    "import": "import",
    "verify": "verified",
    "move-folder": "folder",
    "duplicates": "merge",
}
# Tools whose files are no models.
_NO_MODEL = {"imatrix", "imatrix sum", "adapter"}


def section_of(job: Job) -> Section:
    """Where the job stands on the page; "" where it is not shown."""
    if job.state == "done":
        return "done"
    if job.state == "failed":
        return "failed"
    if job.state == "cancelled":
        return "active" if job.wish and time.time() - job.updated_at < 10 else ""
    return "active"


def in_bytes(job: Job) -> bool:
    """Whether the job counts bytes."""
    return job.kind in {"download", "import", "verify", "move-folder", "duplicates"}


def share_of(job: Job) -> float:
    return min(1.0, job.done / job.total) if job.total else 0.0


def now_words(job: Job) -> str:
    """What happens to the job now, as a sentence without its full stop."""
    so_far = amounts.of(job.done, job.total) if in_bytes(job) and job.total else ""
    if job.state == "cancelled" or job.wish in {"cancel", "cancel_keep"}:
        return "Clearing away" if job.wish == "cancel" else "Ending"
    if job.wish == "pause":
        return "Pausing"
    match job.state:
        case "queued":
            return f"Waits for its turn, {so_far} here" if job.done and so_far else "Waits for its turn"
        case "paused" if job.error is not None:
            return f"Waits at {so_far}" if job.done and so_far else "Waits"
        case "paused":
            return f"Paused at {so_far}" if so_far else "Paused"
        case "interrupted":
            return f"Interrupted at {so_far}" if so_far else "Interrupted"
        case _:
            doing = (job.detail[:1].upper() + job.detail[1:]).rstrip(".") or "Starting"
            return f"{doing}, {so_far}" if so_far and not doing.startswith("Trying") else doing


def problem_words(job: Job) -> str:
    """Why a job waits or failed, and what to do; "" when nothing is wrong."""
    if job.error is None or job.state not in {"paused", "failed", "interrupted"}:
        return ""
    parts = [job.error.message, job.error.hint]
    if job.resume_at is not None:
        left = job.resume_at - time.time()
        parts.append(f"It goes on by itself{f' in {amounts.duration(left)}' if left > 1 else ''}.")
    return " ".join(part for part in parts if part)


def kept_words(kept: str) -> str:
    """A sentence of where a job differs from what it would be made with today; "" where it does not."""
    return f"It keeps what it was made with: {kept}." if kept else ""


def help_for(error: SlmDeskError | None) -> Help:
    """The one thing that helps most with this error."""
    code = error.code if error is not None else ""
    if code in LICENCE:
        return "page"
    if code in TOKEN:
        return "token"
    if code == "offline":
        return "online"
    if code in _SETTINGS:
        return "settings"
    if code in _CATALOG:
        return "catalog"
    return "retry"


def running_icon(job: Job) -> str:
    """What stands beside the words of a job under way."""
    return _ICONS.get(job.kind, "download")


def done_words(job: Job) -> str:
    """ "2.5 GB, verified · 5 min ago"."""
    result = job.result or {}
    parts: list[str] = []
    count = result.get("bytes")
    if isinstance(count, int | float) and count:
        parts.append(amounts.size(count))
    if job.kind == "download":
        parts.append("verified")
    when = amounts.moment(job.updated_at)
    return " · ".join(part for part in (", ".join(parts), when) if part)


def runnable(job: Job) -> str:
    """The path of the model file that a job brought, to chat with; "" where it brought none."""
    if (job.result or {}).get("tool") in _NO_MODEL:
        return ""
    for path in _files(job):
        name = path.lower().replace("\\", "/").rpartition("/")[2]
        if KINDS.runs(PurePath(name)) and "mmproj" not in name and "imatrix" not in name:
            return path
    return ""


def source(job: Job) -> str:
    """What could be quantized further: a GGUF or safetensors file that the job brought; "" for none."""
    whole = next((path for path in _files(job) if path.lower().endswith(".safetensors")), "")
    return runnable(job) or whole


def folder(job: Job) -> str:
    """Where what the job brought lies; "" where nobody knows."""
    from pathlib import Path

    files = _files(job)
    return str(Path(files[0]).parent) if files else ""


def _files(job: Job) -> list[str]:
    """The paths of what a job brought; some kinds tell more of each file."""
    result = job.result or {}
    imported = result.get("imported")
    if isinstance(imported, list):
        return [str(path) for one in imported if not one.get("problem") for path in one.get("paths", ())]
    quants = result.get("quants")
    if isinstance(quants, list):
        return [str(one["path"]) for one in quants if one.get("path")]
    files = result.get("files")
    if not isinstance(files, list):
        return []
    return [str(file["path"]) if isinstance(file, dict) else str(file) for file in files]
