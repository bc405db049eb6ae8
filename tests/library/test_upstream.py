"""Comparing files with the repos they came from, on a real hub of our own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slmdesk.core.paths import Paths
from slmdesk.core.secrets import Secrets
from slmdesk.core.settings import Settings
from slmdesk.hub.access import HubAccess
from slmdesk.library import sidecar
from slmdesk.library.library import Library
from slmdesk.library.sidecar import Origin
from slmdesk.library.upstream import Upstream
from slmdesk.library.verify import Verifier
from tests.hub import LoopbackHub

Make = Callable[..., Path]


async def test_what_the_publisher_changed_is_told(
    models: Path, library: Library, paths: Paths, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    one, two = make(models / "p" / "m" / "one-Q4_K_M.gguf"), make(models / "p" / "m" / "two-Q8_0.gguf", 7)
    three = make(models / "p" / "gone" / "m.gguf")
    with LoopbackHub({"p/m": {path.name: path.read_bytes() for path in (one, two)}}) as hub:
        revision = hub["p/m"].sha

        def origin(path: Path, repo: str) -> Origin:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            return Origin(
                state="verified", sha256=digest, repo=repo, revision=revision, checked_at=time.time()
            )

        sidecar.record(one.parent, {path.name: origin(path, "p/m") for path in (one, two)})
        sidecar.record(three.parent, {three.name: origin(three, "p/gone")})
        settings = Settings(paths.settings_file, {})
        access = HubAccess(settings, Secrets(), {"HF_ENDPOINT": hub.url})
        upstream = Upstream(library, access)
        try:
            files = [*await library.files("p/m"), *await library.files("p/gone")]
            checks = {check.file_id: check for check in await upstream.check(files)}
            assert [check.changed for check in checks.values()] == [False, False, False]
            problem = checks["p/gone:Q4_K_M"].problem
            assert problem is not None
            assert problem.code == "repo_not_found"
            assert {file.state for file in files} == {"verified"}

            hub["p/m"].commit(
                {one.name: one.read_bytes(), two.name: make(models.parent / "new.gguf").read_bytes()}
            )
            checks = {check.file_id: check for check in await upstream.check(files)}
            assert {name: check.changed for name, check in checks.items()} == {
                "p/m:Q4_K_M": False,
                "p/m:Q8_0": True,
                "p/gone:Q4_K_M": False,
            }
            assert checks["p/m:Q8_0"].revision == hub["p/m"].sha
            states = {file.id: file.state for file in await library.files("p/m")}
            assert states == {"p/m:Q4_K_M": "verified", "p/m:Q8_0": "changed upstream"}
            assert (await library.resolve("p/m:Q8_0")).problem is None
            # It is still what was downloaded, and no older revision is asked for twice.
            (check,) = await Verifier(library).verify(await library.files("p/m:Q8_0"))
            assert (check.state, check.problem) == ("changed upstream", None)
            assert hub.count("GET", r"/api/models/p/m") == 2
        finally:
            await access.close()
