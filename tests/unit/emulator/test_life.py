"""A batch from its creation to its archive, on the virtual clock."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.harness.emulated_api import (
    BATCHES,
    DAY,
    HOUR,
    by_id,
    create,
    eventually,
    http,
    lines,
    request,
    results,
    retrieve,
)
from tests.unit.emulator.conftest import Start

REQUESTS = [request(f"r{number}", max_tokens=0 if number % 5 == 0 else 100) for number in range(10)]


async def advance(client: httpx.AsyncClient, seconds: float) -> None:
    reply = await client.post("/_emulator/clock", json={"advance": seconds})
    assert reply.status_code == 200


def counts(processing: int = 0, succeeded: int = 0, errored: int = 0, canceled: int = 0, expired: int = 0) -> Any:
    return {
        "processing": processing,
        "succeeded": succeeded,
        "errored": errored,
        "canceled": canceled,
        "expired": expired,
    }


async def test_counts_stay_until_the_end(start: Start) -> None:
    emulator = await start(processing_time=timedelta(hours=1))
    async with http(emulator) as client:
        made = await create(client, *REQUESTS)
        await advance(client, HOUR - 60)
        assert (await retrieve(client, made["id"]))["request_counts"] == counts(processing=10)
        await advance(client, 60)
        ended = await retrieve(client, made["id"])
    assert ended["processing_status"] == "ended"
    assert ended["request_counts"] == counts(succeeded=8, errored=2)
    took = datetime.fromisoformat(ended["ended_at"]) - datetime.fromisoformat(ended["created_at"])
    assert took == timedelta(hours=1)


async def test_live_counts_move_and_always_add_up(start: Start) -> None:
    emulator = await start(processing_time=timedelta(hours=1), live_counts=True)
    async with http(emulator) as client:
        made = await create(client, *REQUESTS)
        seen = []
        for _ in range(11):
            seen.append((await retrieve(client, made["id"]))["request_counts"])
            await advance(client, HOUR / 10)
        assert all(sum(each.values()) == 10 for each in seen)
        processing = [each["processing"] for each in seen]
        assert processing == sorted(processing, reverse=True)
        assert len(set(processing)) > 5
        assert seen[-1] == counts(succeeded=8, errored=2)


async def test_a_cancelled_batch_keeps_the_finished_requests(start: Start) -> None:
    emulator = await start(processing_time=timedelta(hours=1), cancel_time=timedelta(minutes=1))
    async with http(emulator) as client:
        made = await create(client, *REQUESTS)
        await advance(client, HOUR / 2)
        canceling = (await client.post(f"{BATCHES}/{made['id']}/cancel")).json()
        assert canceling["processing_status"] == "canceling"
        assert canceling["cancel_initiated_at"] is not None
        assert canceling["request_counts"] == counts(processing=10)
        again = await client.post(f"{BATCHES}/{made['id']}/cancel")
        assert (again.status_code, again.json()) == (200, canceling)
        await advance(client, 60)
        ended = await retrieve(client, made["id"])
        assert ended["processing_status"] == "ended"
        assert ended["cancel_initiated_at"] == canceling["cancel_initiated_at"]
        assert ended["request_counts"]["canceled"] == 5
        got = Counter(line["result"]["type"] for line in await lines(client, made["id"]))
    assert got == Counter({name: count for name, count in ended["request_counts"].items() if count})


async def test_unfinished_requests_expire_after_a_day(start: Start) -> None:
    emulator = await start(processing_time=timedelta(hours=48))
    async with http(emulator) as client:
        made = await create(client, *REQUESTS)
        await advance(client, DAY - 60)
        assert (await retrieve(client, made["id"]))["processing_status"] == "in_progress"
        await advance(client, 60)
        ended = await retrieve(client, made["id"])
        assert ended["processing_status"] == "ended"
        assert ended["ended_at"] == ended["expires_at"]
        assert ended["request_counts"]["expired"] == 5
        got = await by_id(client, made["id"])
    assert sum(result == {"type": "expired"} for result in got.values()) == 5
    assert len(got) == 10


async def test_results_are_archived_after_29_days(start: Start) -> None:
    emulator = await start(processing_time=timedelta(hours=1))
    async with http(emulator) as client:
        made = await create(client)
        await advance(client, 29 * DAY - 60)
        assert (await retrieve(client, made["id"]))["archived_at"] is None
        await results(client, made["id"])
        await advance(client, 60)
        archived = await retrieve(client, made["id"])
        kept = datetime.fromisoformat(archived["archived_at"]) - datetime.fromisoformat(made["created_at"])
        assert kept == timedelta(days=29)
        reply = await client.get(f"{BATCHES}/{made['id']}/results")
        assert (reply.status_code, reply.json()["error"]["type"]) == (404, "not_found_error")
    assert (archived["processing_status"], archived["results_url"]) == ("ended", None)


async def test_time_can_run_faster(start: Start) -> None:
    emulator = await start(processing_time=timedelta(hours=1), time_scale=36_000)
    async with http(emulator) as client:
        made = await create(client)

        async def has_ended() -> bool:
            return bool((await retrieve(client, made["id"]))["processing_status"] == "ended")

        await eventually(has_ended)


async def test_a_batch_can_end_by_count(start: Start) -> None:
    emulator = await start(ends_after_polls=4, live_counts=True)
    async with http(emulator) as client:
        made = await create(client, *REQUESTS)
        polls = [await retrieve(client, made["id"]) for _ in range(5)]
        assert [poll["processing_status"] for poll in polls] == ["in_progress"] * 3 + ["ended"] * 2
        assert [poll["request_counts"]["processing"] for poll in polls] == [8, 5, 3, 0, 0]
        assert polls[3] == polls[4]
        assert len(await lines(client, made["id"])) == 10


async def test_a_list_counts_as_a_poll_of_the_batches_in_it(start: Start) -> None:
    emulator = await start(ends_after_polls=3)
    async with http(emulator) as client:
        older, newer = await create(client), await create(client)
        await retrieve(client, older["id"])
        await client.get(BATCHES, params={"limit": 1})
        pages = [(await client.get(BATCHES)).json()["data"] for _ in range(2)]

    assert [batch["id"] for batch in pages[0]] == [newer["id"], older["id"]]
    assert [[batch["processing_status"] for batch in page] for page in pages] == [
        ["in_progress", "in_progress"],
        ["ended", "ended"],
    ]


async def test_a_batch_that_ends_by_count_can_be_cancelled(start: Start) -> None:
    emulator = await start(ends_after_polls=100, cancel_time=timedelta(hours=1))
    async with http(emulator) as client:
        made = await create(client, *REQUESTS)
        await client.post(f"{BATCHES}/{made['id']}/cancel")
        assert (await retrieve(client, made["id"]))["processing_status"] == "canceling"
        await advance(client, HOUR)
        assert (await retrieve(client, made["id"]))["request_counts"] == counts(canceled=10)


async def test_deleting(start: Start) -> None:
    emulator = await start(processing_time=timedelta(hours=1))
    async with http(emulator) as client:
        made = await create(client)
        refused = await client.delete(f"{BATCHES}/{made['id']}")
        expected_error = "In progress batches cannot be deleted. Consider canceling the batch instead."
        assert (refused.status_code, refused.json()["error"]["message"]) == (400, expected_error)
        await client.post(f"{BATCHES}/{made['id']}/cancel")
        assert (await client.delete(f"{BATCHES}/{made['id']}")).status_code == 400
        await advance(client, HOUR)
        deleted = await client.delete(f"{BATCHES}/{made['id']}")
        assert deleted.json() == {"id": made["id"], "type": "message_batch_deleted"}
        for path in ("", "/results"):
            assert (await client.get(f"{BATCHES}/{made['id']}{path}")).status_code == 404
        assert (await client.get(BATCHES)).json()["data"] == []


async def test_jitter_stays_within_its_share_and_repeats_with_the_seed(start: Start) -> None:
    took = []
    for seed in (1, 1, 2):
        emulator = await start(processing_time=timedelta(hours=1), jitter=0.2, seed=seed)
        async with http(emulator) as client:
            made = [await create(client) for _ in range(20)]
            await advance(client, 2 * HOUR)
            ended = [await retrieve(client, each["id"]) for each in made]
        took.append(
            [datetime.fromisoformat(each["ended_at"]) - datetime.fromisoformat(each["created_at"]) for each in ended]
        )
    assert took[0] == took[1] != took[2]
    assert all(timedelta(minutes=48) <= each <= timedelta(minutes=72) for each in took[0])
    assert len(set(took[0])) == 20


@pytest.mark.parametrize(("batches", "of"), [(40, 1), (4, 10), (1, 40)])
async def test_each_request_fails_at_the_error_rate_whatever_the_size_of_its_batch(
    start: Start, batches: int, of: int
) -> None:
    emulator = await start(processing_time=timedelta(), error_rate=0.3, seed=1)
    async with http(emulator) as client:
        errors = []
        for _ in range(batches):
            made = await create(client, *(request(f"r{number}") for number in range(of)))
            counted = (await retrieve(client, made["id"]))["request_counts"]
            failed = [line["result"]["error"] for line in await lines(client, made["id"]) if "error" in line["result"]]
            assert counted == counts(succeeded=of - len(failed), errored=len(failed))
            errors += failed
    assert 6 <= len(errors) <= 20
    assert {error["error"]["type"] for error in errors} == {"api_error"}
    assert all(error["request_id"].startswith("workerreq_") for error in errors)


async def test_the_errors_repeat_with_the_seed(start: Start) -> None:
    failed = []
    for seed in (1, 1, 2):
        emulator = await start(processing_time=timedelta(), error_rate=0.5, seed=seed)
        async with http(emulator) as client:
            made = await create(client, *(request(f"r{number}") for number in range(40)))
            got = await by_id(client, made["id"])
        failed.append({name for name, result in got.items() if result["type"] == "errored"})
    assert failed[0] == failed[1] != failed[2]


async def test_bad_clock_commands_are_refused(client: httpx.AsyncClient) -> None:
    for wrong in ('{"advance": -1}', '{"advance": "x"}', "{}", "[]", "x"):
        reply = await client.post("/_emulator/clock", content=wrong)
        assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")
    assert (await client.get("/_emulator/clock")).json()["now"].endswith("Z")
