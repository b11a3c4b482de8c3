"""Runs in the states that the commands have words for."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from message_batches.models import Progress
from tests.harness.command_line import QUICK, CommandLine, Ended
from tests.harness.requests import fresh, mixed
from tests.harness.stack import Stack, progress_when
from tests.harness.waiting import eventually

WAIT = ("--wait", *QUICK)
RARELY = ("--poll-interval", "1h", "--quiet-period", "1h", "--submission-timeout", "8s")


def file_of(starter: CommandLine, requests: Sequence[Mapping[str, Any]], name: str = "requests.jsonl") -> str:
    """Write a file of requests; its name, without a folder whose length differs from machine to machine."""
    return starter.file(requests, name).name


def in_environment(starter: CommandLine, **variables: str) -> CommandLine:
    """The same command line with other variables."""
    return replace(starter, environment={**starter.environment, **variables})


async def in_both_forms(starter: CommandLine, *arguments: str | Path) -> tuple[Ended, Ended]:
    """Run a command that changes nothing as text and with `--json`."""
    text, document = await asyncio.gather(starter(*arguments), starter(*arguments, "--json"))
    return text, document


async def landed(starter: CommandLine) -> str:
    """The workflow id of a run that has landed two replies and two errors."""
    return await _started(starter, starter.file(mixed()), *WAIT)


async def failed(starter: CommandLine, live: Stack) -> str:
    """The workflow id of a run whose POST was refused."""
    live.emulator.faults.add("spend-limit", operation="create", times=1)
    return await _started(starter, starter.file(fresh()), *WAIT)


async def polling(
    starter: CommandLine, live: Stack, *options: str, requests: Sequence[Mapping[str, Any]] | None = None
) -> str:
    """The workflow id of a run that waits for its batch."""
    workflow_id = await _started(starter, starter.file(requests or mixed()), *(options or RARELY))
    await when(live, workflow_id, lambda seen: bool(seen.polls and seen.next_poll))
    return workflow_id


async def undecided(starter: CommandLine, live: Stack, file: str | None = None) -> str:
    """The workflow id of a run whose POST got no reply and made a batch."""
    live.emulator.faults.add("accept-then-drop", operation="create", times=1)
    workflow_id = await _started(starter, file or file_of(starter, fresh()), *RARELY)
    await when(live, workflow_id, lambda seen: bool(seen.candidates and seen.next_poll))
    return workflow_id


async def retrying(starter: CommandLine, live: Stack) -> str:
    """The workflow id of a run whose polls fail until the fault is taken away."""
    live.emulator.faults.add("529", operation="retrieve")
    return await _started(starter, starter.file(fresh()), *RARELY)


async def while_waiting_to_retry(starter: CommandLine, *arguments: str) -> Ended:
    """Run a command until it shows an activity that waits for its next attempt."""

    async def look() -> Ended | None:
        ended = await starter(*arguments)
        return ended if any(each in ended.out for each in (", again in ", '"nextAttempt": "')) else None

    return await eventually(look, "an activity that waits for its next attempt")


async def when(live: Stack, workflow_id: str, condition: Callable[[Progress], bool]) -> Progress:
    """The progress of a run as soon as it is as expected."""
    return await progress_when(live.client.get_workflow_handle(workflow_id), condition)


async def terminate(live: Stack, *workflow_ids: str, reason: str | None = None) -> None:
    for workflow_id in workflow_ids:
        await live.client.get_workflow_handle(workflow_id).terminate(reason=reason)


async def _started(starter: CommandLine, *arguments: str | Path) -> str:
    return str((await starter("start", *arguments, "--json")).json["workflowId"])


def named(starter: CommandLine) -> CommandLine:
    """The same command line, called `starter.py` in what it suggests."""
    return in_environment(starter, MESSAGE_BATCHES_COMMAND="starter.py")
