"""Receivers that are down, refuse, redirect or hang: the run is as without them, and each is shown."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from temporalio.testing import WorkflowEnvironment

from message_batches.api.network import DIRECT
from message_batches.contract import NOTIFICATION_WORKFLOW_TYPE, RESUME_JOB
from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.library.notifications import Delivery, notifications_of
from message_batches.temporal.dev_server import DevServer
from message_batches.webhooks.delivery import HttpWebhooks
from message_batches.webhooks.endpoints import read_endpoints
from message_batches.webhooks.events import notification_id
from tests.harness import waiting
from tests.harness.command_line import QUICK, CommandLine, command_line
from tests.harness.processes import lasting_port
from tests.harness.receiver import Receiver, receiving, variables, webhooks
from tests.harness.requests import fresh, requests
from tests.harness.running_jobs import job_when, start_job
from tests.harness.stack import QUICK_POLL, Stack, details_of, failure_of, running_stack
from tests.unit.webhooks.events import notification


class Impatient(HttpWebhooks):
    timeout = 2


async def status_with(starter: CommandLine, identity: str, text: str) -> str:
    """Return what `status` shows once it has that text: Temporal lists a workflow a moment after its start."""

    async def shown() -> str | None:
        said = (await starter("status", identity)).said
        return said if text in said else None

    return await waiting.eventually(shown, f"a status with {text!r}")


@pytest.mark.slow
async def test_a_receiver_that_is_down_for_three_attempts_gets_each_event_once(
    temporal: DevServer, emulator: Emulator, tmp_path: Path
) -> None:
    port, store = lasting_port(), (tmp_path / "store").as_uri()
    made = webhooks({"ops": f"http://127.0.0.1:{port}/hooks"})
    async with running_stack(temporal.client, emulator, store, webhooks=made) as live:
        starter = command_line(tmp_path / "user", temporal, store, live.task_queue)
        run = await live.start(requests(), notify=["ops"])
        output = await run.result()
        down = await status_with(starter, run.id, "batch.landed is not delivered to ops yet, 3 attempts failed")
        async with receiving(port=port) as receiver:
            await receiver.has("batch.submitted", "batch.landed")
            up = await status_with(starter, run.id, "Webhooks: 2 of 2 notifications delivered")

    assert output.verified
    assert f"No answer from 127.0.0.1:{port}" in down
    assert "not delivered" not in up
    assert sorted(receiver.events) == ["batch.landed", "batch.submitted"]
    assert len(receiver.got) == 2


@pytest.mark.slow
async def test_each_attempt_has_the_same_id_and_a_time_of_its_own(telling: Stack, receiver: Receiver) -> None:
    receiver.answer = lambda number: web.Response(status=503) if number <= 6 else None
    await telling.run(requests(), notify=["ops"])
    await receiver.has("batch.submitted", "batch.landed")

    assert len(receiver.got) == 8
    times: dict[str, list[int]] = {}
    for got in receiver.got:
        times.setdefault(got.id, []).append(int(got.headers["webhook-timestamp"]))
    assert len(times) == 2
    assert max(each[-1] - each[0] for each in times.values()) >= 1


@pytest.mark.slow
async def test_a_receiver_that_answers_500_for_ever_is_shown_and_can_be_sent_to_again(
    telling: Stack, receiver: Receiver, teller: CommandLine
) -> None:
    receiver.answer = lambda _: web.Response(status=500)
    run = await telling.start(requests(), notify=["ops"])
    output = await run.result()

    host = receiver.url.removeprefix("http://")
    await waiting.eventually(lambda: len(receiver.got) >= 6, "several attempts for each")
    problem = await status_with(teller, run.id, "batch.landed is not delivered to ops yet")
    document = (await teller("status", run.id, "--json")).json
    again = await teller("notify", run.id)
    receiver.answer = lambda _: None
    await receiver.has("batch.submitted", "batch.landed")

    assert output.verified
    assert f"{host} answered 500" in problem
    assert f"notify {run.id}" in problem
    assert [each["delivery"] for each in document["notifications"]] == ["trying", "trying"]
    assert document["notifications"][0]["attempts"] >= 2
    assert "batch.landed is sent to ops again" in again.out
    first = {each.id for each in receiver.got if each.status == 500}
    assert {each.id for each in receiver.accepted} == first


@pytest.mark.slow
async def test_the_page_of_a_run_says_what_does_not_get_through_until_it_is_sent_again(
    temporal: DevServer, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answer = lambda _: web.Response(status=500)
    made, store = webhooks({"ops": receiver.url}), (tmp_path / "store").as_uri()
    async with (
        Emulator(EmulatorOptions(processing_time=timedelta(minutes=10))) as emulator,
        running_stack(temporal.client, emulator, store, webhooks=made) as live,
    ):
        teller = command_line(tmp_path / "user", temporal, live.store_url, live.task_queue)
        seldom = QUICK_POLL.model_copy(update={"retry_after": timedelta(hours=1)})
        run = await live.start(requests(), notify=["ops"], poll=seldom)

        async def shown() -> bool:
            return "not delivered yet" in await details_of(run)

        async def gone() -> bool:
            return not await shown()

        await waiting.eventually(shown, "the problem on the page, between two polls")
        receiver.answer = lambda _: None
        await teller("notify", run.id)
        await waiting.eventually(gone, "a page without it")

    assert [each.status for each in receiver.got][-1] != 500


@pytest.mark.slow
async def test_each_event_of_a_type_that_does_not_get_through_is_on_the_page(
    telling: Stack, receiver: Receiver
) -> None:
    receiver.answer = lambda _: web.Response(status=500)
    telling.emulator.faults.add("spend-limit", operation="create")
    job = await start_job(telling, requests(2), notify=["ops"])
    first = await job_when(job, lambda seen: seen.paused_since is not None)
    await job.execute_update(RESUME_JOB)
    await job_when(job, lambda seen: seen.paused_since not in (None, first.paused_since))

    async def both() -> bool:
        return (await details_of(job)).count("**job.needs_attention to ops** not delivered yet") == 2

    await waiting.eventually(both, "two events of one type on the page")
    await job.terminate()


async def test_a_receiver_that_redirects_to_this_machine_is_not_followed_and_shown(
    telling: Stack, receiver: Receiver, teller: CommandLine
) -> None:
    async with receiving() as inside:
        receiver.answer = lambda _: web.Response(status=302, headers={"location": f"{inside.url}/admin"})
        run = await telling.start(requests(), notify=["ops"])
        output = await run.result()
        shown = await status_with(teller, run.id, "answered 302, a redirect, which is not followed")

        assert output.verified
        assert "batch.submitted" in shown
        assert not inside.got


@pytest.mark.slow
async def test_a_receiver_that_hangs_delays_no_run_and_is_shown(
    temporal: DevServer, emulator: Emulator, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.hangs = True
    made = Impatient(read_endpoints(variables({"ops": receiver.url})), DIRECT)
    store = (tmp_path / "store").as_uri()
    async with running_stack(temporal.client, emulator, store, webhooks=made) as live:
        began = time.monotonic()
        runs = [await live.start(requests(), notify=["ops"]) for _ in range(8)]
        outputs = await asyncio.gather(*(run.result() for run in runs))
        took = time.monotonic() - began
        starter = command_line(tmp_path / "user", temporal, store, live.task_queue)
        await status_with(starter, runs[0].id, "did not answer within 2 s")

    assert all(output.verified for output in outputs)
    # One attempt alone takes two seconds, and there are two for each run.
    assert took < 16
    assert receiver.got


async def test_after_410_nothing_more_is_sent_until_an_operator_asks(
    telling: Stack, receiver: Receiver, teller: CommandLine
) -> None:
    receiver.answer = lambda _: web.Response(status=410)
    batch_id = await telling.post_by_a_stranger(requests())
    run = await telling.start(batch_id=batch_id, notify=["ops"])
    await run.result()
    shown = await status_with(teller, run.id, "is no longer tried")
    assert len(receiver.got) == 1
    receiver.answer = lambda _: None
    again = await teller("notify", run.id, "--json")
    await receiver.has("batch.landed")
    after = await status_with(teller, run.id, "Webhooks: 1 of 1 notification delivered")
    none = await teller("notify", run.id)

    assert "batch.landed was not delivered to ops, and is no longer tried" in shown
    assert "answered 410" in shown
    assert [each["event"] for each in again.json["sentAgain"]] == ["batch.landed"]
    assert len({each.id for each in receiver.got}) == 1
    assert "no longer" not in after
    assert "1 notification delivered: there is none to send again" in none.said


async def test_a_run_that_tells_nobody_has_none_to_send_again(live: Stack, starter: CommandLine) -> None:
    run = await live.start(requests())
    await run.result()
    ended = await starter("notify", run.id)

    assert ended.code == 2
    assert "started without --notify" in ended.said


async def test_what_is_not_delivered_for_a_day_is_given_up(
    skipping: WorkflowEnvironment, receiver: Receiver, emulator: Emulator, tmp_path: Path
) -> None:
    receiver.answer = lambda _: web.Response(status=500)
    made = webhooks({"ops": receiver.url})
    async with running_stack(skipping.client, emulator, tmp_path.as_uri(), webhooks=made) as live:
        given = notification()
        run = await skipping.client.start_workflow(
            NOTIFICATION_WORKFLOW_TYPE,
            given,
            id=notification_id(given.event.data.run_id, "batch.landed", "ops"),
            task_queue=live.task_queue,
        )
        failed = await failure_of(run)
        (sent,) = await notifications_of(skipping.client, given.event.data.run_id)

    assert failed.type == "NotDelivered"
    assert "answered 500" in failed.message
    assert 10 <= len(receiver.got) <= 20
    assert len({each.id for each in receiver.got}) == 1
    assert (sent.delivery, sent.event, sent.webhook) == (Delivery.UNDELIVERED, "batch.landed", "ops")
    assert "answered 500" in sent.problem


async def test_start_takes_the_names_of_webhooks(telling: Stack, receiver: Receiver, teller: CommandLine) -> None:
    file = teller.file(fresh())
    started = await teller("start", file, "--notify", "ops", "--wait", *QUICK)
    await receiver.has("batch.submitted", "batch.landed")
    wrong = await teller("start", file, "--notify", "https://hooks.example.com/secret", *QUICK)

    assert started.code == 0
    assert (wrong.code, "never its address" in wrong.said, "secret" in wrong.said) == (2, True, False)
