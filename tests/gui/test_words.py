"""What the window says: the strip, the palette's search, values, the report, the list of components."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.setting_table import SETTINGS, find_setting
from slmdesk.gui.about.components import COMPONENTS, component_versions
from slmdesk.gui.actions import match_score
from slmdesk.gui.live_settings import change_words, value_words
from slmdesk.gui.report import report_text
from slmdesk.gui.strip import loaded_words


@dataclass
class Model:
    id: str
    state: str = "ready"
    progress: float = 1.0
    memory_bytes: int = 3_100_000_000


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ([], "No model loaded"),
        ([Model("Qwen/Qwen3-4B:Q4_K_M")], "Qwen3-4B Q4_K_M loaded, 3.1 GB"),
        ([Model("a/b"), Model("c/d")], "2 models loaded, 6.2 GB"),
        ([Model("a/b"), Model("c/d:F16", "loading", 0.4)], "Loading d F16, 40%"),
        ([Model("a/b:F16", "failed")], "b F16 could not be loaded"),
    ],
)
def test_the_strip_says_what_is_in_memory(models: list[Model], words: str) -> None:
    assert loaded_words(models)[0] == words


def test_memory_is_written_as_disks_are() -> None:
    assert [amounts.size(count) for count in (9_400_000, 99_999_999, 3_149_000_000)] == [
        "9.4 MB",
        "100 MB",
        "3.1 GB",
    ]


def test_letters_at_the_beginning_of_words_count_most() -> None:
    titles = ["Enclosing", "Use dark colours", "New chat", "Show all actions"]

    def best(words: str) -> str:
        scored = [(score, title) for title in titles if (score := match_score(words, title)) is not None]
        return max(scored)[1]

    assert best("nc") == "New chat"
    assert best("saa") == "Show all actions"
    assert best("dark") == "Use dark colours"
    assert match_score("chatx", "New chat") is None
    assert match_score("", "New chat") == 0


def test_values_are_written_for_people() -> None:
    def words(key: str, value: object) -> str:
        return value_words(find_setting(key), value)  # type: ignore[arg-type]

    assert words("engine.threads", 0) == "automatic"
    assert words("service.idle_minutes", 5) == "5 minutes"
    assert words("engine.context_length", 16384) == "16,384 tokens"
    assert words("appearance.theme", "dark") == "Dark"
    assert words("engine.cache_type", "q8_0") == "q8_0"
    assert words("network.offline", True) == "on"
    assert words("library.folders", "") == "the program's own folder"
    assert change_words("chat.system_prompt", "Be brief.\nBe kind.") == "System prompt changed."
    for setting in SETTINGS:
        assert value_words(setting, setting.default)


def test_a_report_holds_the_way_there_and_no_home() -> None:
    error = SlmDeskError("model_unreadable", "The model cannot be read.", "Try again.")
    error.__cause__ = OSError(5, "I/O error", str(Path.home() / "models" / "x.gguf"))
    text = report_text(error)
    assert "model_unreadable: The model cannot be read." in text
    assert "OSError" in text
    assert str(Path.home()) + "/" not in text


def test_every_dependency_is_named_with_its_licence() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    here = [each for each in project["dependencies"] if "'win32'" not in each or sys.platform == "win32"]
    needed = {re.split(r"[<>=!;\[ ]", each)[0].lower().replace("_", "-") for each in here}
    named = {distribution.lower().replace("_", "-") for _, distribution, _, _ in COMPONENTS}
    assert needed <= named, f"not named: {needed - named}"
    assert all(component_versions().values())


def test_no_hint_of_the_rooms_below_speaks_of_a_command() -> None:
    """The window shows the same hints; what they mean at the command line is `cli/ways_out.py`'s."""
    package = Path(__file__).parents[2] / "slmdesk"
    told = re.compile(r"slmdesk (config|doctor|jobs|list|pull|rm|serve|verify)\b|(?<![\w-])--[a-z]{3,}")
    # The command line alone meets these: settings and jobs are named by hand, options of a server given there.
    ours = {
        "setting_unknown",
        "job_not_found",
        "job_ambiguous",
        "origin_refused",
        "host_refused",
        "key_needed",
    }
    found = []
    for path in package.rglob("*.py"):
        room = path.relative_to(package).parts[0]
        if room in {"cli", "tour", "__main__.py", "runner.py", "setting_table.py"} or "tour" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in {
                "SlmDeskError",
                "HubError",
            }:
                continue
            texts = [ast.unparse(argument) for argument in node.args]
            if len(texts) > 2 and told.search(" ".join(texts[1:])) and texts[0].strip("'") not in ours:
                found.append(f"{path.relative_to(package)}:{node.lineno}: {texts[2]}")
    assert found == []
