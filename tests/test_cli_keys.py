"""`andante keys`, called as a function on a store of its own."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import cli_keys
from gateway.clock import ManualClock
from gateway.core.limits import Limits
from gateway.stores.sqlite_keys import SqliteKeyStore

NOW = 1_700_000_000.0
Andante = Callable[..., tuple[int, str, str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "keys.db"


@pytest.fixture
def andante(path: Path, capsys: pytest.CaptureFixture[str]) -> Andante:
    """Run `andante keys` with arguments: exit status, standard output, standard error."""

    def andante(*argv: str, db: Path | None = path, now: float = NOW) -> tuple[int, str, str]:
        parser = argparse.ArgumentParser(prog="andante keys")
        cli_keys.add_arguments(parser)
        try:
            args = parser.parse_args([*argv, *(["--db", str(db)] if db else [])])
            status = cli_keys.run(args, ManualClock(wall=now), {"ANDANTE_STORE__PATH": str(path)})
        except SystemExit as stop:  # argparse's way to say 2
            status = int(stop.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return andante


@pytest.fixture
def made(andante: Andante) -> dict[str, Any]:
    """A key, as --json shows it."""
    status, out, _ = andante("create", "--name", "plain", "--json")
    assert status == 0
    key: dict[str, Any] = json.loads(out)
    return key


def found(path: Path, secret: str, now: float = NOW) -> bool:
    """Whether a gateway on this store takes the secret."""
    store = SqliteKeyStore(path)
    key = store.find(secret, now=now)
    store.close()
    return key is not None


def test_create_prints_only_the_secret_on_standard_output(andante: Andante, path: Path) -> None:
    """So that a script can take it; the rest goes to standard error."""
    status, out, err = andante("create", "--name", "plain")
    secret = out.removesuffix("\n")

    assert status == 0
    assert found(path, secret)
    assert f"sk-{secret[3:15]}-..." in err
    assert secret not in err


def test_create_takes_every_field(andante: Andante, path: Path) -> None:
    """Each option lands in its field."""
    options = "--name n --tenant t --weight 2.5 --model a --model b --expires 30d --rpm 60 --tpm 1000 --streams 4"
    pace = '{"kind": "reading", "language": "de"}'
    _, out, _ = andante("create", *options.split(), "--pace", pace, "--json")
    store = SqliteKeyStore(path)
    key = store.find(json.loads(out)["secret"], now=NOW)
    store.close()

    assert key is not None
    assert (key.name, key.tenant, key.weight, key.models) == ("n", "t", 2.5, ("a", "b"))
    assert (key.expires_at, key.pace) == (NOW + 30 * 86_400, json.loads(pace))
    assert key.limits == Limits(60, 1000, 4)


def test_a_key_is_its_own_tenant(made: dict[str, Any]) -> None:
    """Unless told otherwise."""
    assert made["tenant"] == made["id"]


@pytest.mark.parametrize(
    ("text", "expires_at"),
    [
        ("90s", NOW + 90),
        ("12h", NOW + 43_200),
        ("2w", NOW + 1_209_600),
        ("2030-12-31", 1_924_905_600.0),
        ("2030-12-31T12:00", 1_924_948_800.0),
        ("2030-12-31T12:00:00+02:00", 1_924_941_600.0),
    ],
)
def test_expiry_is_a_time_from_now_or_a_date(text: str, expires_at: float) -> None:
    """Dates are UTC unless they say otherwise."""
    assert cli_keys.parse_expiry(text, NOW) == expires_at


def test_list_and_show_are_readable(andante: Andante) -> None:
    """A line for each key under a head; a revoked and an expired one say so; no secret anywhere."""
    status, out, _ = andante("list")
    assert (status, out) == (1, "")
    secrets = [andante("create", "--name", f"key {n}", "--expires", "1h")[1].strip() for n in range(2)]
    ids = [secret[3:15] for secret in secrets]
    andante("revoke", ids[0])
    status, out, _ = andante("list", now=NOW + 7200)
    lines = out.splitlines()

    assert status == 0
    assert lines[0].split() == ["ID", "NAME", "TENANT", "WEIGHT", "MODELS", "LIMITS", "EXPIRES", "STATE"]
    assert lines[1].startswith(f"{ids[0]}  key 0")
    assert lines[1].endswith("revoked 2023-11-14 22:13:20Z")
    assert lines[2].endswith("2023-11-14 23:13:20Z  expired")
    shown = andante("show", ids[1])[1]
    assert "state:" in shown
    assert not any(secret[16:] in out + shown for secret in secrets)


def test_list_as_json_holds_every_key(andante: Andante, made: dict[str, Any]) -> None:
    """The same fields as at creation, but for the secret."""
    secret = made.pop("secret")
    _, out, _ = andante("list", "--json")

    assert json.loads(out) == [made]
    assert json.loads(andante("show", made["id"], "--json")[1]) == made
    assert secret not in out


def test_rotate_with_and_without_grace(andante: Andante, path: Path, made: dict[str, Any]) -> None:
    """The old secret ends at once, or after its grace."""
    second = andante("rotate", made["id"])[1].strip()
    assert not found(path, made["secret"])
    status, out, err = andante("rotate", made["id"], "--grace", "10m")

    assert status == 0
    assert "old secret until:" in err
    assert found(path, out.strip())
    assert found(path, second, NOW + 599)
    assert not found(path, second, NOW + 600)


def test_revoke_is_final(andante: Andante, path: Path, made: dict[str, Any]) -> None:
    """The key ends; rotating it is refused; revoking again is not."""
    status, out, _ = andante("revoke", made["id"])
    assert (status, "revoked" in out) == (0, True)
    assert not found(path, made["secret"])
    assert andante("rotate", made["id"])[0] == 2
    assert andante("revoke", made["id"])[0] == 0


@pytest.mark.parametrize(
    "argv",
    [
        "create",
        "create --name n --weight 0",
        "create --name n --weight nan",
        "create --name n --weight x",
        "create --name n --rpm 0",
        "create --name n --rpm 1e3",
        "create --name n --tpm 99999999999999999999",
        "create --name n --tpm 999999999999999999",
        "create --name n --expires yesterday",
        "create --name n --expires 2001-01-01",
        "create --name n --expires 0",
        "create --name n --expires 999999999w",
        "create --name n --pace fast",
        "create --name n --pace {",
        'create --name n --pace {"kind":"reading","language":"xx"}',
        "create --name \x1b[31m",
        "create --name \udcff",
        "rotate 0123456789ab --grace forever",
        "",
        "destroy",
    ],
)
def test_what_is_not_understood_exits_with_2(andante: Andante, made: dict[str, Any], argv: str) -> None:
    """With one clear line, no traceback, and nothing made."""
    status, out, err = andante(*argv.split())

    assert (status, out) == (2, "")
    assert "andante keys" in err
    assert "Traceback" not in err
    assert len(json.loads(andante("list", "--json")[1])) == 1


@pytest.mark.parametrize("command", ["show", "rotate", "revoke"])
def test_an_unknown_key_exits_with_1(andante: Andante, made: dict[str, Any], command: str) -> None:
    """And says so."""
    status, out, err = andante(command, "0123456789ab")

    assert (status, out, err) == (1, "", "andante keys: There is no such key.\n")


def test_an_unusable_store_exits_with_1(andante: Andante, tmp_path: Path) -> None:
    """A missing store is not made by looking; a folder is no store."""
    status, _, err = andante("list", db=tmp_path / "missing.db")
    assert (status, "There is no key store at" in err) == (1, True)
    assert not (tmp_path / "missing.db").exists()
    assert andante("create", "--name", "n", db=tmp_path)[0] == 1


def test_the_environment_names_the_store(andante: Andante, path: Path) -> None:
    """Without --db."""
    status, out, _ = andante("create", "--name", "n", db=None)

    assert status == 0
    assert found(path, out.strip())


def test_a_running_gateway_sees_a_revocation_at_once(path: Path, made: dict[str, Any]) -> None:
    """The command in a process of its own; the store has answered for the key before."""
    store = SqliteKeyStore(path)
    assert store.find(made["secret"], now=NOW) is not None
    script = (
        "import argparse, sys; from gateway import cli_keys\n"
        "parser = argparse.ArgumentParser(); cli_keys.add_arguments(parser)\n"
        "sys.exit(cli_keys.run(parser.parse_args()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "ANDANTE_STORE__PATH": str(path)}
    subprocess.run(
        [sys.executable, "-c", script, "revoke", made["id"]], check=True, env=environment, capture_output=True
    )

    assert store.find(made["secret"], now=NOW) is None
    store.close()
