"""Small files, small functions, no global state, no catch-all handlers."""

import ast
from collections.abc import Iterator

import pytest

from tests.support.source import Module, modules, parse

MAX_FILE = 300
MAX_FUNCTION = 40

BROAD = frozenset({"Exception", "BaseException"})
BROAD_ALLOWED = {
    ("gateway/runtime/caretaker.py", "_every"): "one bad round must not be the last",
    ("gateway/api/context.py", "RequestContext.__call__"): "whatever broke, the client gets an answer with its id",
    ("gateway/runtime/legs.py", "Legs._run"): "a bug in an adapter must not leave a client waiting",
    ("gateway/runtime/sharing.py", "Sharing.run"): "one bad round must not be the last",
    ("gateway/stores/redis_exchange.py", "RedisStreamExchange.run"): "one bad round must not be the last",
    ("gateway/stores/redis_link.py", "RedisLink._pass_on"): "one bad message must not end the link",
    ("gateway/runtime/pool.py", "Pool._probe"): "what one engine sends must not end the watch over all engines",
}
"""(file, function) -> why this is a task's edge. A handler that ends with a bare `raise` needs no entry."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Every function with its dotted name inside the file, methods and inner functions included."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef):
            name = f"{prefix}{child.name}"
            if isinstance(child, Function):
                yield name, child
            yield from functions(child, f"{name}.")
        else:
            yield from functions(child, prefix)


def length(function: Function) -> int:
    """Lines from `def` to the last one."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether it catches everything and does not pass it on."""
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = any(each is None or (isinstance(each, ast.Name) and each.id in BROAD) for each in caught)
    last = handler.body[-1]
    return broad and not (isinstance(last, ast.Raise) and last.exc is None)


def broad_handlers(module: Module) -> Iterator[tuple[str, int]]:
    """The innermost function around each broad handler, and the handler's line."""
    owner: dict[ast.AST, str] = {}
    for name, function in functions(module.tree):
        owner.update(dict.fromkeys(ast.walk(function), name))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and is_broad(node):
            yield owner.get(node, "<module>"), node.lineno


def faults(module: Module, allowed: dict[tuple[str, str], str]) -> list[str]:
    """One line for each rule that a file breaks."""
    found = []
    if module.lines > MAX_FILE:
        found.append(f"{module.path}: {module.lines} lines, at most {MAX_FILE}")
    for name, function in functions(module.tree):
        if length(function) > MAX_FUNCTION:
            found.append(f"{module.path}:{function.lineno}: {name} has {length(function)} lines")
    statements = (node for node in ast.walk(module.tree) if isinstance(node, ast.Global))
    found += [f"{module.path}:{node.lineno}: global statement" for node in statements]
    for name, line in broad_handlers(module):
        if (module.path, name) not in allowed:
            found.append(f"{module.path}:{line}: broad except in {name}")
    return found


def test_every_file_is_small_and_plain() -> None:
    """The whole project keeps the limits."""
    assert [fault for module in modules().values() for fault in faults(module, BROAD_ALLOWED)] == []


def test_every_allowance_is_used() -> None:
    """An entry of the allow-list that covers nothing is removed."""
    used = {(module.path, name) for module in modules().values() for name, _ in broad_handlers(module)}

    assert set() == BROAD_ALLOWED.keys() - used


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x = 1\n" * 301, "301 lines"),
        ("x = 1\n" * 300, None),
        ("class A:\n    def f(self):\n" + "        x = 1\n" * 40, "A.f has 41 lines"),
        ("async def f():\n" + "    x = 1\n" * 39, None),
        ("def f():\n    global x\n    x = 1\n", "global statement"),
        ("try:\n    pass\nexcept Exception:\n    pass\n", "broad except in <module>"),
        ("def f():\n    try:\n        pass\n    except:\n        pass\n", "broad except in f"),
        ("try:\n    pass\nexcept (OSError, BaseException):\n    pass\n", "broad except in <module>"),
        ("try:\n    pass\nexcept BaseException:\n    x = 1\n    raise\n", None),
        ("try:\n    pass\nexcept OSError:\n    pass\n", None),
        ("def edge():\n    try:\n        pass\n    except Exception:\n        pass\n", None),
    ],
)
def test_the_checker_sees_a_fault(text: str, fault: str | None) -> None:
    """Each rule, broken on purpose; the handler in `edge` is on the allow-list."""
    found = faults(parse("gateway/x.py", text), {("gateway/x.py", "edge"): "the edge of a task"})

    if fault is None:
        assert found == []
    else:
        assert len(found) == 1
        assert fault in found[0]
