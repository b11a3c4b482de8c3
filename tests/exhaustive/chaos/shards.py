"""The shards of a round's job, as they are once it has ended: by their plans in the store, each with its run."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from tests.exhaustive.chaos.callers import RUN_TIMEOUT, completed, failed
from tests.exhaustive.chaos.evidence import RunSeen
from tests.exhaustive.chaos.plan import Job
from tests.exhaustive.chaos.world import World

FORGOTTEN = "forgotten"
"""The end of a shard whose run Temporal does not know."""

_PLAN = re.compile(r"jobs/[^/]+/(\d+)\.plan")


async def shards_of(world: World, job: Job) -> list[RunSeen]:
    """Return the shards of all waves, each once its run has ended."""
    names = world.store.names()
    return list(await asyncio.gather(*(_shard(world, job, *each) for each in _planned(world, names))))


def _planned(world: World, names: frozenset[str]) -> Iterator[tuple[str, list[str], Mapping[str, Any] | None]]:
    """Yield the suffix of each shard's workflow id, its custom_ids, and its record."""
    for name, wave in sorted((name, found[1]) for name in names if (found := _PLAN.fullmatch(name))):
        for number, line in enumerate(_read(world, name).splitlines()):
            requests = world.store.read(json.loads(line)["uri"]).splitlines()
            record = name.replace(f"/{wave}.plan", f"/{wave}-{number}.json")
            landed = json.loads(_read(world, record)) if record in names else None
            yield f"-{wave}-{number}", [json.loads(each)["custom_id"] for each in requests], landed


def _read(world: World, name: str) -> bytes:
    return world.store.read(world.store.uri(name))


async def _shard(world: World, job: Job, shard: str, ids: list[str], record: Mapping[str, Any] | None) -> RunSeen:
    handle = world.client.get_workflow_handle(f"run-{job.name}{shard}")
    try:
        async with asyncio.timeout(RUN_TIMEOUT):
            seen = completed(job, ids, await handle.result())
    except WorkflowFailureError as error:
        seen = failed(job, ids, error.cause)
    except TimeoutError:
        seen = RunSeen(job, ids, ended=None, said=f"not within {RUN_TIMEOUT} s")
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        seen = RunSeen(job, ids, ended=FORGOTTEN)
    seen = replace(seen, shard=shard, record=record)
    with suppress(FileNotFoundError):
        return replace(seen, results=world.store.read(record["resultsFile"]["uri"])) if record else seen
    return seen
