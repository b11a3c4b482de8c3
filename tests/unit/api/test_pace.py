"""The pace of calls: evenly spaced, urgent ones first, and within the limit however many workers share it."""

import asyncio
import time

import pytest

from message_batches.api.pace import MINUTE, CallPace
from message_batches.errors import RateLimited


@pytest.mark.parametrize("limit", [1, 5, 8, 50, 1000, 4000])
@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_no_minute_can_have_more_calls_than_the_limit(limit: int, workers: int) -> None:
    pace = CallPace(limit)
    pace.workers = workers
    # Evenly, the first one of the minute included.
    most = workers * (int(MINUTE / pace.spacing) + 1)

    assert most <= limit + 1 or limit < 2 * workers
    assert MINUTE * workers / pace.spacing <= limit
    assert MINUTE * workers / pace.spacing >= limit / 2


async def test_calls_are_evenly_spaced_and_urgent_ones_come_first() -> None:
    pace, made = CallPace(1200), list[tuple[str, float]]()

    async def call(name: str, *, first: bool = False) -> None:
        await pace.turn(poll=not first)
        made.append((name, time.monotonic()))

    others = [asyncio.create_task(call(f"other-{n}")) for n in range(3)]
    await asyncio.sleep(0)
    urgent = [asyncio.create_task(call(f"urgent-{n}", first=True)) for n in range(3)]
    await asyncio.gather(*others, *urgent)

    assert [name for name, _ in made[-5:]] == [*(f"urgent-{n}" for n in range(6) if n < 3), "other-1", "other-2"][-5:]
    assert made[-1][1] - made[0][1] >= 5 * pace.spacing * 0.99


async def test_a_poll_has_every_fourth_turn_at_least() -> None:
    pace, made = CallPace(6000), list[str]()

    async def call(name: str, *, poll: bool = False) -> None:
        await pace.turn(poll=poll)
        made.append(name)

    await asyncio.gather(*(call("other") for _ in range(12)), *(call("poll", poll=True) for _ in range(2)))

    assert [index for index, name in enumerate(made) if name == "poll"] == [3, 7]


async def test_a_poll_without_a_turn_is_to_be_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("message_batches.api.pace.MAX_WAIT", 0.1)
    pace = CallPace(2)
    await pace.turn()

    with pytest.raises(RateLimited, match="2 calls a minute") as caught:
        await pace.turn(poll=True)

    assert caught.value.retry_after
    assert caught.value.retry_after.total_seconds() >= pace.spacing


async def test_a_call_that_is_given_up_costs_no_turn() -> None:
    pace = CallPace(600)
    await pace.turn()
    gone = asyncio.create_task(pace.turn())
    began = time.monotonic()
    stays = asyncio.create_task(pace.turn())
    await asyncio.sleep(0.01)
    gone.cancel()
    await stays

    assert time.monotonic() - began < 1.5 * pace.spacing


async def test_without_a_limit_nothing_waits() -> None:
    pace = CallPace()
    began = time.monotonic()
    for _ in range(100):
        await pace.turn()

    assert time.monotonic() - began < 1


async def test_nothing_is_called_while_the_pace_is_held() -> None:
    pace, began = CallPace(6000), time.monotonic()
    pace.hold(0.3)
    await pace.turn()

    assert time.monotonic() - began >= 0.3
