"""`andante engines`: list, add, drain and remove the engines of a running gateway.

Talks to its admin API. Exit status: 0 done, 1 refused or not possible, 2 not understood.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx2

DEFAULT_URL: Final = "http://127.0.0.1:8080"
KEY_VARIABLE: Final = "ANDANTE_AUTH__ADMIN_KEY"
COLUMNS: Final = ("id", "model", "state", "legs", "max_running", "draining", "url")
TIMEOUT_S: Final = 10.0

Perform = Callable[[argparse.Namespace, httpx2.Client], httpx2.Response]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the commands of `engines`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="engines_command")
    _command(commands, "list", _list, "show all engines")
    _with_id(_command(commands, "drain", _drain, "give an engine no new work and move its streams"))
    _with_id(_command(commands, "undrain", _undrain, "give a drained engine work again"))
    _with_id(_command(commands, "remove", _remove, "forget a drained, empty engine"))
    add = _command(commands, "add", _add, "add an engine to a pool")
    add.add_argument("--model", required=True, help="the pool")
    add.add_argument("--id", required=True, help="what the engine is called")
    add.add_argument("--engine-url", required=True, metavar="URL", help="where it answers")
    add.add_argument("--kind", default="vllm", help="default: %(default)s")
    add.add_argument("--served-model", help="the engine's own name of the model")
    add.add_argument("--max-running", type=int, help="sequences")


def run(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> int:
    """Do what the parsed arguments say and return the exit status."""
    key = args.admin_key or environ.get(KEY_VARIABLE)
    if not key:
        print(f"andante engines: no admin key: set {KEY_VARIABLE}, or give --admin-key", file=sys.stderr)
        return 2
    headers = {"authorization": f"Bearer {key}"}
    try:
        with httpx2.Client(base_url=args.url, headers=headers, timeout=TIMEOUT_S, trust_env=False) as http:
            answer = args.perform(args, http)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        print(f"andante engines: {args.url} does not answer: {error!r}", file=sys.stderr)
        return 1
    if answer.is_success:
        _show(answer, as_json=args.json)
        return 0
    print(f"andante engines: {_message(answer)}", file=sys.stderr)
    return 1


def _list(_args: argparse.Namespace, http: httpx2.Client) -> httpx2.Response:
    return http.get("/admin/engines")


def _add(args: argparse.Namespace, http: httpx2.Client) -> httpx2.Response:
    body: dict[str, Any] = {"model": args.model, "id": args.id, "url": args.engine_url, "kind": args.kind}
    optional = {"served_model": args.served_model, "max_running": args.max_running}
    return http.post("/admin/engines", json=body | {name: value for name, value in optional.items() if value})


def _drain(args: argparse.Namespace, http: httpx2.Client) -> httpx2.Response:
    return http.post(f"/admin/engines/{args.id}/drain", params=_pool(args))


def _undrain(args: argparse.Namespace, http: httpx2.Client) -> httpx2.Response:
    return http.post(f"/admin/engines/{args.id}/undrain", params=_pool(args))


def _remove(args: argparse.Namespace, http: httpx2.Client) -> httpx2.Response:
    return http.delete(f"/admin/engines/{args.id}", params=_pool(args))


def _pool(args: argparse.Namespace) -> dict[str, str]:
    return {"model": args.model} if args.model else {}


def _show(answer: httpx2.Response, *, as_json: bool) -> None:
    if not answer.content:
        return
    body = answer.json()
    if as_json or "data" not in body:
        print(json.dumps(body, indent=2))
        return
    rows = [COLUMNS, *(tuple(str(engine[name]) for name in COLUMNS) for engine in body["data"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        print("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())


def _message(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"the gateway answered with status {answer.status_code}"


def _command(commands: Any, name: str, perform: Perform, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text)
    parser.add_argument("--url", default=DEFAULT_URL, help="the gateway (default: %(default)s)")
    parser.add_argument("--admin-key", help=f"default: {KEY_VARIABLE}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(perform=perform)
    return parser


def _with_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", help="the engine's id")
    parser.add_argument("--model", help="its pool, where several have an engine of that name")
