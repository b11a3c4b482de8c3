"""A store that vanishes, and comes back, while runs need it: they wait, and nothing is bought twice."""

import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client

from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.emulator import Emulator
from message_batches.errors import StoreUnavailable
from message_batches.runs.attention import Decision, list_attention
from message_batches.runs.control import Runs
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.temporal.dev_server import DevServer
from message_batches.temporal.namespaces import begin_store
from tests.harness.command_line import QUICK, command_line
from tests.harness.requests import fresh
from tests.harness.stack import KEYS, Stack
from tests.harness.waiting import eventually
from worker import build_worker


class Vanishing(ObjectStore):
    """A directory that is moved away once an object whose name matches is written, or right before it is read."""

    after_write = ""
    before_read = ""

    @property
    def moved(self) -> Path:
        assert self._folder
        return self._folder.with_name("moved-away")

    def vanish(self) -> None:
        assert self._folder
        self.after_write = self.before_read = ""
        self._folder.rename(self.moved)

    def come_back(self) -> None:
        assert self._folder
        self.moved.rename(self._folder)

    async def create(self, name: str, data: bytes) -> bool:
        created = await super().create(name, data)
        self._vanish_if(self.after_write, name)
        return created

    async def write(self, name: str, chunks: AsyncIterable[bytes] | Iterable[bytes]) -> None:
        await super().write(name, chunks)
        self._vanish_if(self.after_write, name)

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        self._vanish_if(self.before_read, name)
        async for chunk in super().stream(name):
            yield chunk

    async def read(self, name: str) -> bytes | None:
        self._vanish_if(self.before_read, name)
        return await super().read(name)

    def _vanish_if(self, pattern: str, name: str) -> None:
        if pattern and re.match(pattern, name):
            self.vanish()


@asynccontextmanager
async def worker(stack: Stack, store: ObjectStore) -> AsyncIterator[None]:
    async with (
        http_client(stack.emulator.url) as http,
        build_worker(
            stack.client,
            HttpBatchApi(http, ApiKeys(KEYS)),
            store,
            task_queue=stack.task_queue,
            graceful_shutdown_timeout=timedelta(seconds=1),
        ),
    ):
        yield


@pytest.mark.parametrize(
    ("moment", "folder"),
    [
        ("after_write", "submissions/"),
        ("before_read", "manifests/"),
        ("after_write", "claims/"),
        ("before_read", "results/"),
    ],
)
async def test_a_run_waits_for_a_store_that_is_gone(
    moment: str, folder: str, temporal: DevServer, emulator: Emulator, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    root.mkdir()
    store = Vanishing(None, root.as_uri(), root)
    await store.identity()
    stack = Stack(temporal.client, emulator, root.as_uri())
    setattr(store, moment, folder)
    async with worker(stack, store):
        run = await stack.start(fresh())
        await eventually(store.moved.exists, "a store that is gone")

        async def waits() -> bool:
            view = await Runs(stack.client, store).describe(run.id)
            return view.running and any("is gone" in each.failure for each in view.failing_activities)

        if moment == "before_read":
            await eventually(waits, "a run that waits for its store")
        store.come_back()
        output = await run.result()

    assert output.verified
    assert output.request_counts.succeeded == 3
    assert len(emulator.batches) == 1


async def test_a_store_without_its_identity_needs_attention_and_continues_once_it_is_restored(
    temporal: DevServer, pending: Stack
) -> None:
    run = await pending.start(fresh(), workflow_id=f"identity-{uuid4()}")
    await pending.saw("retrieve")
    identity = pending.store_folder / "store.json"
    kept = identity.read_text()
    identity.unlink()
    pending.emulator.clock.advance(timedelta(minutes=10))

    async def needing() -> Decision | None:
        items = await list_attention(temporal.client)
        return next((item.decision for item in items if item.view.workflow_id == run.id), None)

    found = await eventually(needing, "a run that needs attention")
    view = await Runs(temporal.client, open_store(pending.store_url)).describe(run.id)
    identity.write_text(kept)

    assert found is Decision.WATCH
    assert "store.json is gone" in view.failing_activities[0].failure
    assert (await run.result()).verified


@pytest.mark.slow
async def test_where_runs_have_used_a_store_no_new_one_is_made_in_its_place(
    temporal: DevServer, live: Stack, tmp_path: Path
) -> None:
    starter = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
    landed = await starter("start", starter.file(fresh()), "--wait", *QUICK)
    away = live.store_folder.rename(tmp_path / "away")
    another = starter.file(fresh(), "another.jsonl")

    tried = [
        await starter("start", another),
        await starter("start", starter.file(fresh(), "again.jsonl"), "--again"),
        await starter("attach", "msgbatch_1"),
        await starter("list", "--needs-attention"),
        await starter("status", "msgbatch_1"),
    ]
    assert not live.store_folder.exists()
    live.store_folder.mkdir()  # As the mount point of a volume that is not there.
    tried.append(await starter("start", another))
    assert not list(live.store_folder.iterdir())
    live.store_folder.rmdir()
    away.rename(live.store_folder)

    assert landed.code == 0
    assert [each.code for each in tried] == [2, 2, 2, 0, 2, 2]
    assert all("There is no store at" in each.err for each in (*tried[:3], tried[-1]))
    assert (await starter("start", another, "--wait", *QUICK)).code == 0


async def test_a_new_store_is_made_where_callers_have_started_runs_and_no_worker_has_begun_one(
    temporal: DevServer, emulator: Emulator, tmp_path: Path
) -> None:
    stack = Stack(temporal.client, emulator, (tmp_path / "store").as_uri())
    run = await stack.start(fresh())
    # The list shows it a moment later.
    await eventually(lambda: listed(temporal.client, stack.task_queue), "a run in the list")

    made = [await begin_store(temporal.client, open_store(stack.store_url), stack.task_queue) for _ in range(2)]
    async with worker(stack, open_store(stack.store_url)):
        output = await run.result()

    assert made == [True, False]
    assert output.verified


async def test_a_second_store_is_begun_on_purpose_alone(live: Stack, tmp_path: Path) -> None:
    await live.run(fresh())
    await eventually(lambda: listed(live.client, live.task_queue), "a run in the list")
    other = open_store((tmp_path / "other").as_uri())
    with pytest.raises(StoreUnavailable, match="There is no store"):
        await begin_store(live.client, other, live.task_queue)
    assert not (tmp_path / "other").exists()

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "store.json").write_text('{"id": "mine"}')

    assert not await begin_store(live.client, other, live.task_queue)
    assert await other.identity() == "mine"


async def listed(client: Client, task_queue: str) -> bool:
    return bool([run async for run in client.list_workflows(f'TaskQueue = "{task_queue}"')])
