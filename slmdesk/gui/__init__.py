"""Everything that imports Qt.

Once PySide is loaded it looks into the source text of every module imported after it, to learn whether that module
uses PySide's optional naming features (`from __feature__ import …`). For this program that would read about 300
source files and keep their 90 000 lines in memory, 8 MB, before the window is painted. No module here uses those
features, so the question is answered without reading.
"""

import contextlib

import PySide6.QtCore  # noqa: F401 - brings the module below into being

with contextlib.suppress(ImportError, AttributeError):
    from shibokensupport import feature as _feature  # type: ignore[import-not-found]

    if callable(_feature._mod_uses_pyside):  # noqa: SLF001 - there is no public way
        _feature._mod_uses_pyside = lambda module: module.__name__.startswith("slmdesk.gui")  # noqa: SLF001
