"""One TOML file, environment overrides, checked once and frozen.

`ANDANTE_SERVER__PORT=8081` overrides `port` in `[server]`: the prefix, then the path with two underscores between its
parts, a number for an entry of a list (`ANDANTE_POOLS__0__MODEL`). `ANDANTE_ENGINES`, URLs with spaces between them,
replaces the engines of the first pool, which is what a container needs.
"""

import copy
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv6Address
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from gateway.core.pace import pace_from_spec
from gateway.core.policies import DEFAULT_POLICY, POLICIES, find_policy
from gateway.engines.base import REASONING_END
from gateway.errors import ConfigError, InvalidRequest

PREFIX: Final = "ANDANTE_"
ENGINES_VARIABLE: Final = "ANDANTE_ENGINES"
# Variables that belong to the command line or the scripts, not to the file.
OTHER_VARIABLES: Final = frozenset({"ANDANTE_VLLM_VENV", ENGINES_VARIABLE})

NO_FLAGS: Final[Mapping[str, Any]] = MappingProxyType({})


def _usable(url: str) -> str:
    """The URL, when an engine can be asked there; ValueError says what is wrong with it."""
    if not (url.isascii() and url.isprintable()):
        raise ValueError("a URL is of printable ASCII; names in other scripts begin with xn--")
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("the URL names no host")
    address, bracket, after = parts.netloc.rpartition("@")[2].partition("]")
    if bracket:
        IPv6Address(address.removeprefix("["))  # raises what we raise
        if after and not after.startswith(":"):
            raise ValueError(f"a colon and a port may follow the address, not {after!r}")
    parts.hostname.encode("idna")  # as every look-up of the name will
    if parts.port == 0:
        raise ValueError("port 0 cannot be called")
    if parts.query or parts.fragment:
        raise ValueError("an engine's URL has no query and no fragment")
    return url


def _same_engine(url: str) -> tuple[str, str, int, str]:
    """What two URLs of one engine have in common, however they are written."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, parts.hostname or "", port, parts.path.rstrip("/").removesuffix("/v1").rstrip("/")


Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]\S*$"), AfterValidator(_usable)]
RedisUrl = Annotated[str, StringConstraints(pattern=r"^(rediss?|unix)://\S+$")]
Host = Annotated[str, StringConstraints(min_length=1, pattern=r"^\S+$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^\S+$")]
Kind = Literal["vllm", "openai", "sglang", "tgi", "llamacpp"]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Server(Section):
    """Where to listen and what to accept. Sizes in bytes, times in seconds."""

    host: Host = "127.0.0.1"
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


class Streams(Section):
    """Resumable streams: where their logs are kept (":memory:", or a file), for how long (s) and how large (bytes)."""

    path: str = ":memory:"
    window_s: float = Field(60.0, gt=0)
    max_bytes: int = Field(4 << 20, ge=1024)
    max_streams: int = Field(10_000, ge=1)


class Redis(Section):
    """What several gateways share. Without `url` a gateway is alone. Times in seconds: `timeout_s` of one operation,
    `ttl_s` after which a silent gateway counts as dead."""

    url: RedisUrl | None = Field(None, repr=False)  # it may hold a password
    prefix: str = Field("andante", pattern=r"^[A-Za-z0-9._-]{1,50}$")
    timeout_s: float = Field(1.0, gt=0)
    ttl_s: float = Field(3.0, ge=1.0)
    connections: int = Field(16, ge=2)

    @model_validator(mode="after")
    def _can_beat_in_time(self) -> "Redis":
        if self.timeout_s > self.ttl_s / 2:
            raise ValueError("timeout_s must be at most half of ttl_s: else one slow answer may count as death")
        return self


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
    """One engine: `EngineSettings`, and `kind` one of those that are known."""

    url: Url
    kind: Kind = "vllm"
    id: Name | None = None
    served_model: str | None = None
    api_key: str | None = Field(None, repr=False)
    max_running: int = Field(128, ge=1)
    kv_tokens: int | None = Field(None, ge=1)
    priority: bool = False
    reasoning_end: str = Field(REASONING_END, min_length=1)


class Pool(Section):
    """The engines that serve one model, and how their work is shared out."""

    model: Name
    policy: str = DEFAULT_POLICY
    slack_s: float = Field(1.0, ge=0)
    pace: str | dict[str, Any] = "machine"
    context_tokens: int | None = Field(None, ge=1)
    assumed_output_tokens: int = Field(512, ge=1)
    attempts: int = Field(3, ge=1)
    first_token_timeout_s: float = Field(300.0, gt=0)
    stall_timeout_s: float = Field(60.0, gt=0)
    answer_timeout_s: float = Field(900.0, gt=0)
    failover_wait_s: float = Field(15.0, ge=0)
    probe_interval_s: float = Field(1.0, gt=0)
    queue: Queue = Queue()
    engines: tuple[EngineConfig, ...] = Field(min_length=1)

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, value: str) -> str:
        try:
            find_policy(value)
        except KeyError:
            known = ", ".join([*sorted(POLICIES), "rpm(N)"])
            raise ValueError(f"unknown policy {value!r}; known: {known}") from None
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
        if len({_same_engine(engine.url) for engine in self.engines}) != len(self.engines):
            raise ValueError("two engines have the same url")
        ids = [engine.id or f"engine-{number}" for number, engine in enumerate(self.engines, start=1)]
        if len(set(ids)) != len(ids):
            raise ValueError(f"two engines have the same id; the ids are {', '.join(ids)}")
        return self


class Config(Section):
    """The whole configuration."""

    server: Server = Server()
    store: Store = Store()
    auth: Auth = Auth()
    streams: Streams = Streams()
    redis: Redis = Redis()
    pools: tuple[Pool, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct_models(self) -> "Config":
        models = [pool.model for pool in self.pools]
        if len(set(models)) != len(models):
            raise ValueError("two pools serve the same model")
        return self


def load_config(path: Path, environ: Mapping[str, str] = os.environ, *, flags: Mapping[str, Any] = NO_FLAGS) -> Config:
    """Read the file, apply the environment and the flags, check. ConfigError names the file and the key."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    return parse_config(raw, environ, source=str(path), flags=flags)


def parse_config(
    raw: dict[str, Any],
    environ: Mapping[str, str],
    *,
    source: str = "configuration",
    flags: Mapping[str, Any] = NO_FLAGS,
) -> Config:
    """Check a decoded configuration. ConfigError lists every bad key.

    `flags` are keys of [server] that the command line sets, each by a flag of the same name: they win over all else.
    """
    merged = _with_environment(raw, environ)
    if flags and isinstance(server := merged.setdefault("server", {}), dict):
        server.update(flags)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("\n".join(_complaints(error, source, flags))) from error


def _complaints(error: ValidationError, source: str, flags: Mapping[str, Any]) -> Iterator[str]:
    """One line for each mistake, with where it was made."""
    found = error.errors(include_input=False, include_url=False)
    for item in found:
        at = item["loc"]
        # A list that lost its bad entries counts as too short: the entries' own errors say it all.
        deeper = any(len(other["loc"]) > len(at) and other["loc"][: len(at)] == at for other in found)
        if item["type"] == "too_short" and deeper:
            continue
        by_flag = len(at) == 2 and at[0] == "server" and at[1] in flags
        yield f"{f'--{at[1]}' if by_flag else source}: {_dotted(at)}: {item['msg']}"


def _with_environment(raw: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    merged = copy.deepcopy(raw)
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX) and name not in OTHER_VARIABLES:
            path = name.removeprefix(PREFIX).lower().split("__")
            if path[0] not in Config.model_fields or len(path) < 2:
                raise ConfigError(f"{name}: no such setting; the form is {PREFIX}SERVER__PORT")
            _put(merged, path, value.split() if path[-1] == "cors_origins" else value, name)
    pools = merged.get("pools")
    if ENGINES_VARIABLE in environ and isinstance(pools, list) and pools and isinstance(pools[0], dict):
        template = dict((pools[0].get("engines") or [{}])[0])
        template.pop("id", None)
        pools[0]["engines"] = [{**template, "url": url} for url in environ[ENGINES_VARIABLE].split()]
    return merged


def _put(where: Any, path: Sequence[str], value: Any, name: str) -> None:
    """Set one value inside nested tables and lists; ConfigError when the path leads nowhere."""
    *parents, last = path
    for part in parents:
        if isinstance(where, list) and part.isdigit() and int(part) < len(where):
            where = where[int(part)]
        elif isinstance(where, dict):
            where = where.setdefault(part, {})
        else:
            raise ConfigError(f"{name}: the file has no {part!r} to override")
    if not isinstance(where, dict):
        raise ConfigError(f"{name}: cannot set {last!r} there")
    where[last] = value


def _dotted(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "(top level)"
