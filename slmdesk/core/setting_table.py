"""Every setting of the program, declared once as data.

The settings page, `slmdesk config`, the environment variables, validation and the table of the documentation
are all made from `SETTINGS`.
"""

from __future__ import annotations

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.service_settings import SERVICE_SETTINGS
from slmdesk.core.setting_type import Form, Setting, Value, either, toml_text, variable_of

__all__ = [
    "BY_NAME",
    "MODEL_FIRST",
    "SETTINGS",
    "Form",
    "Setting",
    "Value",
    "find_setting",
    "groups",
    "settings_table_markdown",
    "variable_of",
]

_APPEARANCE = "Appearance"
_CHAT = "Chat"
_ENGINE = "Engine"
_TOOLS = "Tools"
_NETWORK = "Network"
_DOWNLOADS = "Downloads"
_LIBRARY = "Library"
_LOGS = "Logs"

MODEL_FIRST = " Until you set it, what the model itself recommends comes first."

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "appearance.theme",
        str,
        "system",
        "Theme",
        "Light or dark colours. “system” follows the desktop, also when it changes.",
        _APPEARANCE,
        choices=("system", "light", "dark"),
        also="colour color night",
    ),
    Setting(
        "appearance.text_size",
        int,
        13,
        "Text size",
        "The size of ordinary text in the window. Headings and code grow with it.",
        _APPEARANCE,
        minimum=12,
        maximum=20,
        unit="px",
        also="font zoom larger",
    ),
    Setting(
        "appearance.reduced_motion",
        bool,
        False,
        "Reduce motion",
        "Shows changes at once instead of fading or sliding them in.",
        _APPEARANCE,
    ),
    Setting(
        "chat.model",
        str,
        "",
        "Model for new conversations",
        "The library id of the model a new conversation starts with. Empty takes the starter, a small general model, "
        "where it is there, otherwise Desk Guide.",
        _CHAT,
        form="model",
        former=("slmdesk/desk-guide", "slmdesk/desk-guide:F16"),
        special="automatic",
        also="default",
    ),
    Setting(
        "chat.system_prompt",
        str,
        "",
        "System prompt",
        "Instructions every new conversation starts with. Empty leaves the model as its publisher made it.",
        _CHAT,
        form="multiline",
    ),
    Setting(
        "chat.temperature",
        float,
        0.8,
        "Temperature",
        "How freely the model picks words. 0 always takes the likeliest one; above 1 answers become wild."
        + MODEL_FIRST,
        _CHAT,
        minimum=0,
        maximum=2,
    ),
    Setting(
        "chat.top_k",
        int,
        40,
        "Top K",
        "Picks only among this many of the likeliest tokens. 0 takes all of them into account." + MODEL_FIRST,
        _CHAT,
        minimum=0,
        maximum=1_000_000,
        special="all",
    ),
    Setting(
        "chat.top_p",
        float,
        0.95,
        "Top P",
        "Picks only among the likeliest tokens that together reach this probability. 1 turns it off."
        + MODEL_FIRST,
        _CHAT,
        minimum=0,
        maximum=1,
    ),
    Setting(
        "chat.min_p",
        float,
        0.05,
        "Min P",
        "Leaves out tokens that are this much less likely than the likeliest one. 0 turns it off."
        + MODEL_FIRST,
        _CHAT,
        minimum=0,
        maximum=1,
    ),
    Setting(
        "chat.repeat_penalty",
        float,
        1.0,
        "Repeat penalty",
        "Makes tokens that were just used less likely. 1 turns it off; small models sometimes gain from 1.1."
        + MODEL_FIRST,
        _CHAT,
        minimum=0.01,
        maximum=10,
    ),
    Setting(
        "chat.max_tokens",
        int,
        0,
        "Longest answer",
        "An answer is cut off after this many tokens. 0 lets the model end by itself.",
        _CHAT,
        minimum=0,
        maximum=2**31 - 1,
        unit="tokens",
        special="no limit",
    ),
    Setting(
        "chat.overflow",
        str,
        "drop_oldest",
        "When the context is full",
        "What is done with a conversation that is longer than a model's context: its oldest turns are left out, those "
        "between its first and its last ones, or the question is refused. Each conversation can have its own way.",
        _CHAT,
        choices=("drop_oldest", "keep_ends", "refuse"),
        also="trim truncate forget",
    ),
    Setting(
        "engine.context_length",
        int,
        0,
        "Context length",
        "How much of a conversation the model sees at once. A model is loaded with the memory for one such "
        "context, so more takes more. 0 uses the model's own, 8192 at most.",
        _ENGINE,
        minimum=0,
        maximum=2**24,
        unit="tokens",
        special="automatic",
        aliases=("context_length",),
    ),
    Setting(
        "engine.parallel",
        int,
        4,
        "Answers at once",
        "How many answers one loaded model writes at the same time; further ones wait in line. They share the memory "
        "of one context. “slmdesk serve” sets aside one for each, as far as a quarter of the free memory goes.",
        _ENGINE,
        minimum=1,
        maximum=64,
    ),
    Setting(
        "engine.threads",
        int,
        0,
        "Threads",
        "Processor threads a model computes with. 0 uses one for each physical core that is no efficiency core, as far "
        "as a container's limit allows, and a single one for a model below 40 MB.",
        _ENGINE,
        minimum=0,
        maximum=512,
        special="automatic",
    ),
    Setting(
        "engine.gpu_layers",
        int,
        -1,
        "Layers on the GPU",
        "How many layers of the model a GPU takes over. -1 gives it as many as fit its free memory, "
        "0 uses the processor alone.",
        _ENGINE,
        minimum=-1,
        maximum=1000,
        special="as many as fit",
        also="graphics card vram cuda vulkan metal offload",
    ),
    Setting(
        "engine.cache_type",
        str,
        "f16",
        "Context precision",
        "How exactly the context is kept in memory. q8_0 halves its size and costs hardly any quality; "
        "q4_0 quarters it.",
        _ENGINE,
        choices=("f16", "q8_0", "q4_0"),
    ),
    Setting(
        "engine.prefix_cache_mb",
        int,
        256,
        "Prefix cache",
        "How much memory conversations that had to leave a model's context may take, so that they go on without being "
        "read again. The one used longest ago makes place; 0 keeps none.",
        _ENGINE,
        minimum=0,
        maximum=1_000_000,
        unit="MB",
        also="memory conversations kept put aside",
    ),
    Setting(
        "engine.flash_attention",
        bool,
        True,
        "Flash attention",
        "A faster way to compute attention that also needs less memory.",
        _ENGINE,
    ),
    Setting(
        "tools.most_steps",
        int,
        8,
        "Steps with tools",
        "How many times in a row a model may call tools before it has to answer. Keeps one that calls the same "
        "again and again from going on for ever.",
        _TOOLS,
        minimum=1,
        maximum=100,
        also="mcp limit loop",
    ),
    Setting(
        "tools.call_seconds",
        int,
        60,
        "Time for a call",
        "A call of a tool that takes longer is given up.",
        _TOOLS,
        minimum=1,
        maximum=3600,
        unit="seconds",
        also="mcp timeout",
    ),
    Setting(
        "tools.result_characters",
        int,
        16_000,
        "Length of a result",
        "Of a longer result the middle is left out. A model has to read all of it: four characters are about "
        "one token.",
        _TOOLS,
        minimum=500,
        maximum=1_000_000,
        unit="characters",
        also="mcp output limit",
    ),
    *SERVICE_SETTINGS,
    Setting(
        "network.offline",
        bool,
        False,
        "Work offline",
        "Stops every connection to other machines. Chatting with models of the library still works.",
        _NETWORK,
    ),
    Setting(
        "network.proxy",
        str,
        "",
        "Proxy",
        "The HTTP or SOCKS proxy on the way to other machines. Empty uses the system's. A login for it is kept in "
        "the keyring, by “slmdesk login --proxy USER”.",
        _NETWORK,
        schemes=("http", "https", "socks5", "socks5h"),
        also="password login company firewall",
    ),
    Setting(
        "network.ca_file",
        str,
        "",
        "Extra certificates",
        "A PEM file with certificate authorities to trust beside the system's, as some companies need.",
        _NETWORK,
        form="certificates",
        also="ca tls ssl https company trust",
    ),
    Setting(
        "hub.endpoint",
        str,
        "",
        "Hub address",
        "The hub or mirror that models come from. Empty uses the environment's HF_ENDPOINT, or "
        "https://huggingface.co.",
        _NETWORK,
        schemes=("https", "http"),
        also="mirror server hugging face token password",
    ),
    Setting(
        "downloads.parallel",
        int,
        2,
        "Downloads at once",
        "How many downloads run at the same time; further ones wait in line.",
        _DOWNLOADS,
        minimum=1,
        maximum=8,
    ),
    Setting(
        "downloads.max_rate",
        float,
        0.0,
        "Bandwidth limit",
        "What all downloads together may take of the line. 0 takes all there is.",
        _DOWNLOADS,
        minimum=0,
        maximum=100_000,
        unit="MB/s",
        special="no limit",
    ),
    Setting(
        "downloads.transfer",
        str,
        "auto",
        "Way of transfer",
        "How files come: “xet” is the hub's chunk storage, “https” plain files. “auto” takes xet for large files and "
        "changes to HTTPS when it has trouble.",
        _DOWNLOADS,
        choices=("auto", "xet", "https"),
    ),
    Setting(
        "library.folders",
        str,
        "",
        "Model folders",
        "Where models lie. New ones go to the first folder. Empty uses the program's own folder.",
        _LIBRARY,
        form="folders",
    ),
    Setting(
        "logs.level",
        str,
        "info",
        "Detail of the logs",
        "How much the log files tell. “debug” helps when something goes wrong and makes them grow faster.",
        _LOGS,
        choices=("debug", "info", "warning", "error"),
        restart=True,
    ),
)

BY_NAME: dict[str, Setting] = {name: s for s in SETTINGS for name in (s.key, *s.aliases)}


def find_setting(name: str) -> Setting:
    """The setting with this key or alias. Raises `SlmDeskError("setting_unknown")` with the nearest keys."""
    setting = BY_NAME.get(name)
    if setting is None:
        import difflib

        near = difflib.get_close_matches(name, BY_NAME, n=3, cutoff=0.5)
        hint = f"Did you mean {either(near)}?" if near else "“slmdesk config” lists all settings."
        raise SlmDeskError("setting_unknown", f"There is no setting {name!r}.", hint)
    return setting


def groups() -> dict[str, tuple[Setting, ...]]:
    """The settings under the titles of the settings page, in its order."""
    titles = dict.fromkeys(setting.group for setting in SETTINGS)
    return {title: tuple(s for s in SETTINGS if s.group == title) for title in titles}


def settings_table_markdown() -> str:
    """The table of the documentation: one section a group, one row a setting."""
    lines: list[str] = []
    for title, settings in groups().items():
        lines += [f"### {title}", "", "| Setting | Default | Takes | Meaning |", "| --- | --- | --- | --- |"]
        for setting in settings:
            default = f"`{toml_text(setting.default)}`"
            if setting.special and setting.default == setting.minimum:
                default += f" ({setting.special})"
            takes = setting.limits() + (f" ({setting.unit})" if setting.unit else "")
            meaning = setting.help + (" Counts from the next start on." if setting.restart else "")
            lines.append(f"| `{setting.key}`<br>`{setting.variable}` | {default} | {takes} | {meaning} |")
        lines.append("")
    return "\n".join(lines)
