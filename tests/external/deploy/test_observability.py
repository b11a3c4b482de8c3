"""The profile `observability`: Prometheus's configuration by its own checker, Grafana's by schema, and their names."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.external.deploy import compose
from tests.external.deploy.test_compose import PASSWORD, PORTS
from tests.harness.metrics import RULES
from tests.harness.project import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
MOUNTED = "/message-batches"
DEBIANS = "prometheus"
"""Debian's package with promtool; it is unpacked, not installed."""

# As docs of Grafana 12 have them: administration/provisioning.
DATASOURCES = {
    "type": "object",
    "required": ["apiVersion", "datasources"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": 1},
        "datasources": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "uid", "type", "access", "url"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string"},
                    "uid": {"type": "string", "pattern": "^[a-zA-Z0-9-]{1,40}$"},
                    "type": {"enum": ["prometheus", "jaeger"]},
                    "access": {"const": "proxy"},
                    "url": {"type": "string", "pattern": "^http://"},
                    "isDefault": {"type": "boolean"},
                    "jsonData": {"type": "object"},
                },
            },
        },
    },
}
PROVIDERS = {
    "type": "object",
    "required": ["apiVersion", "providers"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": 1},
        "providers": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "type", "options"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string"},
                    "type": {"const": "file"},
                    "allowUiUpdates": {"type": "boolean"},
                    "options": {
                        "type": "object",
                        "required": ["path"],
                        "additionalProperties": False,
                        "properties": {"path": {"type": "string"}},
                    },
                },
            },
        },
    },
}


@pytest.fixture(scope="module")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return Prometheus's own checker: this machine's, or else that of Debian's package."""
    if found := shutil.which("promtool"):
        return found
    folder = tmp_path_factory.mktemp("prometheus")
    if shutil.which("apt-get"):
        subprocess.run(["apt-get", "download", "--quiet=2", DEBIANS], cwd=folder, capture_output=True)
    packages = list(folder.glob("*.deb"))
    if not packages:
        pytest.skip("NOT RUN: no promtool; on Debian: apt-get update, or apt-get install prometheus")
    subprocess.run(["dpkg", "-x", packages[0], folder], check=True)
    return str(folder / "usr/bin/promtool")


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = compose.project(PASSWORD)["services"]
    return found


def check(promtool: str, config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool, "check", "config", str(config)], capture_output=True, text=True)


def provisioned(kind: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((GRAFANA / "provisioning" / kind / "message-batches.yml").read_text())
    return read


def test_prometheus_accepts_its_configuration_with_all_alerts(promtool: str) -> None:
    done = check(promtool, PROMETHEUS / "prometheus.yml")

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(RULES)} rules found" in done.stdout


def test_prometheus_notices_a_misspelled_field_and_a_bad_expression(promtool: str, tmp_path: Path) -> None:
    for name, old, new in (
        ("prometheus.yml", "dns_sd_configs", "dns_sd_config"),
        ("alerts.yml", "increase(", "increases("),
    ):
        folder = tmp_path / name.partition(".")[0]
        shutil.copytree(PROMETHEUS, folder)
        wrong = folder / name
        wrong.write_text(wrong.read_text().replace(old, new, 1))

        assert check(promtool, folder / "prometheus.yml").returncode != 0, name


def test_prometheus_scrapes_every_worker_where_it_serves_metrics_under_the_job_of_the_alerts(
    services: dict[str, Any],
) -> None:
    [job] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    [alone] = yaml.safe_load((PROMETHEUS / "scrape.yml").read_text())
    [found] = job["dns_sd_configs"]

    assert found["names"] == ["worker"]
    assert f"--metrics=0.0.0.0:{found['port']}" in compose.words(services["worker"]["command"])
    assert job["job_name"] == alone["job_name"]
    assert any(f'up{{job="{job["job_name"]}"}}' in rule["expr"] for rule in RULES)


def test_prometheus_and_grafana_read_what_is_mounted(services: dict[str, Any]) -> None:
    assert f"--config.file={MOUNTED}/prometheus.yml" in services["prometheus"]["command"]
    assert f"./deploy/prometheus:{MOUNTED}:ro" in services["prometheus"]["volumes"]
    assert f"./deploy/grafana:{MOUNTED}:ro" in services["grafana"]["volumes"]
    assert services["grafana"]["environment"]["GF_PATHS_PROVISIONING"] == f"{MOUNTED}/provisioning"
    [provider] = provisioned("dashboards")["providers"]
    assert provider["options"]["path"] == MOUNTED
    assert [path.name for path in GRAFANA.rglob("*.json")] == ["message-batches.json"]


def test_grafana_s_provisioning_matches_its_schema_and_names_services_that_listen_there() -> None:
    sources = provisioned("datasources")
    jsonschema.validate(sources, DATASOURCES)
    jsonschema.validate(provisioned("dashboards"), PROVIDERS)

    for source in sources["datasources"]:
        service, port = re.fullmatch(r"http://([a-z]+):(\d+)", source["url"]).groups()  # type: ignore[union-attr]
        assert PORTS[service] == port
    assert [source["type"] for source in sources["datasources"] if source.get("isDefault")] == ["prometheus"]


def test_the_dashboard_asks_the_default_prometheus_without_being_told() -> None:
    dashboard = json.loads((GRAFANA / "message-batches.json").read_text())
    [asked] = [each for each in dashboard["templating"]["list"] if each["type"] == "datasource"]

    # Without a current value Grafana takes the default data source of the type.
    assert (asked["query"], asked["current"]) == ("prometheus", {})


def test_the_example_sends_traces_to_jaeger_by_the_protocol_that_we_speak() -> None:
    example = (ROOT / ".env.example").read_text()
    [endpoint] = re.findall(r"^#OTEL_EXPORTER_OTLP_ENDPOINT=(.*)$", example, re.MULTILINE)
    services = compose.project({**PASSWORD, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})["services"]

    # 4318 is OTLP over HTTP, for which the image of Jaeger listens; 4317 is gRPC.
    assert endpoint == "http://jaeger:4318"
    assert services["jaeger"]["environment"]["JAEGER_LISTEN_HOST"] == "0.0.0.0"
    for name in ("worker", "starter"):
        assert services[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == endpoint
    assert "#COMPOSE_PROFILES=observability" in example
