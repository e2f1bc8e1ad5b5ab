"""One TOML file, environment overrides, checked once and frozen.

`ANDANTE_SERVER__PORT=8081` overrides `port` in `[server]`: the prefix, then the path with two underscores between its
parts. Lists (pools, engines) come from the file only, but for `ANDANTE_ENGINES`, a space-separated list of URLs that
replaces the engines of the first pool, which is what a container needs.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from gateway.core.pace import pace_from_spec
from gateway.core.policies import POLICIES
from gateway.errors import ConfigError, InvalidRequest

PREFIX: Final = "ANDANTE_"
ENGINES_VARIABLE: Final = "ANDANTE_ENGINES"
# Variables that belong to the command line or the scripts, not to the file.
OTHER_VARIABLES: Final = frozenset({"ANDANTE_ADMIN_KEY", "ANDANTE_VLLM_VENV", ENGINES_VARIABLE})

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^\S+$")]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Server(Section):
    """Where to listen and what to accept. Sizes in bytes, times in seconds."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    cors_origins: tuple[str, ...] = ()
    max_body_bytes: int = Field(8 << 20, ge=1024)
    max_messages: int = Field(2048, ge=1)
    keepalive_s: float = Field(15.0, gt=0)
    head_timeout_s: float = Field(10.0, gt=0)
    stalled_client_s: float = Field(120.0, gt=0)
    drain_s: float = Field(30.0, ge=0)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    docs: bool = True


class Store(Section):
    """The embedded database; ":memory:" keeps nothing."""

    path: str = "var/andante.db"


class Auth(Section):
    """`required` false lets every caller in as the tenant "anonymous"; `admin_key` opens /admin (better set by the
    environment: ANDANTE_AUTH__ADMIN_KEY)."""

    required: bool = True
    admin_key: str | None = Field(None, min_length=16, repr=False)


class Queue(Section):
    """The waiting room of a pool."""

    max_jobs: int = Field(1000, ge=1)
    max_jobs_per_tenant: int = Field(250, ge=1)
    timeout_s: float = Field(60.0, gt=0)


class EngineConfig(Section):
    """One engine. `max_running` (sequences) and `kv_tokens` override what the engine tells."""

    url: Url
    kind: Literal["vllm", "openai"] = "vllm"
    id: Name | None = None
    served_model: str | None = None
    api_key: str | None = Field(None, repr=False)
    max_running: int = Field(128, ge=1)
    kv_tokens: int | None = Field(None, ge=1)


class Pool(Section):
    """The engines that serve one model, and how their work is shared out."""

    model: Name
    policy: str = "fcfs"
    pace: str | dict[str, Any] = "machine"
    context_tokens: int | None = Field(None, ge=1)
    assumed_output_tokens: int = Field(512, ge=1)
    attempts: int = Field(3, ge=1)
    first_token_timeout_s: float = Field(300.0, gt=0)
    stall_timeout_s: float = Field(60.0, gt=0)
    answer_timeout_s: float = Field(900.0, gt=0)
    probe_interval_s: float = Field(1.0, gt=0)
    queue: Queue = Queue()
    engines: tuple[EngineConfig, ...] = Field(min_length=1)

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, value: str) -> str:
        if value not in POLICIES:
            raise ValueError(f"unknown policy {value!r}; known: {', '.join(sorted(POLICIES))}")
        return value

    @field_validator("pace")
    @classmethod
    def _good_pace(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        try:
            pace_from_spec(value)
        except InvalidRequest as error:
            raise ValueError(error.message) from error
        return value

    @model_validator(mode="after")
    def _distinct_engines(self) -> "Pool":
        urls = [engine.url for engine in self.engines]
        if len(set(urls)) != len(urls):
            raise ValueError("two engines have the same url")
        return self


class Config(Section):
    """The whole configuration."""

    server: Server = Server()
    store: Store = Store()
    auth: Auth = Auth()
    pools: tuple[Pool, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct_models(self) -> "Config":
        models = [pool.model for pool in self.pools]
        if len(set(models)) != len(models):
            raise ValueError("two pools serve the same model")
        return self


def load_config(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Read the file, apply the environment, check. ConfigError names the file and the key."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    return parse_config(raw, environ, source=str(path))


def parse_config(raw: dict[str, Any], environ: Mapping[str, str], *, source: str = "configuration") -> Config:
    """Check a decoded configuration. ConfigError lists every bad key."""
    merged = _with_environment(raw, environ)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        lines = [f"{_dotted(item['loc'])}: {item['msg']}" for item in error.errors(include_input=False)]
        raise ConfigError("\n".join(f"{source}: {line}" for line in lines)) from error


def _with_environment(raw: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    merged = {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES:
            continue
        section, _, key = name.removeprefix(PREFIX).lower().partition("__")
        if key and isinstance(merged.setdefault(section, {}), dict):
            merged[section][key] = value.split() if key == "cors_origins" else value
    pools = merged.get("pools")
    if ENGINES_VARIABLE in environ and isinstance(pools, list) and pools and isinstance(pools[0], dict):
        template = dict((pools[0].get("engines") or [{}])[0])
        template.pop("id", None)
        engines = [{**template, "url": url} for url in environ[ENGINES_VARIABLE].split()]
        merged["pools"] = [{**pools[0], "engines": engines}, *pools[1:]]
    return merged


def _dotted(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "(top level)"
