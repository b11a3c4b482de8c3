"""Polls that fall together: one read of the list answers all, and whatever it lacks, or says, none is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from message_batches.api import pace as pace_module
from message_batches.api import polls
from message_batches.api.client import HttpBatchApi, http_client
from message_batches.api.keys import ApiKeys
from message_batches.api.models import ApiProfile, MessageBatch
from message_batches.api.pace import CallPace
from message_batches.api.polls import BatchPolls
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.errors import ApiUnavailable, AuthenticationFailed, BatchNotFound, NotSent, RateLimited, UnknownKey
from tests.harness.stack import KEYS
from tests.harness.waiting import eventually
from tests.integration.test_hostile_answers import serving
from tests.unit.api.test_client import BODY, PROFILE, chunks


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as running:
        yield running


@pytest.fixture
async def api(emulator: Emulator) -> AsyncIterator[HttpBatchApi]:
    async with http_client(emulator.url) as http:
        yield HttpBatchApi(http, ApiKeys(KEYS))


async def created(api: HttpBatchApi, count: int, profile: ApiProfile = PROFILE) -> list[str]:
    """Return the ids of new batches, the oldest first."""
    return [(await api.create(profile, chunks(), len(BODY))).id for _ in range(count)]


def made(emulator: Emulator) -> list[str]:
    """Return the calls that were made, besides POSTs."""
    return [str(call.operation) for call in emulator.calls if call.operation != "create"]


async def polled(reader: BatchPolls, ids: list[str], profile: ApiProfile = PROFILE) -> list[MessageBatch]:
    return await asyncio.gather(*(reader.retrieve(profile, each) for each in ids))


async def test_a_poll_alone_is_a_retrieve(emulator: Emulator, api: HttpBatchApi) -> None:
    reader, [batch_id] = BatchPolls(api), await created(api, 1)

    found = [await reader.retrieve(PROFILE, batch_id) for _ in range(3)]

    assert {each.id for each in found} == {batch_id}
    assert made(emulator) == ["retrieve"] * 3


async def test_polls_together_are_one_read_of_the_list_with_what_a_retrieve_returns(
    emulator: Emulator, api: HttpBatchApi
) -> None:
    reader, ids = BatchPolls(api), await created(api, 20)
    await api.cancel(PROFILE, ids[3])

    found = await polled(reader, ids)

    assert made(emulator) == ["cancel", "list"]
    assert [each.id for each in found] == ids
    assert found[3].processing_status == "canceling"
    assert found == [await api.retrieve(PROFILE, each) for each in ids]


async def test_each_account_has_a_list_of_its_own(emulator: Emulator, api: HttpBatchApi) -> None:
    reader, other = BatchPolls(api), ApiProfile(api_key="team-a")
    own, theirs = await created(api, 2), await created(api, 2, other)

    found, others = await asyncio.gather(polled(reader, own), polled(reader, theirs, other))

    assert ([each.id for each in found], [each.id for each in others]) == (own, theirs)
    assert made(emulator) == ["list"] * 2


async def test_a_batch_that_the_list_lacks_is_retrieved_and_one_that_is_nowhere_is_not_found(
    emulator: Emulator, api: HttpBatchApi
) -> None:
    reader, ids = BatchPolls(api), await created(api, 2)
    emulator.faults.add("invisible", operation="create", seconds=60)
    [invisible] = await created(api, 1)
    results: list[Any] = await asyncio.gather(
        *(reader.retrieve(PROFILE, each) for each in [*ids, invisible]), return_exceptions=True
    )

    assert [each.id for each in results[:2]] == ids
    assert isinstance(results[2], BatchNotFound)
    assert made(emulator) == ["list", "retrieve"]


async def test_the_list_is_read_as_far_back_as_the_oldest_that_waits(
    emulator: Emulator, api: HttpBatchApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls, "MAX_BATCHES", 4)
    reader, ids = BatchPolls(api), await created(api, 12)

    assert [each.id for each in await polled(reader, ids)] == ids
    assert made(emulator) == ["list"] * 3
    # Now it is known when they were created; and the oldest of these are on the second page.
    assert [each.id for each in await polled(reader, ids[4:])] == ids[4:]
    assert made(emulator) == ["list"] * 5


async def test_a_page_costs_no_more_than_what_is_left_to_retrieve(
    emulator: Emulator, api: HttpBatchApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls, "MAX_BATCHES", 2)
    reader, ids = BatchPolls(api), await created(api, 12)

    found = await polled(reader, [ids[0], ids[11]])

    assert [each.id for each in found] == [ids[0], ids[11]]
    assert made(emulator) == ["list", "retrieve"]


async def test_what_is_on_pages_that_come_late_is_retrieved(
    emulator: Emulator, api: HttpBatchApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls, "MAX_BATCHES", 4)
    monkeypatch.setattr(polls, "READ_SECONDS", 0.3)
    reader, ids = BatchPolls(api), await created(api, 12)
    emulator.faults.add("slow", operation="list", seconds=0.2)

    assert [each.id for each in await polled(reader, ids)] == ids
    assert made(emulator) == ["list"] * 2 + ["retrieve"] * 4


async def test_a_rate_limit_reaches_all_that_wait_with_its_time(emulator: Emulator, api: HttpBatchApi) -> None:
    reader, ids = BatchPolls(api), await created(api, 5)
    for _ in range(2):
        emulator.faults.add("429", operation="list", retry_after=7, times=1)
        errors = await asyncio.gather(*(reader.retrieve(PROFILE, each) for each in ids), return_exceptions=True)

        assert [type(error) for error in errors] == [RateLimited] * 5
        assert {error.retry_after for error in errors if isinstance(error, RateLimited)} == {timedelta(seconds=7)}
        assert len({id(error) for error in errors}) == 5
    assert made(emulator) == ["list"] * 2


async def test_where_the_list_alone_fails_batches_are_retrieved(emulator: Emulator, api: HttpBatchApi) -> None:
    reader, ids = BatchPolls(api), await created(api, 3)
    emulator.faults.add("500", operation="list")
    first = await asyncio.gather(*(reader.retrieve(PROFILE, each) for each in ids), return_exceptions=True)
    found = [await polled(reader, ids) for _ in range(2)]

    assert [type(error) for error in first] == [ApiUnavailable] * 3
    assert [[each.id for each in each_time] for each_time in found] == [ids, ids]
    assert made(emulator) == ["list"] * 2 + ["retrieve"] * 6


async def test_a_list_that_is_always_limited_is_given_up(
    emulator: Emulator, api: HttpBatchApi, caplog: pytest.LogCaptureFixture
) -> None:
    reader, ids = BatchPolls(api), await created(api, 3)
    emulator.faults.add("429", operation="list", retry_after=7)
    errors = [
        await asyncio.gather(*(reader.retrieve(PROFILE, each) for each in ids), return_exceptions=True)
        for _ in range(5)
    ]

    assert {type(error) for each_time in errors for error in each_time} == {RateLimited}
    assert [each.id for each in await polled(reader, ids)] == ids
    assert [record.levelname for record in caplog.records if record.name == polls.__name__] == ["WARNING"]


async def test_a_list_that_does_not_come_in_time_is_not_waited_for(
    emulator: Emulator, api: HttpBatchApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls, "PAGE_SECONDS", 0.2)
    reader, ids = BatchPolls(api), await created(api, 3)
    emulator.faults.add("slow", operation="list", seconds=60)

    assert [each.id for each in await polled(reader, ids)] == ids


async def test_an_error_for_good_is_each_polls_own(emulator: Emulator, api: HttpBatchApi) -> None:
    reader, ids = BatchPolls(api), await created(api, 2)
    emulator.faults.add("error", operation="list", status=403, type="permission_error")

    assert [each.id for each in await polled(reader, ids)] == ids
    revoked = ApiProfile(api_key="revoked")
    errors = await asyncio.gather(*(reader.retrieve(revoked, each) for each in ids), return_exceptions=True)
    assert [type(error) for error in errors] == [AuthenticationFailed] * 2


async def test_a_key_that_the_worker_lacks_is_said_at_once_however_many_poll(api: HttpBatchApi) -> None:
    reader, lacked = BatchPolls(api), ApiProfile(api_key="nobody-has-it")

    async with asyncio.timeout(5):
        errors = await asyncio.gather(
            *(reader.retrieve(lacked, each) for each in ("msgbatch_1", "msgbatch_2")), return_exceptions=True
        )

    assert [type(error) for error in errors] == [UnknownKey] * 2


async def test_batches_of_one_key_with_other_betas_are_in_one_list(emulator: Emulator, api: HttpBatchApi) -> None:
    reader, ids = BatchPolls(api), await created(api, 5)
    profiles = [ApiProfile(anthropic_beta=(f"beta-{n}",)) for n in range(5)]

    found = await asyncio.gather(*(reader.retrieve(each, id_) for each, id_ in zip(profiles, ids, strict=True)))

    assert [each.id for each in found] == ids
    assert made(emulator) == ["list"]


async def test_a_list_that_all_have_given_up_on_is_not_read_again_at_once(
    emulator: Emulator, api: HttpBatchApi
) -> None:
    reader, ids = BatchPolls(api), await created(api, 3)
    emulator.faults.add("slow", operation="list", seconds=60)

    async def impatient(batch_id: str) -> MessageBatch:
        async with asyncio.timeout(0.5):
            return await reader.retrieve(PROFILE, batch_id)

    first = await asyncio.gather(*map(impatient, ids), return_exceptions=True)
    found = await asyncio.gather(*map(impatient, ids))

    assert [type(error) for error in first] == [TimeoutError] * 3
    assert [each.id for each in found] == ids


async def test_a_silent_server_keeps_no_other_servers_polls_waiting(
    emulator: Emulator, api: HttpBatchApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls, "MAX_POLLS", 3)
    reader, ids = BatchPolls(api), await created(api, 4)
    emulator.faults.add("slow", operation="*", seconds=60)
    other = ApiProfile(api_key="team-a")
    waiting = [asyncio.create_task(reader.retrieve(profile, ids[0])) for profile in (PROFILE, PROFILE, other)]
    await asyncio.sleep(0.1)

    with pytest.raises(NotSent, match="wait for an answer of the server already"):
        await reader.retrieve(other, ids[3])
    for each in waiting:
        each.cancel()


async def test_a_poll_that_is_cancelled_takes_nothing_from_the_others(emulator: Emulator, api: HttpBatchApi) -> None:
    reader, ids = BatchPolls(api), await created(api, 4)
    await polled(reader, ids)
    first, *others = (asyncio.create_task(reader.retrieve(PROFILE, each)) for each in ids)
    await asyncio.sleep(0.05)
    first.cancel()

    assert [each.id for each in await asyncio.gather(*others)] == ids[1:]
    with pytest.raises(asyncio.CancelledError):
        await first
    assert made(emulator) == ["list"] * 2


async def test_once_nobody_waits_the_read_ends_and_the_next_poll_has_one_of_its_own(
    emulator: Emulator, api: HttpBatchApi
) -> None:
    reader, ids = BatchPolls(api), await created(api, 3)
    emulator.faults.add("slow", operation="list", seconds=60, times=1)
    waiting = [asyncio.create_task(reader.retrieve(PROFILE, each)) for each in ids]
    await eventually(lambda: "list" in made(emulator), "a list that hangs")
    for each in waiting:
        each.cancel()
    for each in waiting:
        with suppress(asyncio.CancelledError):
            await each

    assert [each.id for each in await polled(reader, ids)] == ids


async def test_what_comes_during_a_read_waits_for_the_next(
    emulator: Emulator, api: HttpBatchApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, ids = BatchPolls(api), await created(api, 4)
    emulator.faults.add("slow", operation="list", seconds=0.3, times=1)
    early = asyncio.create_task(polled(reader, ids[:2]))
    await eventually(lambda: "list" in made(emulator), "a slow list")
    late = [asyncio.create_task(reader.retrieve(PROFILE, each)) for each in ids[2:]]
    await api.cancel(PROFILE, ids[2])
    await early

    assert made(emulator).count("list") == 1
    assert [(await each).processing_status for each in late] == ["canceling", "in_progress"]
    assert made(emulator).count("list") == 2


async def test_polls_wait_for_each_other_the_longer_the_more_there_are(emulator: Emulator, api: HttpBatchApi) -> None:
    reader, ids = BatchPolls(api), await created(api, 40)
    await polled(reader, ids)
    began = asyncio.get_running_loop().time()
    first = asyncio.create_task(reader.retrieve(PROFILE, ids[0]))
    await asyncio.sleep(0.4)
    await asyncio.gather(first, *(reader.retrieve(PROFILE, each) for each in ids[1:]))

    assert made(emulator) == ["list"] * 2
    assert asyncio.get_running_loop().time() - began >= polls.WINDOW_GROWTH * 39**0.25 > 0.6


NOW = datetime.now(UTC)


def item(batch_id: str, **fields: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0) | {"processing": 1}
    times = {"created_at": NOW.isoformat(), "expires_at": (NOW + timedelta(days=1)).isoformat()}
    known = {"id": batch_id, "type": "message_batch", "processing_status": "in_progress", "request_counts": counts}
    return known | times | fields


@pytest.mark.parametrize(
    ("page", "lists", "retrieves"),
    [
        ({"data": [item("foreign")], "has_more": True, "last_id": "foreign"}, (2, polls.MAX_PAGES), 40),
        ({"data": [item("foreign")], "has_more": False, "last_id": None}, (1, 1), 40),
        ({"data": [], "has_more": True, "last_id": "foreign"}, (1, 1), 40),
        ({"data": [item("b-1"), item("b-1", processing_status="ended"), item("b-2")], "has_more": False}, (1, 1), 38),
        ({"data": "none"}, (1, 1), 0),
    ],
    ids=["without end", "foreign ones", "empty and more", "one twice", "no list"],
)
async def test_a_hostile_list_costs_little_and_loses_nothing(
    page: dict[str, Any], lists: tuple[int, int], retrieves: int
) -> None:
    seen: list[str] = []

    def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        batch_id = request.path.rpartition("/")[2]
        return web.json_response(page if batch_id == "batches" else item(batch_id))

    async with serving(answer) as url, http_client(url) as http:
        reader = BatchPolls(HttpBatchApi(http, ApiKeys(KEYS)))
        asked = [reader.retrieve(PROFILE, f"b-{n}") for n in range(40)]
        found = await asyncio.gather(*asked, return_exceptions=True)

    counted = sum(path.endswith("/batches") for path in seen)
    assert lists[0] <= counted <= lists[1]
    assert len(seen) - counted == retrieves
    if retrieves:
        assert [each.id for each in found if isinstance(each, MessageBatch)] == [f"b-{n}" for n in range(40)]
        assert {each.processing_status for each in found if isinstance(each, MessageBatch)} == {"in_progress"}
    else:
        assert all(isinstance(each, Exception) for each in found)


async def test_the_time_for_its_turn_is_not_that_of_a_page(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polls, "PAGE_SECONDS", 0.3)
    pace = CallPace(60)
    async with http_client(emulator.url) as http:
        ids = await created(HttpBatchApi(http, ApiKeys(KEYS)), 3)
        api = HttpBatchApi(http, ApiKeys(KEYS), pace=pace)
        await api.retrieve(PROFILE, ids[0])
        early = asyncio.create_task(polled(reader := BatchPolls(api), ids[:2]))
        await asyncio.sleep(0.3)
        # Comes while the others wait for their turn: the read has not begun.
        late = await reader.retrieve(PROFILE, ids[2])
        await early

    assert late.id == ids[2]
    assert made(emulator) == ["retrieve", "list"]


async def test_polls_that_wait_for_a_turn_have_one_together(emulator: Emulator) -> None:
    pace = CallPace(60)
    async with http_client(emulator.url) as http:
        ids = await created(HttpBatchApi(http, ApiKeys(KEYS)), 20)
        reader = BatchPolls(HttpBatchApi(http, ApiKeys(KEYS), pace=pace))
        pace.hold(0.5)
        # The first comes alone; none of the others finds it answered.
        together = [asyncio.create_task(reader.retrieve(PROFILE, ids[0]))]
        await asyncio.sleep(0.1)
        together += [asyncio.create_task(reader.retrieve(PROFILE, each)) for each in ids[1:]]

        assert [each.id for each in await asyncio.gather(*together)] == ids
    assert made(emulator) == ["list"]


async def test_a_poll_without_a_turn_is_to_be_made_again(
    emulator: Emulator, api: HttpBatchApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace_module, "MAX_WAIT", 0.2)
    ids = await created(api, 3)
    async with http_client(emulator.url) as http:
        pace = CallPace(60)
        reader = BatchPolls(HttpBatchApi(http, ApiKeys(KEYS), pace=pace))
        pace.hold(60)
        errors = await asyncio.gather(*(reader.retrieve(PROFILE, each) for each in ids), return_exceptions=True)

    assert [type(error) for error in errors] == [RateLimited] * 3
    assert made(emulator) == []
