"""docker-compose.yml by the schema of the Compose specification, and by what a schema cannot see."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from message_batches.settings import Settings
from tests.deploy import compose
from worker import GRACE

PASSWORD = {"POSTGRES_PASSWORD": "a-password-of-the-test"}
OURS = {"worker", "starter", "emulator"}


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = compose.project(PASSWORD)["services"]
    return found


def check_schema(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True)


def test_it_is_what_the_compose_specification_describes() -> None:
    done = check_schema(compose.FILE)

    assert done.returncode == 0, done.stdout


def test_the_schema_notices_a_misspelled_field(tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(compose.FILE.read_text().replace("healthcheck:", "heathcheck:", 1))

    assert check_schema(wrong).returncode == 1


def test_the_database_and_the_ui_are_there_and_the_profiles_bring_what_the_others_do_not_need(
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
    }


def test_every_image_is_pinned_to_a_release(services: dict[str, Any]) -> None:
    for service in services.values():
        assert re.search(r":\d+\.\d+(\.\d+)?(-[a-z]+)?$", service["image"]), service["image"]
    tags = {service["image"] for service in services.values() if "build" not in service}
    assert {"temporalio/server:1.32.0", "temporalio/admin-tools:1.32.0", "temporalio/ui:2.54.1"} < tags


def test_our_image_carries_the_version_of_the_package(services: dict[str, Any]) -> None:
    package = tomllib.loads((compose.ROOT / "pyproject.toml").read_text())["project"]

    assert {services[name]["image"] for name in OURS} == {f"message-batches:{package['version']}"}


def test_every_port_is_open_to_this_host_alone(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]

    assert len(ports) == 3
    for port in ports:
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port


def test_every_named_volume_is_declared_and_used(services: dict[str, Any]) -> None:
    sources = [mount.split(":")[0] for service in services.values() for mount in short_mounts(service)]

    assert {name for name in sources if not name.startswith((".", "/"))} == set(compose.project(PASSWORD)["volumes"])
    for folder in sources:
        assert not folder.startswith(".") or (compose.ROOT / folder).is_dir(), folder


def short_mounts(service: dict[str, Any]) -> list[str]:
    return [mount for mount in service.get("volumes", []) if isinstance(mount, str)]


def test_nothing_waits_for_a_health_that_nobody_checks(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for other, wanted in service.get("depends_on", {}).items():
            match wanted["condition"]:
                case "service_healthy":
                    assert "healthcheck" in services[other], f"{name} waits for {other}"
                case "service_completed_successfully":
                    assert services[other]["restart"] == "on-failure:10", f"{name} waits for {other}"
                case condition:
                    pytest.fail(f"{name} waits for {other}: {condition}")


def test_whatever_stays_up_is_restarted_and_checked(services: dict[str, Any]) -> None:
    lasting = {name for name, service in services.items() if service["restart"] == "unless-stopped"}

    assert lasting == {"postgres", "temporal", "temporal-ui", "worker", "emulator"}
    for name in lasting:
        assert "healthcheck" in services[name], name


def test_ours_run_without_root_or_rights_and_write_to_mounts_alone(services: dict[str, Any]) -> None:
    for name in OURS:
        service = services[name]
        assert service["user"] == "1000:1000", name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name
        assert not service.get("privileged"), name


def test_the_worker_has_longer_to_stop_than_it_takes(services: dict[str, Any]) -> None:
    assert compose.seconds(services["worker"]["stop_grace_period"]) > GRACE.total_seconds()


def test_finished_runs_are_kept_for_thirty_days(services: dict[str, Any]) -> None:
    assert services["temporal-namespace"]["environment"]["RETENTION_HOURS"] == str(30 * 24)


def test_a_missing_password_is_asked_for_by_name() -> None:
    with pytest.raises(compose.MissingVariable, match=r"POSTGRES_PASSWORD: set it in \.env"):
        compose.project({})


def test_every_variable_is_one_that_the_example_or_the_demo_explains() -> None:
    asked = set(re.findall(r"\$\{(\w+)", compose.FILE.read_text()))
    explained = (compose.ROOT / ".env.example").read_text() + compose.DEMO.read_text()

    assert {name for name in asked if name not in explained} == set()


def test_no_key_and_no_password_stands_in_the_file_or_reaches_whom_it_does_not_concern(
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
    secrets = compose.ROOT / demo["MESSAGE_BATCHES_KEYS"]

    def settings(variables: dict[str, str]) -> Settings:
        environment = compose.project(variables)["services"]["worker"]["environment"]
        here = {"MESSAGE_BATCHES_SECRETS": str(secrets), "MESSAGE_BATCHES_SCRATCH": "/"}
        return Settings.from_environment({**environment, **here})

    assert settings(PASSWORD).base_url == "https://api.anthropic.com"
    assert settings(demo).base_url == "http://emulator:8080"
    assert settings(demo).keys.names == ("default",)


def test_the_demo_shares_no_name_volume_or_folder_with_the_real_deployment() -> None:
    demo, real = (compose.project(variables) for variables in (compose.env_file(compose.DEMO), PASSWORD))

    assert compose.env_file(compose.DEMO)["COMPOSE_PROJECT_NAME"] != real["name"]
    for theirs, ours in zip(bind_mounts(demo), bind_mounts(real), strict=True):
        assert theirs != ours


def bind_mounts(project: dict[str, Any]) -> list[str]:
    mounts = [mount for name in ("worker", "starter") for mount in project["services"][name]["volumes"]]
    return [mount["source"] for mount in mounts if isinstance(mount, dict)]


def test_starter_and_worker_see_the_same_store_and_queue(services: dict[str, Any]) -> None:
    worker, starter = (services[name] for name in ("worker", "starter"))

    for name, value in starter["environment"].items():
        assert worker["environment"][name] == value
    assert starter["volumes"][0] == worker["volumes"][0]
