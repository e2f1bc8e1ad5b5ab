"""The configuration: read once, every mistake named by its key, frozen."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.cli import main
from gateway.config import load_config, parse_config
from gateway.errors import ConfigError

ENGINE = {"url": "http://127.0.0.1:9001"}


def raw(**sections: Any) -> dict[str, Any]:
    """The smallest configuration, with sections added."""
    return {"pools": [{"model": "m", "engines": [ENGINE]}], **sections}


def test_defaults_are_filled_in() -> None:
    """One pool with one engine is a whole configuration."""
    config = parse_config(raw(), {})

    assert (config.server.port, config.auth.required, config.pools[0].policy) == (8080, True, "fair_qoe")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"server": {"port": 70_000}}, "server.port"),
        ({"server": {"prot": 1}}, "server.prot"),
        ({"server": {"host": ""}}, "server.host"),
        ({"server": {"host": " "}}, "server.host"),
        ({"pools": []}, "pools"),
        ({"pools": [{"model": "m", "engines": []}]}, "pools.0.engines"),
        ({"pools": [{"model": "m", "engines": [{"url": "ftp://x"}]}]}, "pools.0.engines.0.url"),
        ({"pools": [{"model": "m", "policy": "lottery", "engines": [ENGINE]}]}, "pools.0.policy"),
        ({"pools": [{"model": "m", "pace": "sprint", "engines": [ENGINE]}]}, "pools.0.pace"),
        ({"pools": [{"model": "m", "engines": [ENGINE, ENGINE]}]}, "same url"),
        ({"pools": [{"model": "m", "engines": [ENGINE, {"url": "http://b", "id": "engine-1"}]}]}, "same id"),
        ({"pools": [{"model": "m", "engines": [ENGINE]}] * 2}, "same model"),
        ({"auth": {"admin_key": "short"}}, "auth.admin_key"),
        ({"redis": {"ttl_s": 0.5}}, "redis.ttl_s"),
        ({"redis": {"ttl_s": 1.5}}, "timeout_s must be at most half"),
    ],
)
def test_a_mistake_is_named_by_its_key(changes: dict[str, Any], key: str) -> None:
    """The message says where to look."""
    with pytest.raises(ConfigError, match=key):
        parse_config({**raw(), **changes}, {})


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1",
        "http://a:99999",
        "http://a:0",
        "http://a:x",
        "http://:80",
        "http://user@",
        "http://a..b",
        "http://a/b c",
        "http://a?x=1",
        "http://a/v1#x",
        "http:///v1",
        "http://[v1.x]",
        "http://[::1]x",
        "http://a\x01b",
        "http://\u2603.example",
    ],
)
def test_a_url_that_cannot_be_called_is_one_line(url: str) -> None:
    """Named by its key; what follows from it, a list without a good entry, is not told as a mistake of its own."""
    with pytest.raises(ConfigError) as caught:
        parse_config(raw(pools=[{"model": "m", "engines": [{"url": url}]}]), {})

    assert caught.value.message.startswith("configuration: pools.0.engines.0.url: ")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "url", ["http://[::1]:8000", "https://a.example/base/v1/", "http://user:pw@a", "http://a_b:80"]
)
def test_a_url_that_can_be_called_stays_as_written(url: str) -> None:
    """An address in brackets, a path before /v1, a name with an underscore."""
    config = parse_config(raw(pools=[{"model": "m", "engines": [{"url": url}]}]), {})

    assert config.pools[0].engines[0].url == url


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("http://a/", True),
        ("http://a/v1", True),
        ("http://a/v1/", True),
        ("http://A:80", True),
        ("https://a", False),
        ("http://a:81", False),
        ("http://a/b", False),
        ("http://b", False),
    ],
)
def test_one_engine_counts_once_however_it_is_written(other: str, same: bool) -> None:
    """`http://a` and another way to write it, or another engine."""
    pools = [{"model": "m", "engines": [{"url": "http://a"}, {"url": other}]}]

    if same:
        with pytest.raises(ConfigError, match="same url"):
            parse_config(raw(pools=pools), {})
    else:
        assert len(parse_config(raw(pools=pools), {}).pools[0].engines) == 2


def test_every_mistake_has_a_line_of_its_own() -> None:
    """A list that is short by itself is told; one that is short by its bad entries is not."""
    pools = [
        {"model": "m", "engines": []},
        {"model": "n", "engines": [{"url": "ftp://a"}, {"url": "http://b", "x": 1}]},
    ]
    with pytest.raises(ConfigError) as caught:
        parse_config(raw(pools=pools), {}, source="file")

    keys = [line.split(": ")[1] for line in caught.value.message.splitlines()]
    assert keys == ["pools.0.engines", "pools.1.engines.0.url", "pools.1.engines.1.x"]


def test_a_flag_wins_over_all_and_is_checked_as_all() -> None:
    """The message names the flag and the key; other mistakes keep their source."""
    environ = {"ANDANTE_SERVER__PORT": "3"}

    assert parse_config(raw(server={"port": 1}), environ, flags={"port": 2}).server.port == 2
    assert parse_config(raw(), {}, flags={"host": "::1"}).server.host == "::1"
    with pytest.raises(ConfigError) as caught:
        parse_config(raw(server={"host": "", "port": 1}), environ, flags={"port": 99_999})
    lines = caught.value.message.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["configuration", "--port"]
    assert "server.port" in lines[1]
    with pytest.raises(ConfigError, match="server"):
        parse_config(raw(server=3), {}, flags={"port": 1})


def test_the_environment_overrides_the_file() -> None:
    """Sections, entries of lists, and the engines of a container."""
    environ = {
        "ANDANTE_SERVER__PORT": "1234",
        "ANDANTE_SERVER__CORS_ORIGINS": "http://a http://b",
        "ANDANTE_POOLS__0__MODEL": "other",
        "ANDANTE_ENGINES": "http://one:1 http://two:2",
        "HOME": "/nowhere",
    }

    config = parse_config(raw(server={"port": 1}), environ)

    assert (config.server.port, config.server.cors_origins) == (1234, ("http://a", "http://b"))
    assert config.pools[0].model == "other"
    assert [engine.url for engine in config.pools[0].engines] == ["http://one:1", "http://two:2"]


@pytest.mark.parametrize("name", ["ANDANTE_SERVER_PORT", "ANDANTE_NOTHING__X", "ANDANTE_POOLS__7__MODEL"])
def test_a_variable_that_overrides_nothing_is_refused(name: str) -> None:
    """A misspelt variable is not silently without effect."""
    with pytest.raises(ConfigError, match=name):
        parse_config(raw(), {name: "1"})


def test_the_admin_key_is_not_shown() -> None:
    """Neither the configuration's repr nor an error about it holds the secret."""
    assert "secret-secret-secret" not in repr(parse_config(raw(auth={"admin_key": "secret-secret-secret"}), {}))
    with pytest.raises(ConfigError) as caught:
        parse_config(raw(auth={"admin_key": "s3cret"}), {})
    assert "s3cret" not in caught.value.message


def test_it_is_frozen() -> None:
    """Nothing changes a configuration after the start."""
    config = parse_config(raw(), {})

    with pytest.raises(ValidationError):
        setattr(config.server, "port", 1)  # noqa: B010 - a type checker would not let it pass


def test_check_config_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 and the key for a bad file, 0 for a good one, and no traceback for none or nonsense."""
    file = tmp_path / "andante.toml"
    assert main(["check-config", str(file)]) == 2
    file.write_text("= nonsense")
    assert main(["check-config", str(file)]) == 2
    file.write_text('[server]\nport = "x"\n[[pools]]\nmodel = "m"\nengines = [{ url = "http://e" }]\n')
    assert main(["check-config", str(file)]) == 2
    assert "server.port" in capsys.readouterr().err
    file.write_text('[[pools]]\nmodel = "m"\nengines = [{ url = "http://e" }]\n')
    assert main(["check-config", str(file)]) == 0
    assert load_config(file, {}).pools[0].model == "m"
