"""Read a Compose file and a Dockerfile as far as running their commands without containers needs it."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # no stubs wanted for one call

VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+):-(?P<default>[^}]*)\})")
"""`$$`, or `${NAME:-default}`: the only forms of interpolation that our file uses."""


@dataclass(frozen=True)
class Service:
    """One service, interpolated."""

    name: str
    command: list[str]
    health: list[str]
    environment: dict[str, str]
    volumes: list[str]
    needs_healthy: list[str]


def interpolate(value: Any, environ: Mapping[str, str]) -> Any:
    """Compose's own variable substitution, in every string of a decoded file."""
    if isinstance(value, dict):
        return {key: interpolate(item, environ) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, environ) for item in value]
    if not isinstance(value, str):
        return value
    return VARIABLE.sub(lambda found: _value(found, environ), value)


def services(path: Path, environ: Mapping[str, str]) -> dict[str, Service]:
    """The services that start without a profile, each after those that it depends on."""
    decoded = interpolate(yaml.safe_load(path.read_text(encoding="utf-8")), environ)["services"]
    found = {name: _service(name, fields) for name, fields in decoded.items() if "profiles" not in fields}
    ordered: dict[str, Service] = {}
    while len(ordered) < len(found):
        ready = [
            each for each in found.values() if each.name not in ordered and ordered.keys() >= set(each.needs_healthy)
        ]
        assert ready, "depends_on goes in a circle"
        ordered |= {each.name: each for each in ready}
    return ordered


def instructions(path: Path) -> Iterator[tuple[str, str]]:
    """A Dockerfile's instructions, continued lines joined, comments dropped."""
    text = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            yield name, rest.strip()


def arguments(instruction: str) -> list[str]:
    """The command of a CMD: a JSON list as it is, anything else through the shell, as Docker does it."""
    return list(json.loads(instruction)) if instruction.startswith("[") else ["/bin/sh", "-c", instruction]


def variables(instruction: str) -> dict[str, str]:
    """What an ENV sets."""
    return dict(pair.split("=", 1) for pair in shlex.split(instruction))


def _value(found: re.Match[str], environ: Mapping[str, str]) -> str:
    name = found["name"]
    return "$" if name is None else environ.get(name) or found["default"]


def _service(name: str, fields: dict[str, Any]) -> Service:
    kind, *check = fields["healthcheck"]["test"]
    needs = fields.get("depends_on", {})
    assert kind in {"CMD", "CMD-SHELL"}
    assert all(need == {"condition": "service_healthy"} for need in needs.values())
    return Service(
        name=name,
        command=fields["command"],
        health=check if kind == "CMD" else ["/bin/sh", "-c", *check],
        environment=fields.get("environment", {}),
        volumes=fields.get("volumes", []),
        needs_healthy=list(needs),
    )
