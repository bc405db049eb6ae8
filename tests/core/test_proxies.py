"""Proxies as desktops, companies and people write them into the environment."""

from __future__ import annotations

import httpx2
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.logs import redact
from slmdesk.core.proxies import checked_proxy, system_proxies, with_login, without_login


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("http://10.0.0.1:3128", "http://10.0.0.1:3128"),
        ("HTTP://proxy.example:3128/", "http://proxy.example:3128"),
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("socks://127.0.0.1:7890/", "socks5://127.0.0.1:7890"),
        ("socks5h://[::1]:1080", "socks5h://[::1]:1080"),
        ("http://ada:pa#ss@proxy:3128", "http://ada:pa%23ss@proxy:3128"),
        ("http://ada:p/a?s@s@proxy:3128", "http://ada:p%2Fa%3Fs%40s@proxy:3128"),
        ("http://ada:pa%23ss@proxy:3128", "http://ada:pa%23ss@proxy:3128"),
        ("http://ada:100%@proxy:3128", "http://ada:100%25@proxy:3128"),
        ("http://ada:Grüße@proxy:3128", "http://ada:Gr%C3%BC%C3%9Fe@proxy:3128"),
    ],
)
def test_a_proxy_is_read_as_it_was_meant(written: str, read: str) -> None:
    assert checked_proxy(written, "ALL_PROXY") == read
    httpx2.HTTPTransport(proxy=read).close()


@pytest.mark.parametrize(
    "written",
    [
        "socks4://10.0.0.1:1080",
        "ftp://10.0.0.1",
        "http://:3128",
        "http://proxy:port",
        "http://proxy:0",
        "http://[::1",
        "http://a b:1",
    ],
)
def test_a_proxy_nobody_can_use_is_told_with_its_variable(written: str) -> None:
    with pytest.raises(SlmDeskError) as caught:
        checked_proxy(written, "ALL_PROXY")
    assert caught.value.code == "proxy_invalid"
    assert "ALL_PROXY" in caught.value.message


def test_a_proxys_password_is_in_no_words_and_no_log() -> None:
    with pytest.raises(SlmDeskError) as caught:
        checked_proxy("socks4://ada:sEcret#Word@10.0.0.1", "ALL_PROXY")
    assert "sEcret" not in str(caught.value)
    proxy = checked_proxy("http://ada:sEcret#Word@10.0.0.1:1", "HTTP_PROXY")
    assert without_login(proxy) == ("http://10.0.0.1:1", "ada:sEcret#Word")
    assert with_login("http://10.0.0.1:1", "ada:sEcret#Word") == "http://ada:sEcret%23Word@10.0.0.1:1"
    assert "sEcret" not in redact("sEcret#Word and sEcret%23Word")


def test_which_addresses_go_without_a_proxy() -> None:
    told = {
        "HTTPS_PROXY": "http://p:1",
        "https_proxy": "http://q:1",
        "NO_PROXY": "localhost,.corp, 10.0.0.0/8,::1",
    }
    assert system_proxies(told) == {
        "https://": "http://q:1",
        "all://localhost": None,
        "all://*.corp": None,
        "all://10.0.0.0/8": None,
        "all://[::1]": None,
    }
    assert system_proxies({**told, "no_proxy": "*"}) == {}
    assert system_proxies({"NO_PROXY": "a,b", "ALL_PROXY": ""}) == {}
    # Where a web server started us, HTTP_PROXY is what a caller wrote into a header.
    assert system_proxies({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}) == {}


def test_every_pattern_is_one_for_the_http_client() -> None:
    strange = "a,*.b,http://c,d:8080,[::1],192.168.0.1,fe80::/10,we ird,\\,*,".replace("*,", "")
    found = system_proxies({"ALL_PROXY": "http://127.0.0.1:1", "NO_PROXY": strange})
    client = httpx2.Client(trust_env=False, mounts=dict.fromkeys(found))
    client.close()
    assert len(found) == 8
