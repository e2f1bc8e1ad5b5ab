"""Keys for the clients of an attack: one for all, a file, or one made for each over the gateway's administration.

A gateway is fair between tenants, so a load with several clients needs several keys. A client's weight goes into its
key. Keys that were made here are revoked afterwards.
"""

import csv
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2

from loadgen.workload import Workload


class NoKeys(ValueError):
    """Keys that cannot be read or made; the message says why."""


def keys_from(path: Path) -> dict[str, str]:
    """A CSV file of `client,key`, without a header. NoKeys names the line that is wrong."""
    keys = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if len(row) != 2 or not all(row):
                    raise NoKeys(f"{path}:{number}: not client,key")
                keys[row[0]] = row[1]
    except (OSError, UnicodeDecodeError) as problem:
        raise NoKeys(f"{path}: {problem}") from problem
    return keys


@contextmanager
def made_keys(url: str, admin_key: str, workload: Workload) -> Iterator[Mapping[str, str]]:
    """A key for each client of a workload at the gateway `url`, with its weight; revoked at the end.

    Raises NoKeys when the gateway refuses. `url` may end in /v1, as SDKs want it.
    """
    weights = {request.client: request.weight for request in workload.requests}
    base = url.rstrip("/").removesuffix("/v1")
    issued: list[str] = []
    headers = {"authorization": f"Bearer {admin_key}"}
    with httpx2.Client(base_url=base, headers=headers, timeout=30.0, trust_env=False) as client:
        try:
            keys = {}
            for name, weight in weights.items():
                made = _call(client, "/admin/keys", {"name": f"load {name}", "tenant": name, "weight": weight})
                issued.append(str(made["id"]))
                keys[name] = str(made["secret"])
            yield keys
        finally:
            _revoke(client, issued)


def _revoke(client: httpx2.Client, issued: list[str]) -> None:
    """A gateway that has gone down meanwhile must not cost the run its figures: one line says which keys are left."""
    for done, key_id in enumerate(issued):
        try:
            _call(client, f"/admin/keys/{key_id}/revoke", {})
        except NoKeys as problem:
            print(f"{len(issued) - done} keys are not revoked, from {key_id} on: {problem}", file=sys.stderr)
            return


def _call(client: httpx2.Client, path: str, body: Mapping[str, str | float]) -> dict[str, object]:
    try:
        answer = client.post(path, json=body)
        answer.raise_for_status()
        found: dict[str, object] = answer.json()
    except (httpx2.HTTPError, ValueError) as problem:
        raise NoKeys(f"{client.base_url}{path.removeprefix('/')}: {problem}") from problem
    return found
