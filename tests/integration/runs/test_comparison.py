"""Requests that are given for a batch that has a run already: compared with the run's own, never left unread."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.requests.reader import CheckedRequests, read_requests
from message_batches.results import reader
from message_batches.runs.control import Refused, Runs
from message_batches.runs.start import attach_run, start_run
from message_batches.runs.starter import StartOptions, StartResult
from message_batches.storage.object_store import ObjectStore, open_store
from tests.harness.requests import TOO_LARGE, fresh
from tests.harness.stack import QUICK_POLL, QUICK_SUBMISSION, Stack
from tests.harness.waiting import last

Items = list[dict[str, Any]]
Given = Callable[..., CheckedRequests]


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """Start an emulator whose batches end when a test advances its clock."""
    async with Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as running:
        yield running


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Given]:
    """Return requests as they are read from a file, written in one way or another."""
    with ExitStack() as opened:

        def write(items: Items, **spelling: Any) -> CheckedRequests:
            file = tmp_path / f"{uuid4()}.jsonl"
            file.write_text("".join(json.dumps(item, **spelling) + "\n" for item in items))
            return opened.enter_context(read_requests(str(file)))

        yield write


class World:
    """The calls of a test, on one worker, store and emulator."""

    def __init__(self, live: Stack) -> None:
        self.live = live
        self.store: ObjectStore = open_store(live.store_url)
        self.options = StartOptions(poll=QUICK_POLL, submission=QUICK_SUBMISSION, task_queue=live.task_queue)

    async def start(self, given: CheckedRequests) -> StartResult:
        return await start_run(self.live.client, self.store, given, "a file", self.options)

    async def attach(self, batch_id: str, given: CheckedRequests | None = None) -> StartResult:
        return await attach_run(self.live.client, self.store, batch_id, self.options, given, "a file")

    async def land(self, workflow_id: str) -> None:
        self.live.emulator.clock.advance(timedelta(minutes=11))
        view = await last(Runs(self.live.client, self.store).follow(workflow_id))
        assert view.output

    @property
    def downloads(self) -> int:
        return self.live.operations().count("results")


@pytest.fixture
def world(live: Stack) -> World:
    return World(live)


def other(items: Items) -> Items:
    """Return other requests with the same custom_ids."""
    return [{**item, "params": {**item["params"], "max_tokens": 7}} for item in items]


def turned(item: dict[str, Any]) -> dict[str, Any]:
    """Return the same request in another order of its names."""
    return {"params": dict(reversed(item["params"].items())), "custom_id": item["custom_id"]}


def renamed(item: dict[str, Any]) -> dict[str, Any]:
    """Return the same request with another custom_id."""
    return {**item, "custom_id": "another"}


async def test_another_spelling_of_the_same_content_is_the_same_run(world: World, given: Given) -> None:
    items = fresh()
    first = await world.start(given(items))
    await world.live.saw("retrieve")

    running = await world.start(given([turned(item) for item in items], separators=(",", ":")))
    await world.land(first.workflow_id)
    landed = await world.start(given([turned(item) for item in items], indent=None, ensure_ascii=False))

    assert running.workflow_id == landed.workflow_id == first.workflow_id
    assert landed.finished
    assert world.live.operations().count("create") == 1


async def test_the_same_requests_in_another_order_are_another_run(world: World, given: Given) -> None:
    items = fresh()

    started = [await world.start(given(order)) for order in (items, items[::-1])]

    assert len({each.workflow_id for each in started}) == 2
    for each in started:
        await world.live.client.get_workflow_handle(each.workflow_id).terminate()


async def test_a_batch_whose_run_is_over_is_taken_over_by_any_spelling_once(world: World, given: Given) -> None:
    items = fresh()
    first = await world.start(given(items))
    await world.live.saw("retrieve")
    await world.live.client.get_workflow_handle(first.workflow_id).terminate()

    attached = await world.start(given([turned(item) for item in items]))
    joined = await world.start(given(items, separators=(",", ":")))
    await world.land(attached.workflow_id)
    shown = await world.start(given(items))

    (batch,) = world.live.emulator.batches
    assert attached.workflow_id == joined.workflow_id == f"attach-{batch.id}"
    assert not joined.unchecked
    assert shown.finished
    assert shown.finished.landed.verified
    assert world.downloads == 1


@pytest.mark.parametrize("large", [False, True], ids=["in the input", "in the store"])
async def test_while_a_run_follows_the_batch_only_its_own_requests_join_it(
    world: World, given: Given, large: bool
) -> None:
    items = TOO_LARGE if large else fresh()
    started = await world.start(given(items))
    await world.live.saw("retrieve")
    (batch,) = world.live.emulator.batches

    joined = await world.attach(batch.id, given([turned(item) for item in items]))
    for others in (other(items), items[1:], [*items[:-1], renamed(items[-1])]):
        with pytest.raises(Refused, match="other requests"):
            await world.attach(batch.id, given(others))

    assert joined.workflow_id == started.workflow_id
    assert not joined.unchecked
    await world.live.client.get_workflow_handle(started.workflow_id).terminate()


async def test_requests_given_for_a_batch_that_is_followed_without_are_compared_once_it_has_landed(
    world: World, given: Given
) -> None:
    items = fresh()
    batch_id = await world.live.post_by_a_stranger(items)
    followed = await world.attach(batch_id)

    early = await world.attach(batch_id, given(items))
    await world.land(followed.workflow_id)
    for wrong in (items[1:], [*items, renamed(items[0])], [*items[:-1], renamed(items[-1])]):
        with pytest.raises(Refused, match="not the requests of"):
            await world.attach(batch_id, given(wrong))
    late = await world.attach(batch_id, given(items[::-1]))
    again = await world.attach(batch_id)

    assert early.unchecked
    assert early.workflow_id == late.workflow_id == followed.workflow_id
    assert late.finished
    assert late.finished.landed.verified
    lines = world.store.stream(world.store.name(late.finished.landed.results_file.uri))
    landed = b"".join([chunk async for chunk in lines]).splitlines()
    assert [json.loads(line)["custom_id"] for line in landed] == [item["custom_id"] for item in items[::-1]]
    assert again.finished == late.finished
    assert world.downloads == 1


@pytest.mark.parametrize("while_it_runs", [False, True])
async def test_a_wrong_file_that_fits_does_not_shut_out_the_right_one(
    world: World, given: Given, while_it_runs: bool
) -> None:
    items = fresh()
    wrong = [{**item, "params": {**item["params"], "temperature": 0.5}} for item in items]
    batch_id = await world.live.post_by_a_stranger(items)
    followed = await world.attach(batch_id, given(wrong) if while_it_runs else None)
    await world.land(followed.workflow_id)
    assert (await world.attach(batch_id, given(wrong))).finished

    with pytest.raises(Refused, match="is not known: if it is these, remove file:") as caught:
        await world.attach(batch_id, given(items))
    with pytest.raises(Refused, match="1 custom_id only here") as other_ids:
        await world.attach(batch_id, given([*items[:-1], renamed(items[-1])]))
    (record,) = re.findall(r"remove (file:\S+)", str(caught.value))
    await world.store.remove(world.store.name(record))
    right = await world.attach(batch_id, given(items))

    assert "remove" not in str(other_ids.value)
    assert right.finished
    assert right.finished.landed.verified
    assert right == await world.attach(batch_id, given(items))
    view = await Runs(world.live.client, world.store).describe(followed.workflow_id)
    assert view.output
    own = await reader.of_output(world.store, view.output)
    assert own.manifest_sha256 == given(items).sha256
    assert world.downloads == 1


async def test_the_store_knows_what_a_batch_was_made_of_whichever_file_comes_first(world: World, given: Given) -> None:
    items = fresh()
    wrong = [{**item, "params": {**item["params"], "temperature": 0.5}} for item in items]
    sent = await world.start(given(items))
    await world.live.saw("retrieve")
    (batch,) = world.live.emulator.batches
    await world.live.client.get_workflow_handle(sent.workflow_id).terminate()

    with pytest.raises(Refused, match=r"was made of other requests than these: .* their content is not"):
        await world.attach(batch.id, given(wrong))
    followed = await world.attach(batch.id)
    await world.land(followed.workflow_id)
    with pytest.raises(Refused, match="was made of other requests than these"):
        await world.attach(batch.id, given(wrong))
    right = await world.attach(batch.id, given([turned(item) for item in items]))

    assert right.finished
    assert right.finished.landed.verified


async def test_requests_given_for_results_that_were_checked_are_compared_with_those_they_were_checked_against(
    world: World, given: Given
) -> None:
    items = fresh()
    started = await world.start(given(items))
    await world.live.saw("retrieve")
    await world.land(started.workflow_id)
    (batch,) = world.live.emulator.batches

    same = await world.attach(batch.id, given([turned(item) for item in items]))
    with pytest.raises(Refused, match="their content is not"):
        await world.attach(batch.id, given(other(items)))
    with pytest.raises(Refused, match="in another order"):
        await world.attach(batch.id, given(items[::-1]))
    with pytest.raises(Refused, match=r"1 custom_id only here \(another\), 1 custom_id only there"):
        await world.attach(batch.id, given([*items[:-1], renamed(items[-1])]))

    assert same.finished
    assert same.finished.landed.verified
    assert world.downloads == 1
