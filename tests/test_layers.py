"""The direction of imports: a file sees its own package and lower layers, nothing else (docs/architecture.md)."""

import sys
from collections.abc import Iterator

import pytest

from tests.support.source import Import, Module, imports, modules, parse

PURE = frozenset(
    [
        "__future__",
        "abc",
        "bisect",
        "collections",
        "collections.abc",
        "dataclasses",
        "enum",
        "fractions",
        "functools",
        "heapq",
        "itertools",
        "math",
        "operator",
        "statistics",
        "string",
        "types",
        "typing",
    ]
)
"""What gateway.core may import of the standard library: no clock, no chance, no I/O, no event loop."""

FRAMEWORK = frozenset({"fastapi"})
WEB = frozenset({"fastapi", "starlette", "uvicorn", "uvloop", "httptools", "httpx2"})

PORTS = frozenset(
    f"gateway.{name}"
    for name in (
        "clock",
        "config",
        "engines.base",
        "engines.transcript",
        "engines.stops",
        "stores.base",
        "stores.stream_log",
        "stores.share",
        "stores.stream_exchange",
        "runtime.instrument",
    )
)
ROOTS = ("gateway.cli", "gateway.wiring", "gateway.demo", "gateway.__main__")
"""Top-level modules whose name begins so may name concrete adapters."""

LAYER_OF_PACKAGE = {
    "gateway.core": 0,
    "gateway.engines": 2,
    "gateway.stores": 2,
    "gateway.observability": 2,
    "gateway.emulator": 2,
    "gateway.runtime": 3,
    "gateway.api": 4,
}
LOADGEN_SEES = ("gateway.core", "gateway.errors", "gateway.clock", "gateway.engines.sse", "gateway.emulator")


def home(name: str) -> str:
    """The package that a module counts to: the second part of its name, or the top."""
    return ".".join(name.split(".")[:2])


def layer(name: str) -> int:
    """0 to 5, the lowest first; ValueError for a module that has no place yet."""
    if name in {"gateway", "gateway.errors"}:
        return 0
    if name in PORTS:
        return 1
    if home(name) in LAYER_OF_PACKAGE:
        return LAYER_OF_PACKAGE[home(name)]
    if home(name) == name and name.startswith(ROOTS):
        return 5
    raise ValueError(f"{name} has no layer: give it one in tests/test_layers.py and docs/architecture.md")


def may_import(source: str, target: str) -> bool:
    """Whether one module of the gateway may import another."""
    if layer(target) < layer(source):
        return True
    neighbours = home(source) == home(target) or layer(source) in {0, 1, 5}
    return neighbours and layer(target) == layer(source)


def outside(target: str) -> str:
    """The distribution's top package of an import."""
    return target.split(".", maxsplit=1)[0]


def gateway_faults(module: Module, found: Import) -> Iterator[str]:
    """What is wrong with one import of one file of the gateway."""
    target, top = found.target, outside(found.target)
    if top == "loadgen":
        yield "nothing imports loadgen"
    elif top == "gateway":
        if not may_import(module.name, target):
            yield f"layer {layer(module.name)} must not see {target} (layer {layer(target)})"
    elif home(module.name) == "gateway.core" and target not in PURE:
        yield f"the core imports the standard library's pure part only, not {target}"
    elif top in FRAMEWORK and home(module.name) != "gateway.api":
        yield f"{top} belongs to gateway.api"


def loadgen_faults(found: Import, known: dict[str, Module]) -> Iterator[str]:
    """What is wrong with one import of one file of the load generator."""
    target = found.target
    if outside(target) != "gateway":
        return
    if not any(target == seen or target.startswith(f"{seen}.") for seen in LOADGEN_SEES):
        yield f"loadgen must not see {target}"
    elif target in known and home(target) == "gateway.emulator":
        served = {outside(each.target) for each in imports(known[target], known)} & WEB
        if served:
            yield f"loadgen sees the emulator's model, not its server: {target} imports {sorted(served)}"


def violations(known: dict[str, Module]) -> list[str]:
    """One line for each import that breaks a rule."""
    lines = []
    for module in known.values():
        for found in imports(module, known):
            mine = outside(module.name) == "gateway"
            faults = gateway_faults(module, found) if mine else loadgen_faults(found, known)
            lines += [f"{module.path}:{found.line}: {fault}" for fault in faults]
    return lines


def test_every_file_keeps_to_its_layer() -> None:
    """No import of the project breaks a rule, and every file has a layer."""
    known = modules()

    assert "gateway.errors" in known
    assert violations(known) == []
    assert all(layer(name) in range(6) for name in known if outside(name) == "gateway")


def test_core_allow_list_is_of_the_standard_library() -> None:
    """Nothing that must be installed is on the list."""
    assert {outside(name) for name in PURE} <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("gateway/core/x.py", "import time", "pure part only, not time"),
        ("gateway/core/x.py", "from os import environ", "pure part only, not os"),
        ("gateway/core/x.py", "import numpy.linalg", "pure part only, not numpy.linalg"),
        ("gateway/core/x.py", "def f():\n    import asyncio", "pure part only, not asyncio"),
        ("gateway/core/x.py", "from gateway import clock", "layer 0 must not see gateway.clock (layer 1)"),
        ("gateway/core/x.py", "from .. import clock", "layer 0 must not see gateway.clock (layer 1)"),
        ("gateway/clock.py", "import gateway.stores.memory", "layer 1 must not see gateway.stores.memory (layer 2)"),
        ("gateway/stores/base.py", "from .memory import M", "layer 1 must not see gateway.stores.memory (layer 2)"),
        ("gateway/engines/x.py", "import gateway.stores.memory", "layer 2 must not see gateway.stores.memory"),
        ("gateway/emulator/x.py", "from gateway.engines import sse", "layer 2 must not see gateway.engines.sse"),
        ("gateway/runtime/x.py", "import gateway.stores.memory", None),
        ("gateway/runtime/x.py", "import gateway.api.app", "layer 3 must not see gateway.api.app (layer 4)"),
        ("gateway/runtime/x.py", "import fastapi", "fastapi belongs to gateway.api"),
        ("gateway/api/x.py", "from fastapi import FastAPI", None),
        ("gateway/api/x.py", "import gateway.wiring", "layer 4 must not see gateway.wiring (layer 5)"),
        ("gateway/wiring.py", "import gateway.api.app, gateway.stores.memory, gateway.cli", None),
        ("gateway/cli_keys.py", "import loadgen.report", "nothing imports loadgen"),
        ("loadgen/x.py", "import gateway.api.app", "loadgen must not see gateway.api.app"),
        ("loadgen/x.py", "from gateway.core.job import Job", None),
        ("loadgen/x.py", "from gateway.emulator import model", None),
        ("loadgen/x.py", "from gateway.emulator import server", "not its server: gateway.emulator.server"),
    ],
)
def test_the_checker_sees_a_violation(path: str, text: str, fault: str | None) -> None:
    """Each rule, broken on purpose in an otherwise sound tree (and a few imports that are fine)."""
    sound = {
        "gateway/clock.py": "import time",
        "gateway/core/job.py": "import enum",
        "gateway/stores/memory.py": "import gateway.core.job",
        "gateway/engines/sse.py": "",
        "gateway/emulator/model.py": "import math",
        "gateway/emulator/server.py": "from starlette.applications import Starlette",
        "gateway/api/app.py": "import fastapi",
        "gateway/wiring.py": "import gateway.api.app",
        "gateway/cli.py": "import gateway.wiring",
    }
    parsed = [parse(each, source) for each, source in {**sound, path: text}.items()]
    known = {module.name: module for module in parsed}

    found = violations(known)

    if fault is None:
        assert found == []
    else:
        assert len(found) == 1
        assert fault in found[0]
        assert found[0].startswith(path)


def test_a_file_without_a_layer_is_reported() -> None:
    """A new top-level module needs a decision, not a default."""
    with pytest.raises(ValueError, match=r"gateway\.helpers has no layer"):
        layer("gateway.helpers")
