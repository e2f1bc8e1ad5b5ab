"""Examples in the documentation are what they say: configurations load, shell and Python parse."""

import shlex
import subprocess
import tomllib

from gateway.cli import _parser
from gateway.config import parse_config
from tests.docs.pages import FENCE, PAGES, Example, cases, examples


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
