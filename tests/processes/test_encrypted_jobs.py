"""Jobs with encryption on: every command, what the server stores of them, and workers that lack the key."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from pydantic import SecretStr

from message_batches.codec_server import CodecServer, TokenAuth
from message_batches.encryption.codec import EncryptionCodec
from message_batches.results.replies import read_reply
from message_batches.temporal.dev_server import temporal_command
from tests.harness.command_line import QUICK, CommandLine, Ended
from tests.harness.processes import bare_environment
from tests.harness.requests import request
from tests.harness.waiting import eventually
from tests.processes.test_encryption import OLD, PROCESSING, Processes
from tests.processes.test_encryption import processes as processes

JOB = ("--shard-requests", "2", "--concurrency", "1", "--retry-waves", "0", *QUICK, "--json")

TOKEN = "a-token-of-the-tests-0123456789"

pytestmark = pytest.mark.slow


async def start(starter: CommandLine, text: str, name: str = "requests.jsonl") -> str:
    """Start a job of two shards, one at a time; its prompts have that text, its custom_ids the second word of it."""
    given = [request(f"{text.split()[1]}-{number}", f"{text} {number}") for number in range(4)]
    begun = await starter("start", starter.file(given, name), *JOB)
    assert begun.code == 0, begun.said
    return str(begun.json["workflowId"])


async def seen(starter: CommandLine, job: str, field: str) -> dict[str, Any]:
    """Return the job's progress as soon as that field of it is not empty."""

    async def look() -> dict[str, Any] | None:
        progress: dict[str, Any] | None = (await starter("status", job, "--json")).json["progress"]
        return progress if progress and progress[field] else None

    return await eventually(look, f"a job that has {field}")


async def batches(processes: Processes, count: int) -> None:
    """Wait for so many batches whose runs know them."""
    claims = processes.folder / "store"
    await eventually(lambda: len(list(claims.glob("claims/*/*.json"))) == count, f"{count} batches")


def bought(processes: Processes) -> Counter[str]:
    """Return how often each request was sent."""
    return Counter(request.custom_id for batch in processes.emulator.batches for request in batch.requests)


async def test_no_prompt_and_no_reply_of_a_job_is_on_the_server_and_each_command_works(processes: Processes) -> None:
    emulator, keyless = processes.emulator, processes.starter()
    await processes.worker(OLD)
    starter = processes.starter(OLD)
    emulator.faults.add("outcome", operation="create", times=1, custom_id="hidden-1")
    job = await start(starter, "a hidden prompt")
    await batches(processes, 1)
    refused = [
        await keyless(*arguments) for arguments in (("status", job), ("watch", job), ("cancel", job), ("results", job))
    ]
    details = await described(processes, job)
    emulator.faults.add("spend-limit", operation="create", times=1)
    emulator.clock.advance(PROCESSING)
    paused = await seen(starter, job, "paused")
    needing = await starter("list", "--needs-attention", "--json")
    watching = asyncio.create_task(starter("watch", job, "--json"))
    resumed = await starter("resume", job, "--json")
    await batches(processes, 2)
    emulator.clock.advance(PROCESSING)
    watched = await watching
    retried = await starter("retry", job, "--json")
    await batches(processes, 3)
    emulator.clock.advance(PROCESSING)
    ended = await starter("watch", job, "--json")
    results = await starter("results", job)
    report = await starter("report", job, "-o", "page.html", "--json")

    stopped = await start(starter, "a canceled prompt", "stopped.jsonl")
    await batches(processes, 4)
    canceled = await starter("cancel", stopped, "--json")
    emulator.clock.advance(PROCESSING)
    canceled_end = await starter("watch", stopped, "--json")

    assert [each.code for each in refused] == [2] * 4, [each.said for each in refused]
    assert all("encrypted with key '2026-01'" in each.err for each in refused), [each.err for each in refused]
    assert "0 of 2" in details.out
    assert "aiting for its shards" in details.out
    assert paused["paused"].startswith("SpendLimitReached: ")
    assert [each["workflowId"] for each in needing.json if each["workflowId"] == job]
    for each in (resumed, watched, retried, ended, results, report, canceled):
        assert each.code == 0, each.said
    assert watched.json["output"]["summary"]["counts"]["errored"] == 1
    assert ended.json["output"]["summary"]["counts"]["succeeded"] == 4
    assert canceled_end.code == 3, canceled_end.said
    sent = [f"hidden-{number}" for number in (0, 1, 1, 2, 3)] + ["canceled-0", "canceled-1"]
    assert bought(processes) == Counter(sent)

    replies = [read_reply(line.encode()).text for line in results.out.splitlines()]
    assert len(replies) == 4
    shards = [f"{job}-{place}" for place in ("0-0", "0-1", "1-0")]
    stored = b"".join([processes.database(), *[await processes.exported(run) for run in (job, *shards, stopped)]])
    for text in ("hidden prompt", "canceled prompt", "The API answered", "spend limit", "requests from", *replies):
        assert text.encode() not in stored, text
    assert b"2026-01" in stored


async def described(processes: Processes, job: str) -> Ended:
    """Return the job's page as Temporal's command line gets it through the codec server."""
    async with CodecServer(EncryptionCodec([OLD]), TokenAuth(SecretStr(TOKEN)), encode=True) as server:
        process = await asyncio.create_subprocess_exec(
            *(temporal_command() or "temporal", "workflow", "metadata", "--workflow-id", job),
            env=bare_environment(
                processes.folder,
                TEMPORAL_ADDRESS=processes.server.address,
                TEMPORAL_CODEC_ENDPOINT=server.url,
                TEMPORAL_CODEC_AUTH=f"Bearer {TOKEN}",
            ),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out = (await process.communicate())[0].decode()
        return Ended(process.returncode or 0, out, "")


@pytest.mark.parametrize("moment", ["window", "merge"])
async def test_a_job_whose_worker_lacks_the_key_says_so_and_goes_on_once_it_is_there(
    moment: str, processes: Processes
) -> None:
    await processes.worker(OLD)
    starter = processes.starter(OLD)
    job = await start(starter, "a hidden prompt")
    await batches(processes, 1)
    if moment == "merge":
        processes.emulator.clock.advance(PROCESSING)
        await batches(processes, 2)
    worker = await processes.worker()
    processes.emulator.clock.advance(PROCESSING)
    await eventually(lambda: "encrypted with key '2026-01'" in worker.output, "a worker that asks for its key")

    async def needs() -> dict[str, Any] | None:
        listed = (await starter("list", "--needs-attention", "--json")).json
        return next((each for each in listed if each["workflowId"] == job and "encrypted" in each["why"]), None)

    needed = await eventually(needs, "a job that needs its key")
    shown = await starter("status", job, "--json")
    await processes.worker(OLD)
    if moment == "window":
        await batches(processes, 2)
        processes.emulator.clock.advance(PROCESSING)
    ended = await starter("watch", job, "--json", within=90)

    assert needed["why"].endswith("give the workers that key")
    assert shown.json["answeredByWorker"] is False
    assert ended.code == 0, ended.said
    assert json.loads(ended.out)["output"]["verified"]
    assert set(bought(processes).values()) == {1}
