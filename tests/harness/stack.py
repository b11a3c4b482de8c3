"""All parts that a run needs, connected in one process."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import DEFAULT_KEY, Account, ApiKeys
from message_batches.api.pace import CallPace
from message_batches.contract import PROGRESS, WORKFLOW_TYPE
from message_batches.emulator import Emulator
from message_batches.models import BatchInput, BatchOutput, PollSchedule, Progress, RetrySchedule, SubmissionSchedule
from message_batches.storage.object_store import open_store
from message_batches.webhooks.interface import Webhooks
from tests.harness import waiting
from tests.harness.waiting import TIMEOUT
from worker import build_worker

KEYS = {
    "default": SecretStr("sk-ant-emulated-0001"),
    "team-a": SecretStr("sk-ant-emulated-team-a"),
    "revoked": SecretStr("sk-invalid-0001"),
}
ACCOUNT = Account(api_key=DEFAULT_KEY, base_url="https://api.anthropic.com")
"""The account of what a test puts into a store without a worker."""
QUICK_POLL = PollSchedule(
    retry_after=timedelta(seconds=0.1), transient=RetrySchedule(retry_after=timedelta(seconds=0.2), retry_limit=20)
)
PATIENT_SUBMISSION = SubmissionSchedule(timeout=timedelta(seconds=6), quiet_period=timedelta(seconds=60))
QUICK_SUBMISSION = SubmissionSchedule(timeout=timedelta(seconds=8), quiet_period=timedelta(seconds=2))


@dataclass
class Stack:
    """A client, an emulator, a store and a task queue that a worker listens on."""

    client: Client
    emulator: Emulator
    store_url: str
    task_queue: str = field(default_factory=lambda: f"test-{uuid4()}")

    @property
    def store_folder(self) -> Path:
        """Return the folder of a file:// store."""
        return Path(self.store_url.removeprefix("file://"))

    async def start(
        self, given: Sequence[dict[str, Any]] | None = None, *, workflow_id: str | None = None, **options: Any
    ) -> WorkflowHandle[Any, BatchOutput]:
        """Start a run with short intervals."""
        defaults: dict[str, Any] = {"poll": QUICK_POLL, "submission": QUICK_SUBMISSION}
        return await self.client.start_workflow(
            WORKFLOW_TYPE,
            BatchInput(requests=list(given) if given is not None else None, **(defaults | options)),
            id=workflow_id or f"run-{uuid4()}",
            task_queue=self.task_queue,
            result_type=BatchOutput,
        )

    async def run(self, given: Sequence[dict[str, Any]] | None = None, **options: Any) -> BatchOutput:
        """Start a run and return its output."""
        return await (await self.start(given, **options)).result()

    def operations(self, *, besides: Sequence[str] = ("list",)) -> list[str]:
        """Return the operations that the emulator has received, in order."""
        return [call.operation for call in self.emulator.calls if call.operation and call.operation not in besides]

    async def saw(self, operation: str, times: int = 1, *, within: float = TIMEOUT) -> None:
        """Wait until the emulator has received an operation that often."""
        await waiting.eventually(
            lambda: self.operations(besides=()).count(operation) >= times, f"{times} x {operation}", within=within
        )

    async def saw_a_lost_reply(self) -> None:
        """Wait until a POST has met the fault that drops its reply: before that, the next call might meet it."""
        await waiting.eventually(
            lambda: any("accept-then-drop" in call.faults for call in self.emulator.calls), "a lost reply"
        )

    async def post_by_a_stranger(self, given: Sequence[dict[str, Any]]) -> str:
        """Create a batch under the same key that no record in the store names; return its id."""
        async with http_client(self.emulator.url) as http:
            reply = await http.post(
                "/v1/messages/batches",
                json={"requests": list(given)},
                headers={"x-api-key": KEYS["default"].get_secret_value(), "anthropic-version": "2023-06-01"},
            )
        return str(reply.raise_for_status().json()["id"])


async def failure_of(run: WorkflowHandle[Any, Any]) -> ApplicationError:
    """Return the failure of a run."""
    with pytest.raises(WorkflowFailureError) as caught:
        await run.result()
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError), cause
    return cause


async def details_of(run: WorkflowHandle[Any, Any]) -> str:
    """Return a run's current details as markdown, its cells without padding."""
    metadata: WorkflowMetadata = await run.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return metadata.current_details.replace("\u2003", "").replace("\\", "")


async def progress_when(
    run: WorkflowHandle[Any, BatchOutput], condition: Callable[[Progress], bool], *, within: float = TIMEOUT
) -> Progress:
    """Return the run's progress as soon as it is as expected."""

    async def check() -> Progress | None:
        progress: Progress = await run.query(PROGRESS, result_type=Progress)
        return progress if condition(progress) else None

    return await waiting.eventually(check, f"the expected progress of {run.id}", within=within)


@asynccontextmanager
async def running_stack(
    client: Client,
    emulator: Emulator,
    store_url: str,
    keys: Mapping[str, SecretStr] = KEYS,
    *,
    through: str | None = None,
    base_urls: Mapping[str, str] | None = None,
    max_cost: Decimal | None = None,
    task_queue: str | None = None,
    webhooks: Webhooks | None = None,
    pace: CallPace | None = None,
) -> AsyncIterator[Stack]:
    """Run a worker, by default on a queue of its own; it calls the emulator through a gateway, if there is one.

    Keys with a base URL of their own go there.
    """
    made = Stack(client, emulator, store_url, task_queue or f"test-{uuid4()}")
    async with (
        http_client(through or emulator.url) as http,
        build_worker(
            client,
            HttpBatchApi(http, ApiKeys(keys, base_urls=base_urls or {}), pace=pace),
            open_store(store_url),
            task_queue=made.task_queue,
            graceful_shutdown_timeout=timedelta(seconds=1),
            max_cost=max_cost,
            webhooks=webhooks,
        ),
    ):
        yield made
