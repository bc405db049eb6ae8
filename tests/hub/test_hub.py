"""The loopback hub against the real client: huggingface_hub must take it for a hub."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import HfApi, errors

from tests.hub import LoopbackHub, User

WEIGHTS = bytes(range(256)) * 4096  # 1 MiB
TOKEN = "hf_plantedTokenForTheLoopbackHub"


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    users = {TOKEN: User("ada", accepted=frozenset({"pub/gated"})), "hf_other_person": User("bob")}
    with LoopbackHub(users=users) as hub:
        hub.add(
            "pub/small", {"small-Q4_K_M.gguf": WEIGHTS, "README.md": b"# Small", "sub/a.txt": b"a"}, likes=3
        )
        hub.add("pub/gated", {"gated.safetensors": WEIGHTS, "config.json": b"{}"}, gated="manual", likes=2)
        hub.add(
            "other/tiny",
            {"tiny.gguf": b"GGUF"},
            tags=("en",),
            likes=1,
            facts={"gguf": {"total": 400_000_000}},
        )
        yield hub
    huggingface_hub.close_session()


def test_downloads_a_whole_file_from_the_storage(hub: LoopbackHub, tmp_path: Path) -> None:
    api = HfApi(hub.url, token=TOKEN)
    path = api.hf_hub_download("pub/small", "small-Q4_K_M.gguf", local_dir=tmp_path)
    assert Path(path).read_bytes() == WEIGHTS
    assert hub.served("pub/small", "small-Q4_K_M.gguf") == len(WEIGHTS)
    assert hub.holders_of(TOKEN) == {"hub"}  # the client leaves the token at home when it goes to the storage


def test_model_info_and_tree(hub: LoopbackHub) -> None:
    api = HfApi(hub.url, token=False)
    hub["pub/small"].issues["small-Q4_K_M.gguf"] = "unsafe"
    info = api.model_info("pub/small", files_metadata=True, securityStatus=True)
    assert info.sha == hub["pub/small"].sha
    sizes = {s.rfilename: (s.size, s.lfs.sha256 if s.lfs else None) for s in info.siblings or ()}
    assert sizes["small-Q4_K_M.gguf"] == (len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())
    assert sizes["README.md"] == (7, None)
    assert info.security_repo_status == {
        "scansDone": True,
        "filesWithIssues": [{"path": "small-Q4_K_M.gguf", "level": "unsafe"}],
    }
    hub.page_size = 2
    paths = {entry.path for entry in api.list_repo_tree("pub/small", recursive=True, expand=True)}
    assert paths == {"small-Q4_K_M.gguf", "README.md", "sub", "sub/a.txt"}
    assert [entry.path for entry in api.get_paths_info("pub/small", ["README.md", "no"])] == ["README.md"]


def test_search_pages_and_filters(hub: LoopbackHub) -> None:
    api = HfApi(hub.url, token=False)
    hub.page_size = 1
    assert [m.id for m in api.list_models(sort="likes")] == ["pub/small", "pub/gated", "other/tiny"]
    assert hub.count("GET", "^/api/models$") == 3
    assert [m.id for m in api.list_models(filter=["gguf", "en"])] == ["other/tiny"]
    assert [m.id for m in api.list_models(search="SMALL")] == ["pub/small"]
    assert [m.id for m in api.list_models(gated=True)] == ["pub/gated"]
    assert [m.id for m in api.list_models(num_parameters="min:100M,max:1.5B")] == ["other/tiny"]


def test_gating_tells_three_cases_apart(hub: LoopbackHub, tmp_path: Path) -> None:
    def status(token: str | bool) -> int:
        with pytest.raises(errors.GatedRepoError) as caught:
            HfApi(hub.url, token=token).hf_hub_download(
                "pub/gated", "gated.safetensors", cache_dir=tmp_path / "c"
            )
        return int(caught.value.response.status_code)

    assert status(False) == 401
    assert status("hf_other_person") == 403
    path = HfApi(hub.url, token=TOKEN).hf_hub_download("pub/gated", "gated.safetensors", cache_dir=tmp_path)
    assert Path(path).read_bytes() == WEIGHTS
    assert HfApi(hub.url).whoami(TOKEN)["name"] == "ada"
    with pytest.raises(errors.HfHubHTTPError):
        HfApi(hub.url).whoami("hf_nobody_has_this")


def test_ranges_and_a_resumed_download(hub: LoopbackHub, tmp_path: Path) -> None:
    address = f"{hub.url}/pub/small/resolve/main/small-Q4_K_M.gguf"
    with httpx2.Client(follow_redirects=True) as client:
        part = client.get(address, headers={"Range": "bytes=1000-1999"})
        assert (part.status_code, part.content) == (206, WEIGHTS[1000:2000])
        assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(WEIGHTS)}"
        assert client.get(address, headers={"Range": f"bytes={len(WEIGHTS)}-"}).status_code == 416
        hub.faults.ignore_range("pub/small/*", times=1)
        assert client.get(address, headers={"Range": "bytes=5-9"}).status_code == 200
    hub.forget()
    hub.faults.cut("pub/small/*.gguf", after=300_000)
    path = HfApi(hub.url, token=False).hf_hub_download("pub/small", "small-Q4_K_M.gguf", local_dir=tmp_path)
    assert Path(path).read_bytes() == WEIGHTS
    assert hub.served("pub/small") <= len(WEIGHTS) + 300_000
    assert hub.count("GET", "small-Q4_K_M", "cdn") == 2


def test_each_fault_shows(hub: LoopbackHub) -> None:
    address = f"{hub.url}/pub/small/resolve/main/small-Q4_K_M.gguf"
    api = f"{hub.url}/api/models/pub/small"
    with httpx2.Client(follow_redirects=True, timeout=0.5) as client:
        hub.faults.stall("pub/small/*", after=1000)
        with pytest.raises(httpx2.ReadTimeout):
            client.get(address)
        hub.faults.status("pub/small/*", 429, retry_after=7, where="resolve")
        assert client.head(address, follow_redirects=False).headers["Retry-After"] == "7"
        hub.faults.status("/api/models/*", 503)
        assert [client.get(api).status_code, client.get(api).status_code] == [503, 200]
        hub.faults.lie_about_size("pub/small/*", 17, times=1)
        assert client.head(address, follow_redirects=False).headers["X-Linked-Size"] == "17"
        hub.faults.lie_about_hash("pub/small/*", "ab" * 32, times=1)
        assert client.head(address, follow_redirects=False).headers["X-Linked-ETag"] == f'"{"ab" * 32}"'
        hub.faults.other_bytes("pub/small/*")
        changed = client.get(address).content
        assert len(changed) == len(WEIGHTS)
        assert changed != WEIGHTS
        assert client.get(address).content == WEIGHTS
        hub.faults.cut_json("/api/models/*")
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            client.get(api).json()
        hub.faults.redirect_loop("pub/small/*", where="resolve")
        hub.faults.redirect_loop("/api/models/*")
        with pytest.raises(httpx2.TooManyRedirects):
            client.get(api)
        hub.faults.clear()
        hub.faults.redirect("pub/small/*", f"{hub.cdn_url}/elsewhere", where="resolve")
        assert client.get(address).status_code == 404
        hub.faults.clear()
        hub.faults.expired("pub/small/*")
        assert client.get(address).status_code == 403


def test_goes_away_and_comes_back_on_its_port(hub: LoopbackHub) -> None:
    url = hub.url
    hub.stop()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/api/models", timeout=2)
    hub.start()
    assert hub.url == url
    with urllib.request.urlopen(f"{url}/api/models", timeout=2) as answer:
        assert answer.status == 200
