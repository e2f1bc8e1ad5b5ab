"""The documentation says what the code does: examples parse, tables are complete, links lead somewhere."""

import argparse
import json
import logging
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import httpx2
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway import errors
from gateway.api.errors import STATUS
from gateway.cli import _parser
from gateway.clock import ManualClock
from gateway.config import Config, parse_config
from gateway.observability.metrics import MetricsInstrument
from gateway.runtime.admission import WITHHELD
from gateway.stores.memory import MemoryKeyStore
from gateway.stores.stream_log import LogLimits
from gateway.wiring_redis import Seen, share
from tests.support.processes import ROOT
from tests.support.servers import Emulators, Gateways

DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
MAX_README_LINES = 150

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]\n]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
OURS = re.compile(r"`((?:gateway|loadgen|scripts|tests|docs|deploy|requirements)/[\w./*-]*)`")

UNDESCRIBED = {("GET", path) for path in ("/", "/compare", "/web/{file}", "/docs", "/openapi.json", "/admin/events")}
"""Routes that the OpenAPI description leaves out."""


@dataclass(frozen=True)
class Example:
    """A fenced block: where it stands, its tag, its text."""

    page: str
    tag: str
    text: str


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def examples(*tags: str) -> list[Example]:
    """Every fenced block with one of these tags."""
    found = ((page, *block) for page in PAGES for block in FENCE.findall(page.read_text(encoding="utf-8")))
    return [Example(name_of(page), tag, text) for page, tag, text in found if tag in tags]


def inline(page: Path) -> list[str]:
    """Code inside sentences and tables."""
    return INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8")))


def rows(text: str, heading: str) -> Iterator[list[str]]:
    """The cells of the tables below a heading, up to the next one."""
    section = re.split(r"^#+ ", text.partition(f"{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    assert section, f"no heading {heading!r}"
    for line in section.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def cases(found: list[Example]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", found, ids=[f"{e.page}-{i}" for i, e in enumerate(found)])


# ---- examples


@cases(examples("toml"))
def test_a_configuration_in_the_docs_is_good(example: Example) -> None:
    """It passes the check that a gateway makes at its start."""
    parse_config(tomllib.loads(example.text), {})


@cases(examples("bash"))
def test_shell_lines_in_the_docs_are_sound(example: Example) -> None:
    """bash can parse them, and every `andante` command in them is one that the program takes."""
    assert subprocess.run(["bash", "-n"], input=example.text.encode(), timeout=10, check=False).returncode == 0
    for line in example.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        at = next((i for i, word in enumerate(words) if word.endswith("bin/andante") or word == "andante"), None)
        if at is not None:
            assert understood(words[at + 1 :]), line


def understood(words: list[str]) -> bool:
    """Whether the program takes these arguments; --version ends it well."""
    try:
        _parser().parse_args(words)
    except SystemExit as end:
        return not end.code
    return True


@cases(examples("python"))
def test_python_in_the_docs_is_sound(example: Example) -> None:
    """It compiles, and what it imports is there."""
    compile(example.text, example.page, "exec")
    for line in example.text.splitlines():
        if line.startswith(("import ", "from ")):
            exec(line, {})


def test_every_example_is_of_a_kind_that_is_checked() -> None:
    """nginx and plain text are for the reader's eye."""
    tags = {tag for page in PAGES for tag, _ in FENCE.findall(page.read_text(encoding="utf-8"))}

    assert tags <= {"bash", "toml", "python", "nginx", ""}


# ---- the command line


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """A parser's commands by name."""
    actions = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {name: command for action in actions for name, command in action.choices.items()}


def flags(parser: argparse.ArgumentParser) -> set[str]:
    """A parser's flags and those of all commands below it, but for --help."""
    own = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
    return (own - {"--help"}).union(*(flags(command) for command in subcommands(parser).values()))


def commands(parser: argparse.ArgumentParser, prefix: str) -> Iterator[str]:
    """Every full command, such as `andante keys create`."""
    below = subcommands(parser)
    if not below:
        yield prefix
    for name, command in below.items():
        yield from commands(command, f"{prefix} {name}")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_is_mentioned_exists(page: Path) -> None:
    """Also in passing: `andante keys`, `andante health URL`."""
    for code in inline(page):
        words = code.split()
        if words[0] != "andante" or len(words) < 2 or "." in words[1]:
            continue
        parser = _parser()
        for at, word in enumerate(words[1:]):
            known = subcommands(parser)
            if word.startswith("--"):
                assert word in flags(parser), code
            elif word in known:
                parser = known[word]
            else:
                assert at > 0, code
                assert word.isupper() or not known, code


def test_every_command_and_flag_is_documented() -> None:
    """The pages for operators leave out none."""
    text = " ".join(page.read_text(encoding="utf-8") for page in (README, DOCS / "operations.md", DOCS / "emulator.md"))
    missing = [command for command in commands(_parser(), "andante") if command not in text]
    missing += [flag for flag in flags(_parser()) if not re.search(rf"{flag}\b", text)]

    assert missing == []


def test_every_flag_that_is_mentioned_exists() -> None:
    """On the pages about our own programs; engines.md and testing.md name other programs' flags."""
    known = flags(_parser())
    for name in ("operations.md", "emulator.md", "protocol.md", "architecture.md"):
        mentioned = {flag for code in inline(DOCS / name) for flag in re.findall(r"(?<!\S)--[a-z][a-z-]*", code)}
        assert mentioned - known == set(), name


# ---- tables


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every configuration key by its dotted name; a section is its keys, a list of tables also a key itself."""
    for name, field in model.model_fields.items():
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if _is_section(kind)]
        if not inner or get_args(field.annotation):
            yield prefix + name, field
        for kind in inner:
            yield from fields(kind, f"{prefix}{name}.")


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def shown_default(field: FieldInfo) -> str:
    """As the table writes it."""
    if field.default is PydanticUndefined:
        return "required"
    return "-" if field.default is None else f"`{json.dumps(field.default)}`"


def test_the_configuration_reference_is_complete() -> None:
    """Every key with its true default, and no key that does not exist."""
    documented = {key.strip("`"): default for key, default, _ in rows(read("operations.md"), "## Configuration")}

    assert documented == {name: shown_default(field) for name, field in fields(Config)}


def error_classes(kind: type[errors.GatewayError] = errors.GatewayError) -> Iterator[type[errors.GatewayError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from error_classes(child)


def test_every_error_is_documented() -> None:
    """With its status and OpenAI's type; a code outside the tree is somewhere in the API's source."""
    table = {cells[0].strip("`"): cells[1:3] for cells in rows(read("protocol.md"), "## Errors")}
    tree = {kind for kind in error_classes() if kind.__module__ == errors.__name__}
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "gateway" / "api").glob("*.py"))

    assert f"`{errors.ConfigError.code}`" in read("protocol.md")
    for kind in tree - {errors.ConfigError}:
        status, openai_type = next(STATUS[base] for base in kind.__mro__ if base in STATUS)
        assert table[kind.code][0] == str(status), kind
        assert f"`{openai_type}`" in table[kind.code][1], kind
    others = table.keys() - {kind.code for kind in tree}
    assert [code for code in others if f'"{code}"' not in source] == []


def test_every_metric_is_documented() -> None:
    """With its type, and none that is not there. The `_created` series are described in words."""
    text = MetricsInstrument().render().decode()
    rendered = re.findall(r"^# TYPE (\S+) (\w+)$", text, flags=re.MULTILINE)
    documented = [(cells[0].strip("`"), cells[1]) for cells in rows(read("operations.md"), "## Metrics")]

    assert sorted(documented) == sorted(each for each in rendered if not each[0].endswith("_created"))


def test_every_shared_metric_is_documented() -> None:
    """Those of a gateway that shares, and none that is not there."""
    pool = {"model": "m", "engines": [{"url": "http://engine"}]}
    config = parse_config({"redis": {"url": "redis://nowhere"}, "pools": [pool]}, {})
    metrics = MetricsInstrument()
    own = set(re.findall(r"^# TYPE (\S+) (\w+)$", metrics.render().decode(), flags=re.MULTILINE))
    share(config, MemoryKeyStore(), LogLimits(), Seen(ManualClock(), logging.getLogger("test"), metrics))
    all_of_them = set(re.findall(r"^# TYPE (\S+) (\w+)$", metrics.render().decode(), flags=re.MULTILINE))
    documented = {(cells[0].strip("`"), cells[1]) for cells in rows(read("gateways.md"), "## What can be seen")}

    assert documented == all_of_them - own


def test_every_withheld_field_is_documented() -> None:
    """What the gateway takes out of requests is no secret."""
    text = read("protocol.md")

    assert [name for name in WITHHELD if f"`{name}`" not in text] == []


def test_every_endpoint_is_documented(emulator: Emulators, gateway: Gateways) -> None:
    """The table of endpoints is what a running gateway describes, and nothing else."""
    served = gateway([emulator()], env={"ANDANTE_AUTH__ADMIN_KEY": "an-admin-key-for-a-test"})
    paths = httpx2.get(f"{served.url}/openapi.json", trust_env=False, verify=False).json()["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    cells = (cells[0] for cells in rows(read("protocol.md"), "## Endpoints"))
    documented = {tuple(code.split()) for cell in cells for code in INLINE.findall(cell)}

    assert documented == described | UNDESCRIBED


# ---- pages


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    """Links to files, to headings, and paths of this repository in the text."""
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in {slug(heading) for heading in HEADING.findall(file.read_text(encoding="utf-8"))}, target
    assert [path for path in OURS.findall(text) if not any(ROOT.glob(path.rstrip("/")))] == []


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    """Whoever starts there can get anywhere."""
    text = README.read_text(encoding="utf-8")
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in LINK.findall(text)}

    assert len(text.splitlines()) <= MAX_README_LINES
    assert [name_of(page) for page in PAGES if page != README and page not in linked] == []
