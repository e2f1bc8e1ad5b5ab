"""The container files, run as they stand but without containers.

What a container would give (names, fixed ports, a volume) is replaced through the variables that docker-compose.yml
itself offers, and through nothing else: commands and health checks are run word for word.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
import yaml  # type: ignore[import-untyped]  # no stubs wanted for a few calls

from tests.support import programs
from tests.support.compose import Service, arguments, instructions, services, variables
from tests.support.ports import unused_port
from tests.support.processes import ROOT, Process, running
from tests.support.servers import Emulators, secret_in
from tests.support.waiting import wait_until

COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
START_S = 30.0


def container(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment inside a container: the service's own, and a PATH on which `andante` is."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}:/usr/sbin",
        "HOME": os.environ.get("HOME", "/"),
        **environment,
    }


def start(command: list[str], environment: Mapping[str, str]) -> Process:
    """Run a service's command word for word, with nothing of the caller's environment."""
    program = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in container(environment).items())]
    return Process([*program, *command])


def healthy(check: list[str], environment: Mapping[str, str]) -> bool:
    """Whether a health check, run word for word, says yes."""
    done = subprocess.run(check, env=container(environment), cwd=ROOT, timeout=10, capture_output=True, check=False)
    return done.returncode == 0


def wait_healthy(process: Process, check: list[str], environment: Mapping[str, str]) -> None:
    """What Compose does before it starts the next service."""
    wait_until(lambda: healthy(check, environment) or not process.alive(), START_S, what=f"healthy: {check}")
    assert process.alive(), process.output()


def chat(url: str, key: str) -> str:
    """A whole answer through a gateway."""
    call = {"model": "andante-emulated", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 10}
    headers = {"authorization": f"Bearer {key}"}
    reply = httpx2.post(f"{url}/v1/chat/completions", json=call, headers=headers, timeout=30.0, trust_env=False)
    assert reply.status_code == httpx2.codes.OK, reply.text
    content: str = reply.json()["choices"][0]["message"]["content"]
    return content


@pytest.fixture
def host(tmp_path: Path) -> dict[str, str]:
    """What makes the Compose file run on this host: the variables that it offers."""
    names = ("PORT", "REDIS_PORT", "GATEWAY_1_PORT", "GATEWAY_2_PORT", "ENGINE_1_PORT", "ENGINE_2_PORT")
    ports = {name: str(unused_port()) for name in names}
    hosts = dict.fromkeys(("BIND", "REDIS_HOST", "GATEWAY_1_HOST", "GATEWAY_2_HOST"), "127.0.0.1")
    engines = " ".join(f"http://127.0.0.1:{ports[name]}" for name in names if name.startswith("ENGINE"))
    files = {"STORE_1": "one.db", "STORE_2": "two.db"}
    paths = {name: str(tmp_path / file) for name, file in files.items()}
    balancer = {"BALANCER_FILE": str(ROOT / "deploy" / "haproxy.cfg")}
    return {**ports, **hosts, **paths, **balancer, "ENGINES": engines, "REDIS_DIR": str(tmp_path)}


@pytest.fixture
def up(host: dict[str, str]) -> Iterator[dict[str, Service]]:
    """All services that start by default, in their order, each healthy before the next."""
    for program in ("redis-server", "redis-cli", "haproxy", "wget"):
        programs.require(program)
    with ExitStack() as stack:
        found = services(COMPOSE, host)
        for service in found.values():
            process = start(service.command, service.environment)
            stack.callback(process.stop)
            wait_healthy(process, service.health, service.environment)
        yield found


def podman_that(folder: Path, *lines: str) -> Path:
    """A program in podman's place, which says its version; podman-compose pulls by itself from 5.6 on."""
    podman = folder / "podman"
    text = ["#!/bin/sh", *lines, '[ "$1" != --version ] || echo podman version 5.7.0', ""]
    podman.write_text("\n".join(text), encoding="utf-8")
    podman.chmod(0o755)
    return podman


def compose_command(podman: Path, *flags: str) -> list[str]:
    """podman-compose for our file, with a podman of one's own."""
    return [sys.executable, "-m", "podman_compose", "--podman-path", str(podman), *flags, "-f", str(COMPOSE)]


def test_compose_serves_a_chat(up: dict[str, Service], host: dict[str, str]) -> None:
    """Every command starts, every health check passes, the file's own line makes a key, and the key gets answers, by
    way of the balancer, from both gateways."""
    line = re.search(r"docker compose exec gateway-1 (.+)", COMPOSE.read_text(encoding="utf-8"))
    assert line is not None
    environment = container(up["gateway-1"].environment)

    made = subprocess.run(
        line[1].split(), env=environment, cwd=ROOT, timeout=30, capture_output=True, text=True, check=False
    )

    assert made.returncode == 0, made.stderr
    key = secret_in(made.stdout)
    wait_until(lambda: known(f"http://127.0.0.1:{host['GATEWAY_2_PORT']}", key), 10.0, what="the key is known there")
    for port in ("PORT", "PORT", "GATEWAY_1_PORT", "GATEWAY_2_PORT"):
        assert chat(f"http://127.0.0.1:{host[port]}", key)


def known(url: str, key: str) -> bool:
    """Whether a gateway knows the key."""
    headers = {"authorization": f"Bearer {key}"}
    return httpx2.get(f"{url}/v1/models", headers=headers, trust_env=False).status_code == httpx2.codes.OK


def test_a_health_check_fails_where_nothing_runs(host: dict[str, str]) -> None:
    """A check that cannot fail would be worth nothing."""
    for service in services(COMPOSE, host).values():
        assert not healthy(service.health, service.environment), service.name


def test_compose_without_variables_fits_together() -> None:
    """With the defaults, everything is found by service name and port, and what is kept lies on a volume."""
    found = services(COMPOSE, {})
    port_of = {name: found[name].command[found[name].command.index("--port") + 1] for name in ("engine-1", "engine-2")}
    assert set(found) == {"redis", "engine-1", "engine-2", "gateway-1", "gateway-2", "balancer"}
    for name, volume in (("gateway-1", "gateway-1"), ("gateway-2", "gateway-2")):
        environment = found[name].environment
        assert environment["ANDANTE_ENGINES"].split() == [f"http://{each}:{port}" for each, port in port_of.items()]
        assert environment["ANDANTE_REDIS__URL"] == "redis://:andante@redis:6379"
        assert environment["ANDANTE_STORE__PATH"].startswith("/data/")
        assert found[name].volumes == [f"{volume}:/data"]
        address = f"{name}:{environment['ANDANTE_SERVER__PORT']}"
        assert address in found["balancer"].environment.values()
    assert {"--appendonly", "--maxmemory", "noeviction"} <= set(found["redis"].command)
    assert found["redis"].volumes == ["redis:/data"]


def test_one_build_serves_all_that_is_ours(tmp_path: Path) -> None:
    """`up --build`, by podman-compose with a podman that only writes down what it is told.

    The image is built once, before the first container is made, and nobody asks a registry for it.
    """
    told = tmp_path / "told"
    podman = podman_that(tmp_path, f'echo "$*" >>{told}', '[ "$1" != ps ] || echo "[]"')
    command = [*compose_command(podman), "up", "--build", "--detach"]
    done = subprocess.run(command, cwd=ROOT, timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    calls = [line.split() for line in told.read_text(encoding="utf-8").splitlines()]

    verbs = [call[0] for call in calls]
    assert [call[call.index("-t") + 1] for call in calls if call[0] == "build"] == ["andante"]
    assert verbs.index("build") < verbs.index("create")
    assert {call[-1].partition(":")[0] for call in calls if call[0] == "pull"} == {"redis", "haproxy"}
    never_pulled = {call[1].split("_")[-2] for call in calls if call[0] == "create" and "--pull=never" in call}
    assert never_pulled == {"engine-1", "engine-2", "gateway-1", "gateway-2"}


def test_what_runs_is_not_root_and_writes_nowhere_else() -> None:
    """All that is ours and what it needs: read-only, without capabilities; images of others name a user."""
    decoded = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    for name, fields in decoded.items():
        if "profiles" not in fields:
            assert fields["read_only"], name
            assert fields["cap_drop"] == ["ALL"], name
            assert fields["image"] == "andante" or fields["user"] != "root", name


@pytest.mark.parametrize("profile", [None, "gpu", "cpu"])
def test_a_compose_implementation_takes_the_file(profile: str | None, tmp_path: Path) -> None:
    """podman-compose reads it, resolves it, and finds the services. It asks for podman's version, and gets one."""
    flags = () if profile is None else ("--profile", profile)
    command = compose_command(podman_that(tmp_path), *flags)
    done = subprocess.run([*command, "config"], cwd=ROOT, timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resolved = yaml.safe_load(done.stdout[done.stdout.index("services:") :])
    assert {"redis", "gateway-1", "gateway-2", "balancer"} <= resolved["services"].keys()
    extra = {None: set(), "gpu": {"vllm"}, "cpu": {"llamacpp"}}[profile]
    assert extra <= resolved["services"].keys()


def test_the_image_s_own_command_serves(emulator: Emulators, tmp_path: Path) -> None:
    """CMD and HEALTHCHECK of the Dockerfile, with its ENV but for port and store."""
    steps = dict(instructions(DOCKERFILE))
    flags, _, check = steps["HEALTHCHECK"].partition("CMD ")
    port = str(unused_port())
    own = {"ANDANTE_SERVER__HOST": "127.0.0.1", "ANDANTE_SERVER__PORT": port}
    own |= {"ANDANTE_STORE__PATH": str(tmp_path / "andante.db"), "ANDANTE_ENGINES": emulator().url}
    environment = {**variables(steps["ENV"]), **own}

    process = start(arguments(steps["CMD"]), environment)
    try:
        wait_healthy(process, arguments(check), environment)
    finally:
        process.stop()

    assert "--start-period" in flags
    assert process.wait() == 0


def test_the_image_is_built_from_what_is_there() -> None:
    """What COPY names exists and is let through by .dockerignore; the program does not run as root."""
    steps = list(instructions(DOCKERFILE))
    let_through = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [source for name, rest in steps if name == "COPY" for source in rest.split()[:-1]]

    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert [source for source in copied if f"!{source}" not in let_through] == []
    names = [name for name, _ in steps]
    assert names.index("USER") < names.index("CMD")
    assert dict(steps)["USER"] != "root"


def test_the_configuration_of_the_image_is_good() -> None:
    """`andante check-config` says so."""
    command = [sys.executable, "-m", "gateway", "check-config", "deploy/andante.toml"]
    with running(command) as process:
        assert process.wait(20.0) == 0, process.output()
