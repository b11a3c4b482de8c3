"""The workers that poll a task queue: with a version, without one, none."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from message_batches.temporal.dev_server import DevServer
from message_batches.temporal.task_queues import WorkerState, has_worker, pollers, worker_state
from tests.harness.waiting import eventually

VERSION = WorkerDeploymentVersion("batches", "build-1")


@workflow.defn
class Nothing:
    @workflow.run
    async def run(self) -> None:
        """End at once."""


@asynccontextmanager
async def worker(client: Client, task_queue: str, *, versioned: bool) -> AsyncIterator[None]:
    deployment = WorkerDeploymentConfig(
        version=VERSION,
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )
    async with Worker(
        client, task_queue=task_queue, workflows=[Nothing], deployment_config=deployment if versioned else None
    ):
        yield


@pytest.mark.parametrize("versioned", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.slow
async def test_a_worker_of_any_version_is_detected(temporal: DevServer, versioned: bool) -> None:
    client, queue = temporal.client, f"polled-{uuid4()}"
    build = f"{VERSION.deployment_name}:{VERSION.build_id}" if versioned else ""
    before = await worker_state(client, queue, build=build)

    async def polls() -> bool:
        return await worker_state(client, queue, build=build) is WorkerState.POLLS

    async def named() -> bool:
        # The server gives the same answer for some seconds.
        return [poller.identity for poller in await pollers(client, queue, build=build)] == [client.identity]

    async with worker(client, queue, versioned=versioned):
        await eventually(polls, "a worker that is seen")
        await eventually(named, "the worker among the pollers of its version")
        others = await pollers(client, queue, build="batches:another")
        another = await worker_state(client, queue, build="batches:another")
        takes_new = await has_worker(client, queue)

    assert before is WorkerState.NONE
    assert others == []
    assert another is WorkerState.OTHER_BUILD
    assert takes_new is not versioned
