"""The program's icon in every form a system wants, drawn from packaging/icons/slmdesk.svg with Qt."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

if __package__ in (None, ""):  # started as a script by a Python of the build's environment
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from release.project import MACOS, PACKAGING, PROGRAM, WINDOWS

SOURCE = PACKAGING / "icons" / f"{PROGRAM}.svg"
SIZES = (16, 24, 32, 48, 64, 128, 256, 512)
# Kind of entry in an .icns file -> size in pixels.
_ICNS = {b"icp4": 16, b"icp5": 32, b"icp6": 64, b"ic07": 128, b"ic08": 256, b"ic09": 512}


def write(folder: Path) -> Path | None:
    """Write the PNGs, the .ico and the .icns into `folder`; the one that an executable of this system carries."""
    pictures = draw()
    folder.mkdir(parents=True, exist_ok=True)
    for size, data in pictures.items():
        (folder / f"{PROGRAM}-{size}.png").write_bytes(data)
    (folder / f"{PROGRAM}.ico").write_bytes(ico({size: pictures[size] for size in SIZES if size <= 256}))
    (folder / f"{PROGRAM}.icns").write_bytes(icns(pictures))
    return folder / f"{PROGRAM}.ico" if WINDOWS else folder / f"{PROGRAM}.icns" if MACOS else None


def draw(source: Path = SOURCE) -> dict[int, bytes]:
    """Size in pixels -> PNG."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6.QtCore import QBuffer, QByteArray, QIODevice, Qt
    from PySide6.QtGui import QImage, QPainter
    from PySide6.QtSvg import QSvgRenderer

    renderer = QSvgRenderer(str(source))
    if not renderer.isValid():
        raise SystemExit(f"{source} is no SVG that Qt can draw")
    found = {}
    for size in SIZES:
        image = QImage(size, size, QImage.Format.Format_ARGB32_Premultiplied)
        image.fill(Qt.GlobalColor.transparent)
        painter = QPainter(image)
        renderer.render(painter)
        painter.end()
        data = QByteArray()
        buffer = QBuffer(data)
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        image.save(buffer, "PNG")
        found[size] = bytes(data.data())
    return found


def ico(pictures: dict[int, bytes]) -> bytes:
    """A Windows icon whose pictures are PNGs. A size of 256 is written as 0."""
    offset = 6 + 16 * len(pictures)
    head, body = struct.pack("<HHH", 0, 1, len(pictures)), b""
    for size, data in pictures.items():
        head += struct.pack("<BBBBHHII", size % 256, size % 256, 0, 0, 1, 32, len(data), offset + len(body))
        body += data
    return head + body


def icns(pictures: dict[int, bytes]) -> bytes:
    """A macOS icon: entries of kind, length with its own head, and PNG; numbers are big-endian."""
    entries = b"".join(
        kind + struct.pack(">I", len(pictures[size]) + 8) + pictures[size] for kind, size in _ICNS.items()
    )
    return b"icns" + struct.pack(">I", len(entries) + 8) + entries


if __name__ == "__main__":
    write(Path(sys.argv[1]))
