"""The project's own source as syntax trees, for the tests that hold its rules."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gateway", "loadgen")


@dataclass(frozen=True)
class Module:
    """One file: its dotted name, its path from the root, its syntax tree and its length."""

    name: str
    path: str
    tree: ast.Module
    lines: int

    @property
    def package(self) -> str:
        """The dotted name of the folder that it lies in."""
        is_package = self.path.endswith("__init__.py")
        return self.name if is_package else self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Import:
    """An import statement's target, as a module's full name, and its line."""

    target: str
    line: int


def parse(path: str, text: str) -> Module:
    """A module from its path (from the root, with slashes) and its text."""
    name = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    return Module(name, path, ast.parse(text, path), text.count("\n"))


def modules(*folders: str) -> dict[str, Module]:
    """Every Python file below these folders of the root, by dotted name."""
    files = (file for folder in folders or PACKAGES for file in sorted((ROOT / folder).rglob("*.py")))
    parsed = (parse(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")) for file in files)
    return {module.name: module for module in parsed}


def imports(module: Module, known: dict[str, Module]) -> Iterator[Import]:
    """What a module imports anywhere in it, `if TYPE_CHECKING` and functions included.

    `from a import b` means a.b where that is a module, else a.
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(module, node)
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                yield Import(inner if inner in known else origin, node.lineno)


def _origin(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])
