"""`slmdesk keys` from the outside."""

from __future__ import annotations

from .conftest import Program


def test_a_key_is_made_listed_and_revoked(program: Program) -> None:
    name = "the test of keys"
    made = program.run("keys", "add", name)
    assert made.code == 0
    secret = made.out.strip()
    assert secret.startswith("sk-")
    assert "\n" not in secret
    assert "not shown again" in made.err
    listed = program.run("keys")
    assert name in listed.out
    assert secret not in listed.out
    twice = program.run("keys", "add", name, "--json")
    assert (twice.code, twice.error["code"]) == (1, "key_exists")
    assert [key["name"] for key in program.run("keys", "--json").result["keys"]] == [name]
    assert program.run("keys", "revoke", name, "--json").result == {"revoked": name}
    gone = program.run("keys", "revoke", name, "--json")
    assert (gone.code, gone.error["code"]) == (1, "key_not_found")
    assert "slmdesk keys add" in program.run("keys").out


def test_usage(program: Program) -> None:
    for words in (("add",), ("revoke",), ("list", "x"), ("make", "x")):
        assert program.run("keys", *words, "--json").error["code"] == "usage"
