"""The version resource of the Windows executables, in the form PyInstaller reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from release.project import SUMMARY, TITLE, VERSION

if TYPE_CHECKING:
    from pathlib import Path


def numbers(version: str = VERSION) -> tuple[int, int, int, int]:
    """Four numbers from a version such as 1.2.3 or 1.2.0rc1; what follows the numbers is left out."""
    parts = []
    for field in version.split(".")[:4]:
        digits = ""
        for character in field:
            if not character.isdigit():
                break
            digits += character
        parts.append(int(digits or "0"))
        if digits != field:
            break
    first, second, third, fourth = (*parts, 0, 0, 0, 0)[:4]
    return first, second, third, fourth


def write(path: Path, program: str) -> str:
    """Write the resource for one executable; the file's name."""
    strings = {
        "CompanyName": TITLE,
        "FileDescription": f"{TITLE}: {SUMMARY.lower()}",
        "FileVersion": VERSION,
        "InternalName": program,
        "LegalCopyright": "Apache License 2.0",
        "OriginalFilename": f"{program}.exe",
        "ProductName": TITLE,
        "ProductVersion": VERSION,
    }
    entries = ", ".join(f"StringStruct({name!r}, {value!r})" for name, value in strings.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"VSVersionInfo(ffi=FixedFileInfo(filevers={numbers()}, prodvers={numbers()}, mask=0x3F, flags=0, OS=0x40004, "
        f"fileType=1, subtype=0, date=(0, 0)), kids=[StringFileInfo([StringTable('040904B0', [{entries}])]), "
        "VarFileInfo([VarStruct('Translation', [1033, 1200])])])\n",
        encoding="utf-8",
    )
    return str(path)
