"""Tables of the documentation are complete: configuration, errors, metrics, fields, endpoints."""

import json
import logging
import re
from collections.abc import Iterator
from typing import get_args

import httpx2
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway import errors
from gateway.api.errors import STATUS
from gateway.clock import ManualClock
from gateway.config import Config, parse_config
from gateway.observability.metrics import MetricsInstrument
from gateway.runtime.admission import WITHHELD
from gateway.stores.memory import MemoryKeyStore
from gateway.stores.stream_log import LogLimits
from gateway.wiring_redis import Seen, share
from tests.docs.pages import INLINE, read, rows
from tests.support.processes import ROOT
from tests.support.servers import Emulators, Gateways

UNDESCRIBED = {("GET", path) for path in ("/", "/compare", "/web/{file}", "/docs", "/openapi.json", "/admin/events")}
"""Routes that the OpenAPI description leaves out."""


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
