"""How much of which disk the models take."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmdesk.core.space import existing_parent
from slmdesk.library.trash import FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slmdesk.library.library import Library
    from slmdesk.library.records import LibraryModel


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """Bytes a model takes. `shared`: of these, bytes that other models' names (hard links) point to as well;
    `elsewhere`: bytes used in place, which lie in other programs' folders."""

    id: str
    size_bytes: int
    shared: int
    elsewhere: int


@dataclass(frozen=True, slots=True)
class Volume:
    """One disk with models folders on it; `models` bytes are in them, `removed` wait in their trash."""

    folders: tuple[Path, ...]
    total: int
    free: int
    models: int
    removed: int


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """The most space first; `missing` are models folders that are not there. `total` bytes are all models together,
    wherever they lie, each byte counted once."""

    models: tuple[ModelUsage, ...]
    volumes: tuple[Volume, ...]
    missing: tuple[Path, ...]
    total: int

    def to_json(self) -> dict[str, Any]:
        return {
            "models": [
                {
                    "id": m.id,
                    "size_bytes": m.size_bytes,
                    "shared_bytes": m.shared,
                    "elsewhere_bytes": m.elsewhere,
                }
                for m in self.models
            ],
            "volumes": [
                {
                    "folders": [str(folder) for folder in volume.folders],
                    "total_bytes": volume.total,
                    "free_bytes": volume.free,
                    "models_bytes": volume.models,
                    "removed_bytes": volume.removed,
                }
                for volume in self.volumes
            ],
            "missing": [str(folder) for folder in self.missing],
            "total_bytes": self.total,
        }


async def usage(library: Library) -> DiskUsage:
    """What the models of the library take, and what is free beside them."""
    models = await library.models(every_format=True)
    return await asyncio.to_thread(_usage, models, library.folders, library.own_folder)


def _usage(models: Sequence[LibraryModel], folders: Sequence[Path], own: Path) -> DiskUsage:
    owners: dict[tuple[int, int], set[str]] = {}
    sizes: dict[tuple[int, int], int] = {}
    inside: set[tuple[int, int]] = set()
    elsewhere: dict[str, int] = {}
    for model in models:
        for file in model.files:
            for part in file.parts or (file.path,):
                try:
                    status = part.stat()
                except OSError:
                    continue
                inode = (status.st_dev, status.st_ino or hash(part))
                owners.setdefault(inode, set()).add(model.id)
                sizes[inode] = status.st_size
                if file.in_place or file.shipped:
                    elsewhere[model.id] = elsewhere.get(model.id, 0) + status.st_size
                else:
                    inside.add(inode)
    taken = dict.fromkeys((model.id for model in models), 0)
    shared = dict(taken)
    for inode, size in sizes.items():
        for model_id in owners[inode]:
            taken[model_id] += size
            shared[model_id] += size if len(owners[inode]) > 1 else 0
    used = [ModelUsage(name, size, shared[name], elsewhere.get(name, 0)) for name, size in taken.items()]
    volumes, missing = _volumes(folders, {inode: sizes[inode] for inode in inside}, own)
    used.sort(key=lambda model: model.size_bytes, reverse=True)
    return DiskUsage(tuple(used), volumes, missing, sum(sizes.values()))


def _volumes(
    folders: Sequence[Path], sizes: dict[tuple[int, int], int], own: Path
) -> tuple[tuple[Volume, ...], tuple[Path, ...]]:
    by_disk: dict[int, list[Path]] = {}
    missing: list[Path] = []
    for folder in folders:
        # The program's own folder is made with its first model; until then its disk is that of what it will lie in.
        place = existing_parent(folder) if folder == own else folder
        try:
            by_disk.setdefault(place.stat().st_dev, []).append(folder)
        except OSError:
            missing.append(folder)
    volumes = []
    for device, there in by_disk.items():
        disk = shutil.disk_usage(existing_parent(there[0]))
        models = sum(size for inode, size in sizes.items() if inode[0] == device)
        removed = sum(_below(folder / FOLDER) for folder in there)
        volumes.append(Volume(tuple(there), disk.total, disk.free, models, removed))
    return tuple(volumes), tuple(missing)


def _below(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except OSError:
        return 0
