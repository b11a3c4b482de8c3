"""The scripts that make a Temporal server ready, and the configuration that it reads."""

import asyncio
import os
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from google.protobuf.duration_pb2 import Duration
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    ListTaskQueuePartitionsRequest,
    RegisterNamespaceRequest,
)

from message_batches.devserver import DevServer, dev_server, temporal_command
from tests.deploy.compose import ROOT, project

FOLDER = ROOT / "deploy" / "temporal"
HOUR = 3600


async def retention(temporal: DevServer, namespace: str) -> int:
    described = await temporal.client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    return described.config.workflow_execution_retention_ttl.seconds


@pytest.mark.parametrize(
    ("hours_before", "hours_after"),
    [
        pytest.param(None, 720, id="none"),
        pytest.param(24, 720, id="shorter"),
        pytest.param(2000, 2000, id="longer"),
    ],
)
async def test_a_namespace_is_made_or_its_retention_raised_but_never_cut(
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


def test_the_scripts_are_shell() -> None:
    for script in FOLDER.glob("*.sh"):
        done = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


async def test_with_the_dynamic_configuration_a_task_queue_is_in_one_piece() -> None:
    given = yaml.safe_load((FOLDER / "dynamic-config.yaml").read_text())
    values = [(name, only["value"]) for name, [only] in given.items()]
    flags = [word for name, value in values for word in ("--dynamic-config-value", f"{name}={value}")]
    asked = ListTaskQueuePartitionsRequest(namespace="default", task_queue=TaskQueue(name="any"))

    async with dev_server(extra_args=flags) as server:
        partitions = await server.client.workflow_service.list_task_queue_partitions(asked)

    assert len(partitions.activity_task_queue_partitions) == 1
