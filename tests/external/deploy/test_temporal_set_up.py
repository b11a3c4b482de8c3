"""The scripts that prepare a Temporal server, and the configuration that it reads."""

import asyncio
import os
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    ListTaskQueuePartitionsRequest,
    RegisterNamespaceRequest,
)

from message_batches.temporal.connection import connect
from message_batches.temporal.dev_server import DevServer, dev_server, temporal_command
from message_batches.temporal.search_attributes import BATCH_STATUS, SEARCH_ATTRIBUTES, registered, usable_names
from tests.external.deploy.compose import project
from tests.harness.project import ROOT

FOLDER = ROOT / "deploy" / "temporal"
HOUR = 3600


async def retention(temporal: DevServer, namespace: str) -> int:
    described = await temporal.client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    return described.config.workflow_execution_retention_ttl.seconds


async def attributes(temporal: DevServer, namespace: str) -> tuple[str, ...]:
    return usable_names(await registered(await connect(address=temporal.address, namespace=namespace)))


@pytest.mark.parametrize(
    ("hours_before", "hours_after"),
    [
        pytest.param(None, 720, id="none"),
        pytest.param(24, 720, id="shorter"),
        pytest.param(2000, 2000, id="longer"),
    ],
)
async def test_a_namespace_is_created_with_the_search_attributes_or_its_retention_raised_but_never_reduced(
    temporal: DevServer, hours_before: int | None, hours_after: int
) -> None:
    namespace = f"deployed-{uuid4()}"
    if hours_before:
        kept = Duration(seconds=hours_before * HOUR)
        request = RegisterNamespaceRequest(namespace=namespace, workflow_execution_retention_period=kept)
        await temporal.client.workflow_service.register_namespace(request)
    composed = project({"POSTGRES_PASSWORD": "x"})["services"]["temporal-namespace"]["environment"]
    command = temporal_command()
    assert command
    path = f"{Path(command).parent}:{os.environ['PATH']}"
    here = {"TEMPORAL_ADDRESS": temporal.address, "TEMPORAL_NAMESPACE": namespace, "PATH": path}

    for _ in range(2):
        process = await asyncio.create_subprocess_exec("sh", str(FOLDER / "namespace.sh"), env={**composed, **here})

        assert await process.wait() == 0
        assert await retention(temporal, namespace) == hours_after * HOUR
        assert await attributes(temporal, namespace) == tuple(key.name for key in SEARCH_ATTRIBUTES)


def stand_in(folder: Path, name: str, script: str) -> dict[str, str]:
    """Create a command of that name, found before all others; it writes its arguments to `calls`."""
    (folder / name).write_text(f'#!/bin/sh\necho "$@" >> "{folder}/calls"\n{script}\n')
    (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def run_service_script(service: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the script of a service in docker-compose.yml."""
    composed = project({"POSTGRES_PASSWORD": "x"})["services"][service]
    [script] = composed["command"]
    command = ["sh", str(FOLDER / Path(script).relative_to("/temporal"))]
    return subprocess.run(command, env={**composed["environment"], **environment}, capture_output=True, text=True)


REFUSED = """
case "$*" in *describe*) echo "Error: unable to describe namespace: Request unauthorized." >&2; exit 1;; esac
"""


def test_a_namespace_that_cannot_be_read_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    done = run_service_script("temporal-namespace", stand_in(tmp_path, "temporal", REFUSED))

    assert done.returncode == 1
    assert "Request unauthorized" in done.stderr
    assert "create" not in (tmp_path / "calls").read_text()


def test_a_response_without_a_retention_is_reported(tmp_path: Path) -> None:
    done = run_service_script("temporal-namespace", stand_in(tmp_path, "temporal", 'echo "{}"'))

    assert done.returncode == 1
    assert "No retention in what is said of namespace default: {}" in done.stderr


async def test_an_attribute_of_another_type_is_reported_and_kept_and_the_set_up_continues(temporal: DevServer) -> None:
    namespace = f"deployed-{uuid4()}"
    kept = Duration(seconds=24 * HOUR)
    request = RegisterNamespaceRequest(namespace=namespace, workflow_execution_retention_period=kept)
    await temporal.client.workflow_service.register_namespace(request)
    client = await connect(address=temporal.address, namespace=namespace)
    other = {BATCH_STATUS.name: IndexedValueType.INDEXED_VALUE_TYPE_INT}
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=namespace, search_attributes=other)
    )
    command = temporal_command()
    assert command
    here = {"TEMPORAL_ADDRESS": temporal.address, "TEMPORAL_NAMESPACE": namespace}
    path = {"PATH": f"{Path(command).parent}:{os.environ['PATH']}"}

    done = await asyncio.to_thread(run_service_script, "temporal-namespace", {**here, **path})

    assert done.returncode == 0, done.stderr
    assert "BatchStatus already exists and has different type" in done.stdout
    assert await attributes(temporal, namespace) == ("BatchId", "BatchRequests", "BatchOutcome")


def test_both_databases_get_the_schema_of_the_server(tmp_path: Path) -> None:
    says = 'echo "$SQL_PLUGIN $SQL_HOST $SQL_PORT $SQL_USER $SQL_PASSWORD" > "$(dirname "$0")/connection"'
    done = run_service_script("temporal-schema", stand_in(tmp_path, "temporal-sql-tool", says))

    assert done.returncode == 0, done.stderr
    # Each is created, set to version 0.0, and upgraded to the newest.
    versions = "/etc/temporal/schema/postgresql/v12"
    assert (tmp_path / "calls").read_text().splitlines() == [
        "--db temporal create",
        "--db temporal setup-schema -v 0.0",
        f"--db temporal update-schema -d {versions}/temporal/versioned",
        "--db temporal_visibility create",
        "--db temporal_visibility setup-schema -v 0.0",
        f"--db temporal_visibility update-schema -d {versions}/visibility/versioned",
    ]
    services = project({"POSTGRES_PASSWORD": "x"})["services"]
    server, database = (services[name]["environment"] for name in ("temporal", "postgres"))
    assert (tmp_path / "connection").read_text().split() == [
        *(server["DB"], server["POSTGRES_SEEDS"], server["DB_PORT"], server["POSTGRES_USER"], server["POSTGRES_PWD"])
    ]
    assert server["POSTGRES_USER"] == database["POSTGRES_USER"]


def test_a_step_that_fails_ends_the_set_up(tmp_path: Path) -> None:
    done = run_service_script("temporal-schema", stand_in(tmp_path, "temporal-sql-tool", "exit 3"))

    assert done.returncode == 3
    assert (tmp_path / "calls").read_text().splitlines() == ["--db temporal create"]


def test_the_scripts_are_shell() -> None:
    for script in FOLDER.glob("*.sh"):
        done = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


async def test_with_the_dynamic_configuration_a_task_queue_has_one_partition() -> None:
    given = yaml.safe_load((FOLDER / "dynamic-config.yaml").read_text())
    values = [(name, only["value"]) for name, [only] in given.items()]
    flags = [word for name, value in values for word in ("--dynamic-config-value", f"{name}={value}")]
    asked = ListTaskQueuePartitionsRequest(namespace="default", task_queue=TaskQueue(name="any"))

    async with dev_server(extra_args=flags) as server:
        partitions = await server.client.workflow_service.list_task_queue_partitions(asked)

    assert len(partitions.activity_task_queue_partitions) == 1
