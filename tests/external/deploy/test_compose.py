"""docker-compose.yml, checked by the schema of the Compose specification, and for errors beyond a schema."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from message_batches import __version__
from message_batches.settings import Settings, encryption_keys
from tests.external.deploy import compose
from tests.harness.pages import PAGES
from tests.harness.project import ROOT
from worker import GRACEFUL_SHUTDOWN

PASSWORD = {"POSTGRES_PASSWORD": "a-password-of-the-test"}
ENCRYPTED = {
    **PASSWORD,
    "MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE": "./encryption-keys",
    "MESSAGE_BATCHES_CODEC_TOKEN": "t",
}
OURS = {"worker", "starter", "emulator", "codec"}
PORTS = {
    "postgres": "5432",
    "temporal": "7233",
    "temporal-ui": "8080",
    "worker": "8079",
    "emulator": "8080",
    "codec": "8234",
    "prometheus": "9090",
    "grafana": "3000",
    "jaeger": "16686",
}
"""The port in its container of each service that stays up."""


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = compose.project(PASSWORD)["services"]
    return found


def check_schema(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True)


def test_it_matches_the_compose_specification() -> None:
    done = check_schema(compose.FILE)

    assert done.returncode == 0, done.stdout


def test_the_schema_notices_a_misspelled_field(tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(compose.FILE.read_text().replace("healthcheck:", "heathcheck:", 1))

    assert check_schema(wrong).returncode == 1


def test_the_profiles_add_only_services_that_the_others_do_not_need(
    services: dict[str, Any],
) -> None:
    profiles = {name: service.get("profiles", []) for name, service in services.items()}

    assert profiles == {
        "postgres": [],
        "temporal-schema": [],
        "temporal": [],
        "temporal-namespace": [],
        "temporal-ui": [],
        "worker": [],
        "starter": ["cli"],
        "emulator": ["demo"],
        "codec": ["encryption"],
        "prometheus": ["observability"],
        "grafana": ["observability"],
        "jaeger": ["observability"],
    }


def test_every_image_is_pinned_to_a_release(services: dict[str, Any]) -> None:
    for service in services.values():
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z]+)?$", service["image"]), service["image"]
    tags = {service["image"] for service in services.values() if "build" not in service}
    assert {"temporalio/server:1.32.0", "temporalio/admin-tools:1.32.0", "temporalio/ui:2.54.1"} < tags


def test_our_image_is_built_once_and_never_pulled(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "build" in service] == ["worker"]
    assert {name for name, service in services.items() if service.get("pull_policy") == "never"} == OURS - {"worker"}


def test_our_image_carries_the_version_of_the_package(services: dict[str, Any]) -> None:
    assert {services[name]["image"] for name in OURS} == {f"message-batches:{__version__}"}


def test_every_port_is_open_to_this_host_alone(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]

    assert len(ports) == 7
    for port in ports:
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port


def test_every_named_volume_is_declared_and_used(services: dict[str, Any]) -> None:
    sources = [mount.split(":")[0] for service in services.values() for mount in short_mounts(service)]

    assert {name for name in sources if not name.startswith((".", "/"))} == set(compose.project(PASSWORD)["volumes"])
    for folder in sources:
        assert not folder.startswith(".") or (ROOT / folder).is_dir(), folder


def mounts_of(service: dict[str, Any]) -> list[Any]:
    found: list[Any] = service.get("volumes", [])
    return found


def short_mounts(service: dict[str, Any]) -> list[str]:
    return [mount for mount in service.get("volumes", []) if isinstance(mount, str)]


def test_services_wait_only_for_services_with_a_health_check(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for other, wanted in service.get("depends_on", {}).items():
            match wanted["condition"]:
                case "service_healthy":
                    assert "healthcheck" in services[other], f"{name} waits for {other}"
                case "service_completed_successfully":
                    assert services[other]["restart"] == "on-failure:10", f"{name} waits for {other}"
                case condition:
                    pytest.fail(f"{name} waits for {other}: {condition}")


def test_each_service_waits_for_its_dependencies_and_the_starter_for_no_set_up(
    services: dict[str, Any],
) -> None:
    healthy, done = "service_healthy", "service_completed_successfully"
    waits = {
        name: {other: wanted["condition"] for other, wanted in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }

    assert waits == {
        "postgres": {},
        "temporal-schema": {"postgres": healthy},
        "temporal": {"postgres": healthy, "temporal-schema": done},
        "temporal-namespace": {"temporal": healthy},
        "temporal-ui": {"temporal": healthy},
        "worker": {"temporal-namespace": done},
        "starter": {"temporal": healthy},
        "emulator": {},
        "codec": {},
        "prometheus": {},
        "grafana": {},
        "jaeger": {},
    }


def test_every_host_that_an_environment_names_is_a_service_and_listens_there(services: dict[str, Any]) -> None:
    demo = compose.project(compose.env_file(compose.DEMO))["services"]
    named = []
    for service in [*services.values(), *demo.values()]:
        environment = service.get("environment", {})
        for name, value in environment.items():
            if name.endswith(("_ADDRESS", "_BASE_URL")):
                named.append(value.removeprefix("http://"))
        for host, port in [("SQL_HOST", "SQL_PORT"), ("POSTGRES_SEEDS", "DB_PORT")]:
            if host in environment:
                named.append(f"{environment[host]}:{environment[port]}")

    listening = {f"{name}:{port}" for name, port in PORTS.items()}
    assert set(named) - {"https://api.anthropic.com"} == {"postgres:5432", "temporal:7233", "emulator:8080"}
    assert set(named) - {"https://api.anthropic.com"} <= listening


def test_health_checks_and_published_ports_use_the_ports_of_the_services(services: dict[str, Any]) -> None:
    for name, service in services.items():
        test = " ".join(service.get("healthcheck", {}).get("test", []))
        asked = set(re.findall(r"127\.0\.0\.1[: ](\d+)", test))
        # pg_isready uses the port that both have by default.
        assert asked == ({PORTS[name]} if test and name != "postgres" else set()), name
        assert {port.rpartition(":")[2] for port in service.get("ports", [])} <= {PORTS.get(name)}, name
    assert f"--health=127.0.0.1:{PORTS['worker']}" in compose.words(services["worker"]["command"])
    assert f"--port={PORTS['emulator']}" in services["emulator"]["command"]
    assert f"--listen=0.0.0.0:{PORTS['codec']}" in services["codec"]["command"]


def test_long_running_services_are_restarted_and_checked(services: dict[str, Any]) -> None:
    lasting = {name for name, service in services.items() if service["restart"] == "unless-stopped"}

    assert lasting == {*PORTS}
    for name in lasting:
        assert "healthcheck" in services[name], name


def test_services_have_limits_and_no_rights_and_ours_run_without_root_and_write_only_to_mounts(
    services: dict[str, Any],
) -> None:
    for name in OURS:
        service = services[name]
        assert service["user"] == "1000:1000", name
        assert service["read_only"] is True, name
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["pids_limit"], name
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name
        assert not service.get("privileged"), name


def test_the_worker_has_longer_to_stop_than_it_takes(services: dict[str, Any]) -> None:
    assert compose.seconds(services["worker"]["stop_grace_period"]) > GRACEFUL_SHUTDOWN.total_seconds()


def test_the_worker_states_a_limit_of_calls_and_sends_traces_where_these_are_set(services: dict[str, Any]) -> None:
    limited = compose.project({**PASSWORD, "MESSAGE_BATCHES_REQUESTS_PER_MINUTE": "50"})["services"]["worker"]
    traced = compose.project({**PASSWORD, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4318"})["services"]["worker"]
    command = ["/app/worker.py", "--health=127.0.0.1:8079", "--metrics=0.0.0.0:9464"]

    assert compose.words(services["worker"]["command"]) == command
    assert compose.words(limited["command"]) == [*command, "--requests-per-minute=50"]
    assert compose.words(traced["command"]) == [*command, "--otel"]


def test_without_keys_nothing_is_encrypted_and_the_web_ui_uses_no_codec_server(services: dict[str, Any]) -> None:
    for name in ("worker", "starter"):
        assert encryption_keys(services[name]["environment"]) == ()
    assert services["temporal-ui"]["environment"]["TEMPORAL_CODEC_ENDPOINT"] == ""


def test_the_keys_are_read_from_one_file_by_the_services_that_need_them() -> None:
    encrypted = compose.project(ENCRYPTED)["services"]
    mounted = {
        name for name, service in encrypted.items() for mount in mounts_of(service) if "encryption" in str(mount)
    }

    assert mounted == {"worker", "starter", "codec"}
    for name in mounted:
        (mount,) = [mount for mount in mounts_of(encrypted[name]) if "encryption" in str(mount)]
        assert mount["source"] == "./encryption-keys"
        assert mount["read_only"] is True
        assert encrypted[name]["environment"]["MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE"] == mount["target"]
    for name, service in encrypted.items():
        assert ("MESSAGE_BATCHES_CODEC_TOKEN" in service.get("environment", {})) == (name == "codec"), name


def test_the_web_ui_calls_the_codec_server_from_a_page_that_it_admits_and_by_the_same_host() -> None:
    encrypted = compose.project({**ENCRYPTED, "TEMPORAL_UI_PORT": "9001", "CODEC_PORT": "9002"})["services"]
    ui = encrypted["temporal-ui"]["environment"]

    assert ui["TEMPORAL_CODEC_ENDPOINT"] == "http://localhost:9002"
    assert ui["TEMPORAL_CODEC_INCLUDE_CREDENTIALS"] == "true"
    assert encrypted["codec"]["ports"] == ["127.0.0.1:9002:8234"]
    assert "--ui-origin=http://localhost:9001" in encrypted["codec"]["command"]
    assert "--encode" not in encrypted["codec"]["command"]
    assert "http://localhost:9001" in ui["TEMPORAL_CORS_ORIGINS"]


def settings_of(service: dict[str, Any], **variables: str) -> Settings:
    """What a service of ours reads from its environment, with folders of this machine."""
    environment = {**service["environment"], "MESSAGE_BATCHES_SCRATCH": "/", **variables}
    return Settings.from_environment(environment, calls_api=False)


def test_a_report_links_to_the_web_ui_at_its_port_of_the_host() -> None:
    services = compose.project({**ENCRYPTED, "TEMPORAL_UI_PORT": "9001"})["services"]
    settings = settings_of(services["starter"])

    assert settings.ui_url == "http://localhost:9001"
    assert services["temporal-ui"]["ports"] == ["127.0.0.1:9001:8080"]


def test_webhooks_to_other_networks_are_allowed_by_a_setting() -> None:
    for given, networks in (("", 0), ("10.1.0.0/16, 127.0.0.1", 2)):
        worker = compose.project({**ENCRYPTED, "MESSAGE_BATCHES_WEBHOOKS_ALLOW": given})["services"]["worker"]
        assert len(settings_of(worker, MESSAGE_BATCHES_SECRETS="").webhooks.allowed) == networks


def test_finished_runs_are_kept_for_thirty_days(services: dict[str, Any]) -> None:
    assert services["temporal-namespace"]["environment"]["RETENTION_HOURS"] == str(30 * 24)


def test_a_missing_password_is_asked_for_by_name() -> None:
    with pytest.raises(compose.MissingVariable, match=r"POSTGRES_PASSWORD: set it in \.env"):
        compose.project({})


def test_every_variable_is_one_that_the_example_or_the_demo_explains() -> None:
    asked = set(re.findall(r"\$\{(\w+)", compose.FILE.read_text()))
    explained = (ROOT / ".env.example").read_text() + compose.DEMO.read_text()

    assert {name for name in asked if name not in explained} == set()


def test_no_secret_is_in_the_file_or_given_to_a_service_that_does_not_need_it(
    services: dict[str, Any],
) -> None:
    assert "sk-ant-" not in compose.FILE.read_text()
    for name, service in services.items():
        environment = service.get("environment", {})
        assert not any(variable.startswith("ANTHROPIC_API_KEY") for variable in environment), name
        knows = PASSWORD["POSTGRES_PASSWORD"] in environment.values()
        assert knows == (name in {"postgres", "temporal-schema", "temporal"}), name


def test_the_worker_calls_the_real_api_and_in_the_demo_the_emulator() -> None:
    demo = {**compose.env_file(compose.DEMO)}
    secrets = ROOT / demo["MESSAGE_BATCHES_KEYS"]

    def settings(variables: dict[str, str]) -> Settings:
        environment = compose.project(variables)["services"]["worker"]["environment"]
        here = {"MESSAGE_BATCHES_SECRETS": str(secrets), "MESSAGE_BATCHES_SCRATCH": "/"}
        return Settings.from_environment({**environment, **here})

    assert settings(PASSWORD).base_url == "https://api.anthropic.com"
    assert settings(demo).base_url == "http://emulator:8080"
    assert settings(demo).keys.names == ("default",)


def test_the_demo_shares_no_name_port_or_folder_with_the_real_deployment() -> None:
    demo, real = (compose.project(variables) for variables in (compose.env_file(compose.DEMO), PASSWORD))

    assert compose.env_file(compose.DEMO)["COMPOSE_PROJECT_NAME"] != real["name"]
    assert not set(published(demo)) & set(published(real))
    for theirs in bind_mounts(demo):
        for ours in bind_mounts(real):
            assert not theirs.is_relative_to(ours), (theirs, ours)
            assert not ours.is_relative_to(theirs), (theirs, ours)


def published(project: dict[str, Any]) -> list[str]:
    return [port.split(":")[1] for service in project["services"].values() for port in service.get("ports", [])]


def bind_mounts(project: dict[str, Any]) -> list[Path]:
    mounts = [mount for name in ("worker", "starter") for mount in project["services"][name]["volumes"]]
    sources = [Path(mount["source"]) for mount in mounts if isinstance(mount, dict)]
    # The value in place of keys, if there are none.
    return [(ROOT / source).resolve() for source in sources if source != Path("/dev/null")]


def test_starter_and_worker_see_the_same_store_and_queue(services: dict[str, Any]) -> None:
    worker, starter = (services[name] for name in ("worker", "starter"))

    for name, value in starter["environment"].items():
        assert name in ("MESSAGE_BATCHES_COMMAND", "MESSAGE_BATCHES_UI_URL") or worker["environment"][name] == value
    assert starter["volumes"][0] == worker["volumes"][0]


def test_the_commands_that_the_starter_suggests_use_the_same_deployment(services: dict[str, Any]) -> None:
    demo = compose.project(compose.env_file(compose.DEMO))["services"]
    said = [found["starter"]["environment"]["MESSAGE_BATCHES_COMMAND"] for found in (services, demo)]

    file = compose.DEMO.relative_to(ROOT)
    assert said == ["docker compose run --rm starter", f"docker compose --env-file {file} run --rm starter"]


def test_every_block_of_the_pages_that_names_these_tests_is_run_by_one_of_them() -> None:
    sources = "".join(file.read_text() for file in Path(__file__).parent.glob("*.py"))
    begun = re.findall(r"""\.commands\([^"]*(?:"[^" ]+"[^"]*)?"([^"]+)"[,)]""", sources)
    blocks = [block for page in PAGES for block in page.blocks if "make test-containers" in (block.why_not or "")]

    assert len(blocks) == 5
    for block in blocks:
        assert any(block.text.startswith(f"$ {beginning}") for beginning in begun), block.text


def test_large_files_are_spooled_to_disk(services: dict[str, Any]) -> None:
    for name in ("worker", "starter"):
        assert services[name]["environment"]["MESSAGE_BATCHES_SCRATCH"] == "/scratch"
        assert "scratch:/scratch" in services[name]["volumes"]
