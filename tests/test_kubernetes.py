"""The manifests: they are good YAML, fit together, and their configuration and probes are the program's own."""

import sys
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # no stubs wanted for one call

from gateway.observability.metrics import MetricsInstrument
from tests.support.processes import ROOT, running

FOLDER = ROOT / "deploy" / "kubernetes"


def manifests() -> dict[tuple[str, str], dict[str, Any]]:
    """Every object by kind and name."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yaml"))]
    found = [each for text in texts for each in yaml.safe_load_all(text)]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def test_the_configuration_is_good(tmp_path: Path) -> None:
    file = tmp_path / "andante.toml"
    file.write_text(manifests()["ConfigMap", "andante"]["data"]["andante.toml"], encoding="utf-8")
    with running([sys.executable, "-m", "gateway", "check-config", str(file)]) as process:
        assert process.wait(20.0) == 0, process.output()


def test_probes_ask_for_what_is_there() -> None:
    container = manifests()["Deployment", "andante"]["spec"]["template"]["spec"]["containers"][0]
    paths = {container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")}
    source = (ROOT / "gateway" / "api" / "health.py").read_text(encoding="utf-8")
    assert all(f'"{path}"' in source for path in paths)


def test_what_is_scaled_and_by_what_exists() -> None:
    objects = manifests()
    scalers = [each["spec"] for (kind, _), each in objects.items() if kind == "HorizontalPodAutoscaler"]
    targets = {(each["scaleTargetRef"]["kind"], each["scaleTargetRef"]["name"]) for each in scalers}
    assert targets == {("Deployment", "andante"), ("StatefulSet", "engine")}
    rendered = MetricsInstrument().render().decode()
    names = [m["external"]["metric"]["name"] for each in scalers for m in each["metrics"] if m["type"] == "External"]
    assert names
    assert all(f"# TYPE {name} gauge" in rendered for name in names)
    engines = objects["ConfigMap", "andante"]["data"]["andante.toml"].count("[[pools.engines]]")
    assert engines == next(each["maxReplicas"] for each in scalers if each["scaleTargetRef"]["name"] == "engine")


def test_nothing_runs_as_root_or_writes_beside_its_volumes() -> None:
    for (kind, name), each in manifests().items():
        if kind in {"Deployment", "StatefulSet"}:
            pod = each["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"], name
            assert all(c["securityContext"]["readOnlyRootFilesystem"] for c in pod["containers"]), name


def test_redis_asks_for_a_password_and_evicts_nothing() -> None:
    """The gateways' password is the same secret's, and it is in no file."""
    objects = manifests()
    (redis,) = objects["StatefulSet", "andante-redis"]["spec"]["template"]["spec"]["containers"]
    (gateway,) = objects["Deployment", "andante"]["spec"]["template"]["spec"]["containers"]
    assert {"--requirepass", "--maxmemory", "noeviction"} <= set(redis["args"])
    secrets = [each["valueFrom"]["secretKeyRef"] for c in (redis, gateway) for each in c["env"] if "valueFrom" in each]
    assert secrets == [{"name": "andante-redis", "key": "password"}] * 2
