"""Payloads between namespaces with different keys: each side needs the key that the other one encrypts with."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError

from message_batches.emulator import Emulator
from message_batches.encryption.keys import EncryptionKey
from message_batches.models import BatchOutput
from message_batches.temporal.connection import connect
from message_batches.temporal.dev_server import DevServer, dev_server
from tests.harness.encryption import key, written
from tests.harness.namespaces import new_namespace
from tests.harness.nexus import callers, failure_of_operation, run_of
from tests.harness.requests import fresh, requests
from tests.harness.stack import running_stack
from tests.harness.waiting import eventually

CALLERS, WORKERS = key("callers"), key("workers")


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[DevServer]:
    """Start a server of its own: no history of it may hold a text."""
    async with dev_server() as server:
        yield server


@pytest.fixture
async def namespace(temporal: DevServer) -> str:
    """Return the namespace of the callers."""
    return (await new_namespace(temporal, {})).namespace


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return (tmp_path / "store").as_uri()


async def holding(
    temporal: DevServer, keys: Sequence[EncryptionKey], monkeypatch: pytest.MonkeyPatch, namespace: str | None = None
) -> Client:
    """Connect as a process that holds these keys; the first one encrypts."""
    with monkeypatch.context() as environment:
        environment.setenv("MESSAGE_BATCHES_ENCRYPTION_KEYS", written(keys))
        return await connect(address=temporal.address, namespace=namespace)


async def waits_with(caller: WorkflowHandle[object, object], text: str) -> None:
    """Wait until the operation of a caller, or its workflow task, is tried again, for the reason that a text names."""

    async def seen() -> bool:
        pending = (await caller.describe()).raw_description.pending_nexus_operations
        history = await caller.fetch_history()
        failed = [event.workflow_task_failed_event_attributes.failure.message for event in history.events]
        return text in str(pending) or any(text in message for message in failed)

    await eventually(seen, f"a caller that waits: {text}")


@pytest.mark.slow
async def test_each_side_encrypts_with_its_own_key_and_holds_the_other_as_well(
    temporal: DevServer, emulator: Emulator, namespace: str, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = await holding(temporal, [WORKERS, CALLERS], monkeypatch)
    theirs = await holding(temporal, [CALLERS, WORKERS], monkeypatch, namespace)
    given = requests(text="Why is the sky blue?")
    async with (
        running_stack(ours, emulator, store_url) as stack,
        callers(theirs, ours, stack.task_queue) as there,
    ):
        caller = await there.batch(given)
        output = await caller.result()
        emulator.faults.add("spend-limit", operation="create", times=1)
        cause = await failure_of_operation(await there.batch(fresh()))
        run = await run_of(ours, caller)

    assert output.results is not None
    assert "the sky" in str(output.results)
    assert isinstance(cause, ApplicationError)
    assert cause.type == "SpendLimitReached"
    for handle, used in ((caller, CALLERS), (run, WORKERS)):
        events = b"".join(event.SerializeToString() for event in (await handle.fetch_history()).events)
        assert b"the sky" not in events
        assert used.id.encode() in events


@pytest.mark.slow  # The tasks of a caller whose worker is gone go to the next one after 10 s.
async def test_results_that_a_caller_cannot_decrypt_wait_until_it_has_the_key(
    temporal: DevServer, emulator: Emulator, namespace: str, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = await holding(temporal, [WORKERS], monkeypatch)
    plain = await connect(address=temporal.address, namespace=namespace)
    async with running_stack(ours, emulator, store_url) as stack:
        async with callers(plain, ours, stack.task_queue) as without:
            caller = await without.batch(fresh())
            await waits_with(caller, "'workers'")
        theirs = await holding(temporal, [WORKERS], monkeypatch, namespace)
        async with callers(theirs, ours, stack.task_queue, before=without) as with_key:
            output = await with_key.client.get_workflow_handle(caller.id, result_type=BatchOutput).result()

    assert output.verified
    assert len(emulator.batches) == 1


async def test_an_operation_that_the_worker_cannot_decrypt_waits_until_one_has_the_key(
    temporal: DevServer, emulator: Emulator, namespace: str, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = await holding(temporal, [CALLERS], monkeypatch, namespace)
    plain = await connect(address=temporal.address)
    async with running_stack(plain, emulator, store_url) as stack, callers(theirs, plain, stack.task_queue) as there:
        caller = await there.batch(fresh())
        await waits_with(caller, "failed to decode Nexus operation input")
        assert not emulator.batches
    ours = await holding(temporal, [CALLERS], monkeypatch)
    async with (
        running_stack(ours, emulator, store_url, task_queue=stack.task_queue),
        callers(theirs, ours, stack.task_queue, before=there),
    ):
        output = await caller.result()

    assert output.verified
    assert len(emulator.batches) == 1
