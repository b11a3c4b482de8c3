"""Two accounts in one worker and one store: whatever the server of one says, the other's runs are as they were."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError

from activities.batch import MAX_UPLOADS, SMALL_BODY
from message_batches.api.models import ApiProfile
from message_batches.api.transport import MAX_CALLS
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.models import BatchOutput, Phase, PollSchedule, SubmissionSchedule
from message_batches.results.reader import ResultsNotFound
from message_batches.runs.control import Refused, Runs, find_results
from message_batches.runs.start import attach_run
from message_batches.runs.starter import StartOptions
from message_batches.storage.object_store import open_store
from message_batches.temporal.dev_server import DevServer
from tests.harness.carrying import listening
from tests.harness.gateway import Answer, Gateway, gateway_to
from tests.harness.requests import requests
from tests.harness.stack import QUICK_POLL, Stack, progress_when, running_stack
from tests.harness.waiting import eventually

TENANT = "team-a"
FORGED = "what the account never got"
JSON = {"content-type": "application/json"}


@dataclass
class Accounts:
    """The worker, the emulator of the account `default`, and the gateway of the tenant, who forges answers."""

    stack: Stack
    gateway: Gateway

    async def own(self, **options: Any) -> BatchOutput:
        """Run requests with the key `default`, and let time pass until their batch has ended."""
        run = await self.stack.start(requests(2), **options)
        await progress_when(run, lambda now: now.polls > 0)
        self.end()
        return await run.result()

    def end(self) -> None:
        self.stack.emulator.clock.advance(timedelta(hours=2))

    def forge(self) -> None:
        """Have the tenant's server say of every batch that it has ended, with answers of its own."""
        self.gateway.instead = _forged

    async def land_forged(self, batch_id: str, given: list[dict[str, Any]] | None = None) -> BatchOutput:
        """Land what the tenant's server says of a batch."""
        self.forge()
        requests_uri = await self._stored(given) if given else None
        return await self.stack.run(batch_id=batch_id, api_key=TENANT, requests_uri=requests_uri)

    async def _stored(self, given: list[dict[str, Any]]) -> str:
        path = self.stack.store_folder / "given.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in given))
        return path.as_uri()

    def bytes_of(self, output: BatchOutput) -> bytes:
        return Path(output.results_file.uri.removeprefix("file://")).read_bytes()


def _forged(operation: str) -> Answer | None:
    method, path = operation.split()
    batch_id = path.split("/")[4] if path.count("/") > 3 else ""
    if path.endswith("/results"):
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {"model": "claude-sonnet-5", "content": [{"type": "text", "text": FORGED}], "usage": usage}
        result = {"type": "succeeded", "message": message | {"stop_reason": "end_turn", "role": "assistant"}}
        lines = [json.dumps({"custom_id": each["custom_id"], "result": result}) for each in requests(2)]
        return Answer(operation, 200, JSON, "".join(f"{line}\n" for line in lines).encode())
    now = datetime.now(UTC)
    counts = {"processing": 0, "succeeded": 2, "errored": 0, "canceled": 0, "expired": 0}
    batch = {"id": batch_id, "processing_status": "ended", "request_counts": counts, "server": "default"}
    times = {"created_at": now.isoformat(), "expires_at": (now + timedelta(days=1)).isoformat()}
    deleted = {"id": batch_id, "type": "message_batch_deleted"}
    return Answer(operation, 200, JSON, json.dumps(deleted if method == "DELETE" else batch | times).encode())


@asynccontextmanager
async def beside_a_tenant_at(url: str, temporal: DevServer, folder: Path) -> AsyncIterator[Stack]:
    """Run a worker whose tenant's key is used at a server of the test's own, the others at an emulator."""
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(seconds=0.05))) as emulator,
        running_stack(temporal.client, emulator, (folder / "store").as_uri(), base_urls={TENANT: url}) as stack,
    ):
        yield stack


@pytest.fixture
async def accounts(temporal: DevServer, tmp_path: Path) -> AsyncIterator[Accounts]:
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as emulator,
        gateway_to(emulator.url) as gateway,
        running_stack(
            temporal.client, emulator, (tmp_path / "store").as_uri(), base_urls={TENANT: gateway.url}
        ) as stack,
    ):
        yield Accounts(stack, gateway)


async def test_a_tenant_reads_nothing_that_another_has_landed(accounts: Accounts) -> None:
    own = await accounts.own()
    accounts.gateway.instead = lambda operation: Answer(operation, 404, JSON, b"{}")

    run = await accounts.stack.start(batch_id=own.batch_id, api_key=TENANT)

    seen = await progress_when(run, lambda now: now.not_found > 2)
    assert seen.phase is Phase.POLLING
    assert seen.request_counts is None
    await run.terminate()


@pytest.mark.parametrize("with_requests", [True, False], ids=["with the requests", "without"])
async def test_a_tenant_who_lands_first_lands_for_itself_alone(accounts: Accounts, with_requests: bool) -> None:
    run = await accounts.stack.start(requests(2))
    await progress_when(run, lambda now: now.polls > 0)
    batch_id = accounts.stack.emulator.batches[0].id

    theirs = await accounts.land_forged(batch_id, requests(2) if with_requests else None)
    accounts.end()
    own = await run.result()
    attached = await accounts.stack.run(batch_id=batch_id)

    assert FORGED.encode() in accounts.bytes_of(theirs)
    assert own.verified
    for output in (own, attached):
        assert output.batch_id == batch_id
        assert FORGED.encode() not in accounts.bytes_of(output)
    assert attached.results_file.sha256 != theirs.results_file.sha256


async def test_a_tenants_claim_does_not_keep_another_from_deleting_its_batch(accounts: Accounts) -> None:
    run = await accounts.stack.start(requests(2), delete_after_landing=True)
    await progress_when(run, lambda now: now.polls > 0)
    await accounts.land_forged(accounts.stack.emulator.batches[0].id)

    accounts.end()
    output = await run.result()

    assert output.deleted, output.not_deleted
    assert accounts.stack.emulator.batches == []


async def test_a_tenant_who_lands_last_changes_nothing_and_gets_its_own(accounts: Accounts) -> None:
    own = await accounts.own()
    before = accounts.bytes_of(own)

    theirs = await accounts.land_forged(own.batch_id, requests(2))

    assert FORGED.encode() in accounts.bytes_of(theirs)
    assert accounts.bytes_of(own) == before
    assert own.results_file.uri != theirs.results_file.uri


async def test_where_two_accounts_have_a_batch_id_a_starter_asks_for_the_run(accounts: Accounts) -> None:
    stack = accounts.stack
    run = await stack.start(requests(2))
    await progress_when(run, lambda now: now.polls > 0)
    batch_id = stack.emulator.batches[0].id
    accounts.forge()
    store = open_store(stack.store_url)
    tenants = StartOptions(profile=ApiProfile(api_key=TENANT), poll=QUICK_POLL, task_queue=stack.task_queue)
    theirs = await attach_run(stack.client, store, batch_id, tenants)
    await stack.client.get_workflow_handle(theirs.workflow_id).result()
    accounts.end()
    own = await run.result()
    runs = Runs(stack.client, store)

    async def connect() -> Runs:
        return runs

    with pytest.raises(Refused) as refused:
        await runs.workflow_id(batch_id)
    assert all(text in str(refused.value) for text in (run.id, theirs.workflow_id, TENANT))
    with pytest.raises(ResultsNotFound, match="name the run"):
        await find_results(store, batch_id, connect)
    found = await find_results(store, run.id, connect)
    assert found.landed.results_file.uri == own.results_file.uri
    of_theirs = await find_results(store, theirs.workflow_id, connect)
    assert of_theirs.landed.results_file.uri != own.results_file.uri

    again = await attach_run(stack.client, store, batch_id, StartOptions(poll=QUICK_POLL, task_queue=stack.task_queue))
    assert again.finished
    assert again.finished.landed.results_file.uri == own.results_file.uri


async def test_an_answer_does_not_choose_the_task_queue_of_a_landing(accounts: Accounts) -> None:
    own_server = accounts.stack.emulator.url

    def changed(answer: Answer) -> None:
        if answer.is_batch:
            answer.set(server="made-up", landing="made-up")

    async with (
        gateway_to(own_server) as before,
        running_stack(
            accounts.stack.client, accounts.stack.emulator, accounts.stack.store_url, through=before.url
        ) as stack,
    ):
        before.change = changed
        run = await stack.start(requests(2))
        await progress_when(run, lambda now: now.polls > 0)
        accounts.end()

        assert (await run.result()).verified


@asynccontextmanager
async def dripping() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Serve ended batches whose results come byte by byte and never end; the event is set once they are asked for."""
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split("\r\n")[0].split()
        answer = _forged(f"{method} {path}")
        assert answer
        if not path.endswith("/results"):
            length = f"content-length: {len(answer.body)}"
            writer.write(f"HTTP/1.1 200 OK\r\n{length}\r\nconnection: close\r\n\r\n".encode() + answer.body)
            writer.close()
            return
        asked.set()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"{")
            await writer.drain()
            await asyncio.sleep(0.1)

    async with listening(serve) as address:
        yield f"http://{address}", asked


@pytest.mark.slow
async def test_results_that_drip_keep_no_other_accounts_results_waiting(temporal: DevServer, tmp_path: Path) -> None:
    async with (
        dripping() as (url, asked),
        beside_a_tenant_at(url, temporal, tmp_path) as stack,
    ):
        theirs = [await stack.start(batch_id=f"msgbatch_{n}", api_key=TENANT) for n in range(3)]
        await asked.wait()

        output = await stack.run(requests(2))

        assert output.verified
        for run in theirs:
            assert (await progress_when(run, lambda _: True)).phase is Phase.RETRIEVING
            await run.terminate()


@pytest.mark.slow
async def test_calls_that_a_server_leaves_unanswered_keep_no_other_accounts_calls_waiting(
    temporal: DevServer, tmp_path: Path
) -> None:
    waiting = 0

    async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal waiting
        waiting += 1
        await reader.read()

    async with (
        listening(never) as address,
        beside_a_tenant_at(f"http://{address}", temporal, tmp_path) as stack,
    ):
        poll = PollSchedule(retry_after=timedelta(minutes=1))
        theirs = [await stack.start(batch_id=f"msgbatch_{n}", api_key=TENANT, poll=poll) for n in range(130)]
        await eventually(lambda: waiting >= 20, "polls without an answer")

        output = await stack.run(requests(2))

        assert output.verified
        assert waiting == 20, "the first of their calls are still without an answer"
        await stop(theirs)


async def stop(runs: Iterable[WorkflowHandle[Any, BatchOutput]]) -> None:
    """Terminate runs; on a busy machine one may have given up by itself."""
    for run in runs:
        with suppress(RPCError):
            await run.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, SMALL_BODY], ids=["small", "large"])
async def test_posts_that_a_server_leaves_unanswered_keep_no_other_accounts_posts_waiting(
    temporal: DevServer, tmp_path: Path, size: int
) -> None:
    posts = 0

    async def taking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal posts
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            posts += 1
            await asyncio.Event().wait()
        body = b'{"data":[],"has_more":false}'
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    async with (
        listening(taking) as address,
        beside_a_tenant_at(f"http://{address}", temporal, tmp_path) as stack,
    ):
        given = requests(1)
        given[0]["params"]["messages"][0]["content"] += "x" * size
        path = stack.store_folder / "given.jsonl"
        path.parent.mkdir()
        path.write_text(json.dumps(given[0]) + "\n")
        source: dict[str, Any] = {"requests_uri": path.as_uri()}
        slow: dict[str, Any] = {"api_key": TENANT, "submission": SubmissionSchedule()}
        theirs = [await stack.start(**source, **slow) for _ in range(2 * MAX_CALLS + 1 if size == 1 else MAX_UPLOADS)]
        await eventually(lambda: posts >= min(len(theirs), MAX_CALLS), "POSTs without an answer")

        output = await stack.run(**source)

        assert output.verified
        assert posts == min(len(theirs), MAX_CALLS), "the first of their calls are still without an answer"
        await stop(theirs)
