"""`andante keys`: make, show and end API keys in the embedded store.

A running gateway sees every change at once. Exit status: 0 done, 1 refused or not possible, 2 not understood.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.clock import Clock, SystemClock
from gateway.core.limits import Limits
from gateway.core.pace import PaceSpec, pace_from_spec
from gateway.errors import ConfigError, GatewayError, InvalidRequest
from gateway.stores.base import ApiKey, IssuedKey, KeyStore, NewKey
from gateway.stores.sqlite_keys import SqliteKeyStore

DEFAULT_PATH: Final = "var/andante.db"
PATH_VARIABLE: Final = "ANDANTE_STORE__PATH"

_UNITS_S: Final[Mapping[str, float]] = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_PAGE: Final = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the commands of `keys`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="keys_command")

    create = _command(commands, "create", _create, "make a key and print its secret, this once")
    create.add_argument("--name", required=True, help="what the key is called")
    create.add_argument("--tenant", help="who shares fairly with others (default: the key itself)")
    create.add_argument("--weight", type=float, default=1.0, help="the tenant's share (default: %(default)s)")
    create.add_argument("--model", action="append", help="allow only this model; may be repeated (default: all)")
    create.add_argument("--expires", metavar="WHEN", help="30d, 12h or a date such as 2030-12-31 (UTC)")
    create.add_argument("--pace", metavar="SPEC", help="default pace: reading, listening, machine, or a JSON object")
    create.add_argument("--rpm", type=_positive, metavar="N", help="requests a minute")
    create.add_argument("--tpm", type=_positive, metavar="N", help="tokens a minute")
    create.add_argument("--streams", type=_positive, metavar="N", help="concurrent streams")

    _command(commands, "list", _list, "list all keys, revoked ones too")
    _with_id(_command(commands, "show", _show, "show one key"))
    rotate = _with_id(_command(commands, "rotate", _rotate, "give a key a new secret and print it, this once"))
    rotate.add_argument(
        "--grace",
        type=_duration,
        default=0.0,
        metavar="TIME",
        help="how long the old secret stays good: 10m (default: 0)",
    )
    _with_id(_command(commands, "revoke", _revoke, "end a key at once and for ever"))


def run(args: argparse.Namespace, clock: Clock | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Do what the parsed arguments say and return the exit status; nothing but a bug raises."""
    path = Path(args.db or environ.get(PATH_VARIABLE) or DEFAULT_PATH)
    try:
        if args.perform is not _create and not path.exists():
            raise ConfigError(f"There is no key store at {path}. `andante keys create` makes one; --db names another.")
        with closing(SqliteKeyStore(path)) as store:
            args.perform(args, store, (clock or SystemClock()).wall())
    except InvalidRequest as error:
        print(f"andante keys: {error.message}", file=sys.stderr)
        return 2
    except GatewayError as error:
        print(f"andante keys: {error.message}", file=sys.stderr)
        return 1
    return 0


Perform = Callable[[argparse.Namespace, KeyStore, float], None]


def _create(args: argparse.Namespace, store: KeyStore, now: float) -> None:
    new = NewKey(
        name=args.name,
        tenant=args.tenant,
        weight=args.weight,
        models=tuple(args.model) if args.model else None,
        expires_at=None if args.expires is None else parse_expiry(args.expires, now),
        pace=None if args.pace is None else parse_pace(args.pace),
        limits=Limits(args.rpm, args.tpm, args.streams),
    )
    _print_issued(store.create(new, now=now), args, now)


def _list(args: argparse.Namespace, store: KeyStore, now: float) -> None:
    keys = list(store.list(limit=_PAGE))
    while page := store.list(after=keys[-1].id, limit=_PAGE) if keys else ():
        keys.extend(page)
    if args.json:
        print(json.dumps([describe(key) for key in keys], indent=2))
    else:
        head = ("ID", "NAME", "TENANT", "WEIGHT", "MODELS", "LIMITS", "EXPIRES", "STATE")
        print(_table([head, *(_row(key, now) for key in keys)]))


def _show(args: argparse.Namespace, store: KeyStore, now: float) -> None:
    _print_key(store.get(args.id), args, now)


def _rotate(args: argparse.Namespace, store: KeyStore, now: float) -> None:
    _print_issued(store.rotate(args.id, now=now, grace_s=args.grace), args, now)


def _revoke(args: argparse.Namespace, store: KeyStore, now: float) -> None:
    _print_key(store.revoke(args.id, now=now), args, now)


def describe(key: ApiKey) -> dict[str, Any]:
    """A key as JSON shows it, the same as over HTTP; times are Unix seconds."""
    return {**asdict(key), "prefix": key.prefix}


def parse_expiry(text: str, now: float) -> float:
    """A time from now (`30d`) or an ISO date or time (UTC unless it says otherwise) as Unix seconds.

    Raises InvalidRequest for what is neither, and for what has passed.
    """
    try:
        when = now + _duration(text)
    except argparse.ArgumentTypeError:
        try:
            date = datetime.fromisoformat(text)
        except ValueError:
            raise InvalidRequest("--expires must be a time such as 30d or 12h, or a date such as 2030-12-31.") from None
        when = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    if when <= now:
        raise InvalidRequest("--expires lies in the past.")
    return when


def parse_pace(text: str) -> PaceSpec:
    """A word or a JSON object; raises InvalidRequest if it is no pace."""
    spec: PaceSpec = text
    if text.lstrip().startswith("{"):
        try:
            spec = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            raise InvalidRequest("--pace is not valid JSON.") from None
    pace_from_spec(spec)
    return spec


def _command(commands: Any, name: str, perform: Perform, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.add_argument("--db", metavar="PATH", help=f"the store (default: ${PATH_VARIABLE}, else {DEFAULT_PATH})")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(perform=perform)
    return parser


def _with_id(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("id", metavar="ID", help="the key's id, the part of its secret after sk-")
    return parser


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a whole number above 0: {text!r}")
    return int(text)


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d{1,9})([smhdw])", text, re.ASCII)
    if match is None and text != "0":
        raise argparse.ArgumentTypeError(f"not a time such as 90s, 10m, 12h, 30d or 2w: {text!r}")
    return int(match.group(1)) * _UNITS_S[match.group(2)] if match else 0.0


def _print_issued(issued: IssuedKey, args: argparse.Namespace, now: float) -> None:
    if args.json:
        print(json.dumps({**describe(issued.key), "secret": issued.secret}, indent=2))
        return
    print(_details(issued.key, now), file=sys.stderr)
    print("The secret, shown this once:", file=sys.stderr)
    # Alone on standard output: KEY=$(andante keys create --name me)
    print(issued.secret)


def _print_key(key: ApiKey, args: argparse.Namespace, now: float) -> None:
    print(json.dumps(describe(key), indent=2) if args.json else _details(key, now))


def _details(key: ApiKey, now: float) -> str:
    pace = key.pace if key.pace is None or isinstance(key.pace, str) else json.dumps(dict(key.pace))
    lines = (
        ("id", key.id),
        ("secret", key.prefix),
        ("name", key.name),
        ("tenant", key.tenant),
        ("weight", f"{key.weight:g}"),
        ("models", _models(key)),
        ("pace", pace or "the pool's"),
        ("limits", _limits(key.limits)),
        ("created", _time(key.created_at)),
        ("rotated", _time(key.rotated_at)),
        ("old secret until", _time(key.previous_until)),
        ("expires", _time(key.expires_at)),
        ("state", _state(key, now)),
    )
    return _table([(f"{name}:", value) for name, value in lines if value != "-"])


def _row(key: ApiKey, now: float) -> tuple[str, ...]:
    limits, expires = _limits(key.limits), _time(key.expires_at)
    return (key.id, key.name, key.tenant, f"{key.weight:g}", _models(key), limits, expires, _state(key, now))


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _models(key: ApiKey) -> str:
    return "all" if key.models is None else ",".join(key.models)


def _limits(limits: Limits) -> str:
    named = (
        ("requests/min", limits.requests_per_minute),
        ("tokens/min", limits.tokens_per_minute),
        ("streams", limits.concurrent_streams),
    )
    return ", ".join(f"{limit} {name}" for name, limit in named if limit is not None) or "none"


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}"


def _state(key: ApiKey, now: float) -> str:
    if key.revoked_at is not None:
        return f"revoked {_time(key.revoked_at)}"
    return "good" if key.usable(now) else "expired"
