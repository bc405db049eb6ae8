"""Proxies as the environment and the system name them: read, checked and put right before anything is sent."""

from __future__ import annotations

import ipaddress
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.logs import register_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMES = ("http", "https", "socks5", "socks5h")
# Desktops write “socks://” for the proxy they have; GLib, who made that up, tries version 5 first.
_OTHER_NAMES = {"socks": "socks5"}
_SET_ONE = f"Name one that starts with {', '.join(f'{s}://' for s in SCHEMES[:-1])} or {SCHEMES[-1]}:// there"
_ESCAPED = "!$&'()*+,;=~-._%"  # may stand in a login as they are; what is escaped already stays so
_AUTHORITY_END = re.compile(r"[/?#]")

Proxies = dict[str, str | None]
"""Patterns of addresses ("https://", "all://", "all://localhost") and the proxy for them; None: none."""


def system_proxies(environ: Mapping[str, str] | None = None) -> Proxies:
    """The proxies of the environment, on Windows and macOS else those of the system, and what goes without.

    Raises `SlmDeskError("proxy_invalid")` for one that cannot be used. Logins in them stay out of the logs.
    """
    env = os.environ if environ is None else environ
    # The names in small letters win, and HTTP_PROXY may be a header of a request where a web server started us.
    told = {name.lower(): (name, value) for name, value in env.items() if name.isupper()}
    if "REQUEST_METHOD" in env:
        told.pop("http_proxy", None)
    told |= {name: (name, value) for name, value in env.items() if name.islower()}
    named = {scheme: told[key] for scheme in ("http", "https", "all") if (key := f"{scheme}_proxy") in told}
    if not named and env is os.environ:
        named = _of_the_desktop()
    proxies: Proxies = {
        f"{scheme}://": checked_proxy(address, variable)
        for scheme, (variable, address) in named.items()
        if address.strip()
    }
    without = told.get("no_proxy", ("", ""))[1]
    return _excepted(proxies, without)


def checked_proxy(address: str, where: str) -> str:
    """`address` so that every library of ours reads the same in it. `where` names the variable or setting.

    Raises `SlmDeskError("proxy_invalid")`, which never shows a login.
    """
    text = address.strip()
    scheme, mark, rest = text.partition("://")
    scheme, rest = (scheme.lower(), rest) if mark else ("http", text)
    scheme = _OTHER_NAMES.get(scheme, scheme)
    if scheme not in SCHEMES:
        kind = scheme[:20] if scheme.isascii() and scheme.isprintable() else "?"
        raise _invalid(f"The proxy of {where} is of the kind “{kind}”, which SLM Desk does not speak.", where)
    login, host = _parted(rest)
    try:
        parts = urlsplit(f"{scheme}://{host}")
        port, name = parts.port, parts.hostname or ""
    except ValueError:
        raise _invalid(f"The proxy of {where} is not written as an address.", where) from None
    if not name or not name.isprintable() or re.search(r"[\s\\\"<>^`{|}]", name):
        raise _invalid(f"The proxy of {where} names no machine.", where)
    if port == 0:
        raise _invalid(f"The proxy of {where} names a port that is none.", where)
    return f"{scheme}://{_escaped(login)}{parts.netloc}"


def with_login(proxy: str, login: str) -> str:
    """A checked proxy with this login (“user:password”, as it is typed) in place of its own."""
    scheme, _, rest = proxy.partition("://")
    user, _, password = login.partition(":")
    register_secret(password)
    register_secret(quote(password, safe=""))
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest.rpartition('@')[2]}"


def without_login(proxy: str) -> tuple[str, str]:
    """A checked proxy's address for showing and keeping, and its login (“user:password”) or ""."""
    scheme, _, rest = proxy.partition("://")
    login, _, host = rest.rpartition("@")
    user, colon, password = login.partition(":")
    return f"{scheme}://{host}", f"{unquote(user)}{colon}{unquote(password)}"


def _of_the_desktop() -> dict[str, tuple[str, str]]:
    """What Windows' and macOS' own settings say."""
    import platform
    import urllib.request

    if platform.system() not in {"Windows", "Darwin"}:
        return {}
    with suppress(OSError, ValueError):
        return {
            scheme: ("this system", address)
            for scheme, address in urllib.request.getproxies().items()
            if scheme in {"http", "https", "all"}
        }
    return {}


def _parted(rest: str) -> tuple[str, str]:
    """Login and host. A password may hold what ends the host's part of an address elsewhere: / ? #."""
    host = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    if "@" not in host and "@" in rest:
        before, _, behind = rest.rpartition("@")
        return before, _AUTHORITY_END.split(behind, maxsplit=1)[0]
    login, _, host = host.rpartition("@")
    return login, host


def _escaped(login: str) -> str:
    if not login:
        return ""
    user, colon, password = login.partition(":")
    made = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", password)
    escaped = quote(made, safe=_ESCAPED)
    for one in (password, escaped, unquote(password)):
        register_secret(one)
    user = quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", user), safe=_ESCAPED)
    return f"{user}{colon}{escaped}@"


def _excepted(found: Proxies, without: str) -> Proxies:
    """With the hosts of NO_PROXY: names with all below them, and addresses."""
    for entry in filter(None, map(str.strip, without.split(","))):
        if entry == "*":
            return {}
        bare = (entry.partition("://")[2] or entry).strip("[]")
        with suppress(ValueError):
            network = ipaddress.ip_network(bare, strict=False)
            host, slash, _ = bare.replace("]", "").partition("/")
            host = f"[{host}]" if network.version == 6 else host
            found[f"all://{host}" + (f"/{network.prefixlen}" if slash else "")] = None
            continue
        plain = bare.lstrip("*")
        if plain.lower() == "localhost":
            found["all://localhost"] = None
        elif re.fullmatch(
            r"\.?[A-Za-z0-9_-][A-Za-z0-9_.-]*(:\d{1,5})?", plain
        ):  # another is left out, as curl does
            found[f"all://*{plain}"] = None
    return found if any(found.values()) else {}


def _invalid(message: str, where: str) -> SlmDeskError:
    other = "" if where.startswith("network.") else " or in the setting network.proxy, or take that one away"
    return SlmDeskError("proxy_invalid", message, f"{_SET_ONE}{other}.")
