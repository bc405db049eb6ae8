"""What a loopback hub holds: repositories with their revisions, files and facts, and the people it knows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Content = bytes | Path

_LFS_SUFFIXES = {
    ".gguf",
    ".safetensors",
    ".bin",
    ".pt",
    ".ckpt",
    ".onnx",
    ".onnx_data",
    ".data",
    ".model",
    ".pth",
}
_LFS_FROM = 10 * 1024 * 1024
_LIBRARY_TAGS = {".gguf": "gguf", ".safetensors": "safetensors", ".onnx": "onnx"}
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of one revision. Small text lies in git, everything else in LFS, as on the real hub."""

    path: str
    content: Content
    size: int
    sha256: str
    oid: str  # git's name of the blob

    @property
    def lfs(self) -> bool:
        return self.size > _LFS_FROM or Path(self.path).suffix.lower() in _LFS_SUFFIXES

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    @classmethod
    def of(cls, path: str, content: Content) -> HubFile:
        whole = hashlib.sha256()
        if isinstance(content, bytes):
            size = len(content)
            git = hashlib.sha1(b"blob %d\0" % size)  # git names blobs by SHA-1
            whole.update(content)
            git.update(content)
        else:
            size = content.stat().st_size
            git = hashlib.sha1(b"blob %d\0" % size)
            with content.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    whole.update(chunk)
                    git.update(chunk)
        return cls(path, content, size, whole.hexdigest(), git.hexdigest())


@dataclass(slots=True)
class Repository:
    """A model's repository. `gated` as the hub says it; `issues` maps a file to its scanner's level
    ("unsafe", "suspicious"); `facts` go into the API's answer as they are (`gguf`, `safetensors`, `config`)."""

    id: str
    files: dict[str, HubFile] = field(default_factory=dict)
    gated: Literal[False, "auto", "manual"] = False
    private: bool = False
    disabled: bool = False
    licence: str = "apache-2.0"
    pipeline_tag: str = "text-generation"
    tags: tuple[str, ...] = ()
    downloads: int = 0
    likes: int = 0
    trending: int = 0
    created_at: str = "2026-01-01T00:00:00.000Z"
    last_modified: str = "2026-06-01T00:00:00.000Z"
    issues: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    xet: bool = False
    revisions: dict[str, dict[str, HubFile]] = field(default_factory=dict)
    sha: str = ""

    def commit(self, files: Mapping[str, Content]) -> str:
        """A new revision with exactly these files; the old ones stay reachable by their name."""
        self.files = {path: HubFile.of(path, content) for path, content in files.items()}
        named = "".join(f"{file.path}\0{file.sha256}\n" for file in self.files.values())
        self.sha = hashlib.sha1(f"{self.id}{len(self.revisions)}{named}".encode()).hexdigest()
        self.revisions[self.sha] = self.files
        return self.sha

    def at(self, revision: str) -> tuple[str, dict[str, HubFile]] | None:
        """The commit and the files that a branch, a commit or the start of one means."""
        if revision in {"main", "HEAD", self.sha}:
            return self.sha, self.files
        for sha, files in self.revisions.items():
            if len(revision) >= 7 and sha.startswith(revision):
                return sha, files
        return None

    def all_tags(self) -> list[str]:
        found = {tag for path in self.files if (tag := _LIBRARY_TAGS.get(Path(path).suffix.lower()))}
        return [*sorted(found), self.pipeline_tag, *self.tags, f"license:{self.licence}", "region:us"]

    def parameters(self) -> int:
        """As the hub counts them, 0 where it does not know."""
        for name in ("safetensors", "gguf"):
            told = self.facts.get(name)
            total = told.get("total") if isinstance(told, dict) else None
            if isinstance(total, int):
                return total
        return 0


@dataclass(frozen=True, slots=True)
class User:
    """Who a token belongs to: the gated repositories whose licence they accepted, asked for, or were refused."""

    name: str
    accepted: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    member_of: frozenset[str] = frozenset()  # publishers whose private repositories they see


def repository(repo_id: str, files: Mapping[str, Content], **facts: Any) -> Repository:
    """A repository with one commit. Keyword arguments are the fields of `Repository`."""
    made = Repository(repo_id, **facts)
    made.commit(files)
    return made


def model_json(
    repo: Repository,
    files: Mapping[str, HubFile],
    sha: str,
    *,
    blobs: bool,
    security: bool,
    siblings: bool = True,
) -> dict[str, Any]:
    """A repository as `/api/models/{repo}` tells it."""
    data: dict[str, Any] = {
        "_id": repo.sha[:24],
        "id": repo.id,
        "modelId": repo.id,
        "author": repo.id.partition("/")[0],
        "sha": sha,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": repo.disabled,
        "downloads": repo.downloads,
        "likes": repo.likes,
        "trendingScore": repo.trending,
        "tags": repo.all_tags(),
        "pipeline_tag": repo.pipeline_tag,
        "library_name": next(
            (tag for tag in repo.all_tags() if tag in _LIBRARY_TAGS.values()), "transformers"
        ),
        "createdAt": repo.created_at,
        "lastModified": repo.last_modified,
        "cardData": {"license": repo.licence, "pipeline_tag": repo.pipeline_tag},
        "usedStorage": sum(file.size for file in files.values()),
    }
    if siblings:
        data["siblings"] = [_sibling(file, blobs=blobs) for file in files.values()]
    if security:
        data["securityRepoStatus"] = {
            "scansDone": True,
            "filesWithIssues": [{"path": path, "level": level} for path, level in repo.issues.items()],
        }
    return {**data, **repo.facts}


def _sibling(file: HubFile, *, blobs: bool) -> dict[str, Any]:
    data: dict[str, Any] = {"rfilename": file.path}
    if blobs:
        data |= {"size": file.size, "blobId": file.oid}
        if file.lfs:
            data["lfs"] = {"size": file.size, "sha256": file.sha256, "pointerSize": 134}
    return data


def tree_json(
    repo: Repository, files: Mapping[str, HubFile], below: str, *, recursive: bool, expand: bool
) -> list[dict[str, Any]]:
    """The entries of a folder, as `/api/models/{repo}/tree/{revision}` tells them."""
    prefix = f"{below.strip('/')}/" if below.strip("/") else ""
    entries: dict[str, dict[str, Any]] = {}
    for path, file in files.items():
        if not path.startswith(prefix):
            continue
        parents = path[len(prefix) :].split("/")[:-1]
        for depth in range(len(parents) if recursive else min(1, len(parents))):
            folder = prefix + "/".join(parents[: depth + 1])
            oid = hashlib.sha1(folder.encode()).hexdigest()
            entries.setdefault(folder, {"type": "directory", "oid": oid, "size": 0, "path": folder})
        if recursive or not parents:
            entries[path] = entry_json(repo, file, expand=expand)
    return list(entries.values())


def entry_json(repo: Repository, file: HubFile, *, expand: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "oid": file.oid, "size": file.size, "path": file.path}
    if file.lfs:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
        if repo.xet:
            entry["xetHash"] = file.sha256
    if expand:
        level = repo.issues.get(file.path, "safe")
        entry["lastCommit"] = {"id": repo.sha, "title": "Upload", "date": repo.last_modified}
        entry["securityFileStatus"] = {
            "status": level,
            "avScan": {"virusFound": level == "unsafe", "virusNames": None},
            "pickleImportScan": None,
        }
    return entry


def matches(repo: Repository, query: Mapping[str, Sequence[str]], seen_by: User | None) -> bool:
    """Whether a search with these parameters finds the repository."""

    def one(name: str) -> str:
        return (query.get(name) or [""])[0]

    if repo.private and (seen_by is None or repo.id.partition("/")[0] not in seen_by.member_of):
        return False
    if one("search").lower() not in repo.id.lower():
        return False
    if one("author") and repo.id.partition("/")[0].lower() != one("author").lower():
        return False
    tags = set(repo.all_tags())
    if not all(tag in tags for wanted in query.get("filter", ()) for tag in wanted.split(",")):
        return False
    if one("pipeline_tag") and repo.pipeline_tag != one("pipeline_tag"):
        return False
    if one("gated") and (one("gated").lower() == "true") != bool(repo.gated):
        return False
    return _counted(one("num_parameters"), repo.parameters())


def _counted(limits: str, parameters: int) -> bool:
    for limit in filter(None, limits.split(",")):
        side, _, text = limit.partition(":")
        scale = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}.get(text[-1:].upper(), 1.0)
        number = float(text.rstrip("KMBTkmbt")) * scale
        if not parameters or (parameters < number if side == "min" else parameters > number):
            return False
    return True
