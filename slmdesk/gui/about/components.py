"""What the program is built from."""

from __future__ import annotations

import sys

COMPONENTS: tuple[tuple[str, str, str, str], ...] = (
    # what it is called, its distribution, its licence, what it does here
    ("Qt and PySide", "PySide6-Essentials", "LGPL-3.0", "the window"),
    ("llama.cpp and llama-cpp-python", "llama-cpp-python", "MIT", "runs the models"),
    ("Material Design Icons and QtAwesome", "qtawesome", "Apache-2.0, MIT", "the icons"),
    ("aiohttp", "aiohttp", "Apache-2.0, MIT", "the service and its clients"),
    ("huggingface_hub", "huggingface_hub", "Apache-2.0", "talks to the hub"),
    ("httpx2", "httpx2", "BSD-3-Clause", "carry what is asked of the hub"),
    ("httpcore2", "httpcore2", "BSD-3-Clause", "connections to the hub"),
    ("hf-xet", "hf-xet", "Apache-2.0", "transfers files"),
    ("AnyIO", "anyio", "MIT", "waits for servers of tools"),
    ("filelock", "filelock", "MIT", "keeps two programs apart"),
    ("Jinja", "jinja2", "BSD-3-Clause", "chat templates"),
    ("keyring", "keyring", "MIT", "keeps secrets in the system's keyring"),
    ("llguidance", "llguidance", "MIT", "holds answers in the shape that was asked for"),
    ("markdown-it-py", "markdown-it-py", "MIT", "reads Markdown"),
    ("Model Context Protocol SDK", "mcp", "MIT", "speaks with servers of tools"),
    ("Types of the Model Context Protocol", "mcp-types", "MIT", "what is said to servers of tools"),
    ("msgspec", "msgspec", "BSD-3-Clause", "JSON between the program's processes"),
    ("NumPy", "numpy", "BSD-3-Clause", "numbers"),
    ("platformdirs", "platformdirs", "MIT", "finds the system's folders"),
    ("prometheus-client", "prometheus-client", "Apache-2.0, BSD-2-Clause", "the metrics of the service"),
    ("prompt-toolkit", "prompt-toolkit", "BSD-3-Clause", "the chat in the terminal"),
    ("psutil", "psutil", "BSD-3-Clause", "memory and processes"),
    ("Pygments", "pygments", "BSD-2-Clause", "colours code"),
    ("PyQtGraph", "pyqtgraph", "MIT", "draws the chart of quants"),
    ("qasync", "qasync", "BSD-2-Clause", "joins Qt and asyncio"),
    ("Send2Trash", "send2trash", "BSD-3-Clause", "hands removed files to the system's trash"),
    ("SocksiO", "socksio", "MIT", "speaks to a SOCKS proxy"),
    ("Tomli-W", "tomli-w", "MIT", "writes settings"),
    ("Shiboken", "shiboken6", "LGPL-3.0", "binds Qt to Python"),
    *(
        [("tzdata", "tzdata", "Apache-2.0", "the time zones that Windows does not have")]
        if sys.platform == "win32"
        else []
    ),
    ("uv", "uv", "Apache-2.0, MIT", "makes the environments of converters"),
)


def component_versions() -> dict[str, str]:
    """The installed version of each component, by distribution; "" where it cannot be told. Reads files."""
    from importlib import metadata

    versions = {}
    for _, distribution, _, _ in COMPONENTS:
        try:
            versions[distribution] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            versions[distribution] = ""
    return versions
