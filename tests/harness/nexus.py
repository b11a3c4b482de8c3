"""Callers of the Nexus service: workflows in a namespace of their own, an endpoint that leads to a worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.api.operatorservice.v1 import ListNexusEndpointsRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import NexusOperationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from message_batches.job_models import JobInput, JobOutput, Retries, ShardLimits
from message_batches.models import BatchInput, BatchOutput
from message_batches.nexus import MessageBatches
from message_batches.temporal.nexus_endpoints import ensure_endpoint
from tests.harness.stack import QUICK_POLL, QUICK_SUBMISSION
from tests.harness.waiting import eventually


@workflow.defn(name="call-batch")
class CallBatch:
    """Has a batch processed, with the library's models."""

    @workflow.run
    async def run(self, endpoint: str, given: BatchInput) -> BatchOutput:
        """Call the operation and return its output."""
        batches = workflow.create_nexus_client(service=MessageBatches, endpoint=endpoint)
        return await batches.execute_operation(MessageBatches.batch, given)


@workflow.defn(name="call-job")
class CallJob:
    """Has a job processed, with the library's models."""

    @workflow.run
    async def run(self, endpoint: str, given: JobInput) -> JobOutput:
        """Call the operation and return its output."""
        batches = workflow.create_nexus_client(service=MessageBatches, endpoint=endpoint)
        return await batches.execute_operation(MessageBatches.job, given)


@workflow.defn(name="call-by-name")
class CallByName:
    """Has a batch processed, knowing only names and JSON."""

    @workflow.run
    async def run(self, endpoint: str, given: Any) -> Any:
        """Call the operation and return its output."""
        batches: workflow.NexusClient[Any] = workflow.create_nexus_client(service="message-batches", endpoint=endpoint)
        return await batches.execute_operation("batch-process-and-retrieve-results", given)


@dataclass
class Callers:
    """A namespace whose workflows call the service through an endpoint."""

    client: Client
    endpoint: str
    task_queue: str = field(default_factory=lambda: f"callers-{uuid4()}")

    async def batch(self, given: list[dict[str, Any]], **options: Any) -> WorkflowHandle[Any, BatchOutput]:
        """Start a caller of the operation of a batch, with short intervals."""
        asked = BatchInput(requests=given, **({"poll": QUICK_POLL, "submission": QUICK_SUBMISSION} | options))
        return await self._start(CallBatch, asked)

    async def job(self, given: list[dict[str, Any]], *, shard: int = 2) -> WorkflowHandle[Any, JobOutput]:
        """Start a caller of the operation of a job, with short intervals."""
        asked = JobInput(
            requests=given,
            poll=QUICK_POLL,
            submission=QUICK_SUBMISSION,
            shards=ShardLimits(max_requests=shard),
            retries=Retries(waves=0),
        )
        return await self._start(CallJob, asked)

    async def by_name(self, given: Any) -> WorkflowHandle[Any, Any]:
        """Start a caller that passes a value on as it is."""
        return await self._start(CallByName, given)

    async def _start(self, caller: type, given: Any) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(
            caller.run,  # type: ignore[attr-defined]
            args=[self.endpoint, given],
            id=f"caller-{uuid4()}",
            task_queue=self.task_queue,
        )


@asynccontextmanager
async def callers(
    client: Client, target: Client, target_queue: str, *, before: Callers | None = None
) -> AsyncIterator[Callers]:
    """Run a worker of callers in a client's namespace, and create an endpoint to a task queue of another one.

    Callers from before go on with this worker.
    """
    made = Callers(client, before.endpoint, before.task_queue) if before else Callers(client, f"batches-{uuid4()}")
    await ensure_endpoint(target, made.endpoint, target_queue)
    async with Worker(
        client,
        task_queue=made.task_queue,
        workflows=[CallBatch, CallJob, CallByName],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield made


async def run_of(
    target: Client, caller: WorkflowHandle[Any, Any], result_type: type = BatchOutput
) -> WorkflowHandle[Any, Any]:
    """Return the run that a caller's operation has started in the namespace of the worker."""

    async def started() -> str | None:
        history = await caller.fetch_history()
        links = [
            link.workflow_event.workflow_id
            for event in history.events
            if event.HasField("nexus_operation_started_event_attributes")
            for link in event.links
        ]
        return next(iter(links), None)

    return target.get_workflow_handle(
        await eventually(started, f"an operation of {caller.id}"), result_type=result_type
    )


async def failure_of_operation(caller: WorkflowHandle[Any, Any]) -> BaseException | None:
    """Return the cause of a caller's failed operation."""
    with pytest.raises(WorkflowFailureError) as caught:
        await caller.result()
    failed = caught.value.cause
    assert isinstance(failed, NexusOperationError), failed
    return failed.cause


async def endpoints(client: Client, name: str) -> list[tuple[str, str]]:
    """Return namespace and task queue of the endpoints of a name."""
    answer = await client.operator_service.list_nexus_endpoints(ListNexusEndpointsRequest(name=name))
    return [(each.spec.target.worker.namespace, each.spec.target.worker.task_queue) for each in answer.endpoints]
