"""The output of the commands for schedules: in every scene, as `tests/golden` has it."""

from datetime import timedelta
from pathlib import Path

import pytest

from message_batches.temporal.dev_server import DevServer
from tests.harness.command_line import CommandLine, Ended, command_line
from tests.harness.golden import Scenes, assert_golden
from tests.harness.requests import fresh
from tests.harness.stack import Stack
from tests.harness.waiting import eventually
from tests.integration.cli.output.runs import file_of, in_both_forms, in_environment, named

CREATE = ("schedule", "create")
AT_TWO = ("--cron", "0 2 * * *", "--time-zone", "Europe/Berlin")
DAILY = ("--every", "24h")
NEVER = ("--cron", "0 0 30 2 *")


@pytest.mark.slow
async def test_schedule(forgetful: DevServer, own: Stack, tmp_path: Path) -> None:
    starter = named(command_line(tmp_path / "user", forgetful, own.store_url, own.task_queue))
    alone = in_environment(starter, MESSAGE_BATCHES_TASK_QUEUE="nobody-polls")
    file, uri = file_of(starter, fresh()), f"{own.store_url}/nightly/{{date}}.jsonl"
    late = ("--requests-uri", uri, "--wait-for-file", "2h")
    quick = ("--poll-interval", "0.1s")

    none = await starter("schedule", "list")
    created = [
        await starter(*CREATE, "nightly", file, *AT_TWO, *quick, "--max-cost", "20", "--pause-on-failure"),
        await starter(*CREATE, "incoming", *late, *AT_TWO, "--overlap", "allow", "--json"),
        await alone(*CREATE, "reviews", file, *DAILY, "--retry-waves", "1", "--key", "team-a"),
        await starter(*CREATE, "thirtieth", file, *NEVER),
    ]
    await eventually(lambda: all_listed(starter), "the list of schedules, which lags behind")
    scenes: Scenes = {
        "none yet": none,
        "created": created,
        "listed": await in_both_forms(starter, "schedule", "list"),
        "shown": await starter("schedule", "show", "incoming"),
        "there already": await starter(*CREATE, "nightly", file, *DAILY),
        "no such times": await starter(*CREATE, "another", file, "--cron", "61 * * * *"),
        "no such time zone": await starter(*CREATE, "another", file, *DAILY, "--time-zone", "Mars/Olympus"),
        "a pause that would never come": await starter(
            *CREATE, "another", file, *DAILY, "--overlap", "allow", "--pause-on-failure"
        ),
        "no name": await starter(*CREATE, "attach-nightly", file, *DAILY),
        "outside the store": await starter(*CREATE, "another", "--requests-uri", "s3://a/{date}.jsonl", *DAILY),
        "no such placeholder": await starter(*CREATE, "another", "--requests-uri", f"{uri}-{{week}}", *DAILY),
        "no requests": await starter(*CREATE, "another", *DAILY),
        "no times": await starter(*CREATE, "another", file),
        "too often": await starter(*CREATE, "another", file, "--every", "0.1s"),
        "nothing to wait for": await starter(*CREATE, "another", file, *DAILY, "--wait-for-file", "2h"),
        "too expensive": await starter(*CREATE, "another", file, *DAILY, "--max-cost", "0.000001", "--json"),
        **await fired(starter, own),
        "no such schedule": [
            await starter("schedule", command, "no-such")
            for command in ("show", "trigger", "pause", "resume", "delete")
        ],
    }

    assert_golden("schedule", scenes, tmp_path)


async def fired(starter: CommandLine, own: Stack) -> dict[str, Ended | list[Ended] | tuple[Ended, Ended]]:
    """The commands for a schedule that fires."""
    first = await starter("schedule", "trigger", "nightly")
    await own.saw("retrieve")
    again = await starter("schedule", "trigger", "nightly")
    own.emulator.clock.advance(timedelta(minutes=11))

    async def landed() -> bool:
        runs = (await starter("schedule", "show", "nightly", "--json")).json["runs"]
        return bool(runs[0]["status"] == "completed")

    await eventually(landed, "the end of the run")
    return {
        "fired": first,
        "under way": again,
        "shown, fired": await in_both_forms(starter, "schedule", "show", "nightly"),
        "paused": [
            await starter("schedule", "pause", "nightly", "--reason", "a price has changed"),
            await starter("schedule", "show", "nightly"),
        ],
        "fired, paused": await starter("schedule", "trigger", "nightly", "--json"),
        "resumed": await starter("schedule", "resume", "nightly"),
        "deleted": [
            await starter("schedule", "delete", "reviews"),
            await starter("schedule", "delete", "nightly", "--json"),
        ],
    }


async def all_listed(starter: CommandLine) -> bool:
    """Whether the list has all four."""
    return len((await starter("schedule", "list", "--json")).json) == 4
