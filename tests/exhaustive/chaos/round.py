"""Playing a round: its processes, its runs and its harm; then all evidence is written down."""

import asyncio
import json
import math
import os
import re
import secrets
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.exhaustive.chaos.callers import Handle, outcome, start
from tests.exhaustive.chaos.evidence import BatchSeen, Evidence, RunSeen
from tests.exhaustive.chaos.fault_injection import FaultInjection
from tests.exhaustive.chaos.leaks import leaks, readable
from tests.exhaustive.chaos.moments import second_wave_planned
from tests.exhaustive.chaos.operator import decide, owner
from tests.exhaustive.chaos.plan import Act, Job, Round, Run
from tests.exhaustive.chaos.shards import shards_of
from tests.exhaustive.chaos.world import World, world
from tests.harness.waiting import eventually

_KEPT = re.compile(r"the lines that did arrive are in (\S+?\.jsonl)")
_CLAIM = re.compile(r"claims/[^/]+/(.+)\.json")
_INTENT = re.compile(
    r"submissions/[^/]+/[^/]+/(run-[a-z](?:-\d+-\d+)?)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d+\.json"
)


async def play(plan: Round, folder: Path) -> Evidence:
    """Play a round and return its evidence; its folder has logs, histories, database, store and emulator records."""
    # It has characters that are encoded differently in a URL, and in base64.
    key = f"sk-ant-chaos/{secrets.token_hex(12)}+{secrets.token_hex(4)}="
    (folder / "plan.json").write_text(json.dumps(plan.as_json(), indent=1))
    async with world(plan, folder, key) as made:
        seen = await _played(made)
    return replace(
        seen,
        leaks=tuple(await asyncio.to_thread(lambda: list(leaks(folder, key)))),
        readable=tuple(await asyncio.to_thread(lambda: list(readable(folder, _first_prompts(plan))))),
        litter=tuple(str(path) for name in ("scratch", "tmp") for path in (folder / name).rglob("*")),
        strays=tuple(strays(folder)),
    )


def _first_prompts(plan: Round) -> list[str]:
    """Return a part of the first prompt of each run, if Temporal must not have it."""
    return [f"{run.name}-0000: word" for run in plan.runs] if plan.encrypted else []


async def _played(made: World) -> Evidence:
    plan = made.plan
    await asyncio.gather(*(made.add_worker() for _ in range(plan.workers)))
    await made.advance(plan.ahead)
    for fault in plan.all_faults:
        await made.add_fault(fault)
    injection = FaultInjection(made)
    lifting = [asyncio.create_task(each) for each in (_lift(made), _let_second_wave_succeed(made))]
    injection.begin()
    try:
        outcomes = await asyncio.gather(*(_run(made, run) for run in plan.runs))
        await injection.end()
        if plan.has(Act.SET_BACK):
            # What had ended may be under way again.
            outcomes = await asyncio.gather(*(_follow(made, seen.plan, handle) for seen, handle in outcomes))
        shards = await shards_of(made, plan.job) if plan.job else []
    finally:
        for task in lifting:
            task.cancel()
        injection.drop()
    # A worker that was frozen may still finish a call: the emulator's records are read after it has left.
    await made.dismiss()
    await _write_histories(made)
    await made.temporal.terminate()
    records = await _emulator_records(made)
    for what, content in records.items():
        (made.folder / f"{what}.json").write_text("".join(f"{json.dumps(each)}\n" for each in content))
    return _evidence(made, [*(seen for seen, _ in outcomes), *shards], records, injection)


async def _emulator_records(made: World) -> dict[str, list[dict[str, Any]]]:
    """Return the emulator's records, and the run of each batch."""
    # The API executes a late POST although its client has disconnected.
    await asyncio.sleep(max((fault["seconds"] for fault in made.plan.all_faults if fault.get("late")), default=0))
    records = {what: await made.ask(what) for what in ("calls", "batches", "faults")}
    records["faults"] += made.lifted
    (await made.api.delete("/_emulator/faults")).raise_for_status()
    await made.advance(3600)
    for batch in records["batches"]:

        async def has_owner(batch: dict[str, Any] = batch) -> bool:
            with suppress(httpx.HTTPStatusError):
                batch["of"] = await owner(made, batch["id"])
            return bool(batch.get("of"))

        await eventually(has_owner, f"results of {batch['id']}, which may be invisible for a while")
    return records


async def _run(made: World, run: Run) -> tuple[RunSeen, Handle]:
    await asyncio.sleep(run.after)
    handle = await start(made, run)
    made.started.add(run.name)
    if len(made.started) == len(made.plan.runs):
        made.all_started.set()
    return await _follow(made, run, handle)


async def _follow(made: World, run: Run, handle: Handle) -> tuple[RunSeen, Handle]:
    deciding = asyncio.create_task(decide(made, run, handle))
    try:
        return await outcome(made, run, handle), handle
    finally:
        deciding.cancel()


async def _lift(made: World) -> None:
    """Lift a fault that lasts, some time after it was first applied."""
    if all("times" in fault for fault in made.plan.faults):
        return

    async def struck() -> bool:
        lasting = [fault for fault in await made.ask("faults") if fault["times"] is None]
        return any(fault["applied"] for fault in lasting if fault["fault"] != "outcome")

    await eventually(struck, "a fault that strikes", within=math.inf)
    await asyncio.sleep(made.plan.lifted_after)
    await made.lift_faults(of_job=False)


async def _let_second_wave_succeed(made: World) -> None:
    """Lift the faults by which requests of the job fail, before any is sent again."""
    if made.plan.job and made.plan.job.waves:

        async def planned() -> bool:
            return second_wave_planned(await made.names())

        await eventually(planned, "a second wave", within=math.inf)
        await made.lift_faults(of_job=True)


def _evidence(
    made: World, runs: Sequence[RunSeen], records: dict[str, list[dict[str, Any]]], injection: FaultInjection
) -> Evidence:
    names = made.store.names()
    posts = [found[1] for name in names if not name.endswith(".outcome.json") and (found := _INTENT.fullmatch(name))]
    seen = [replace(_with_results(made, run), posts=posts.count(run.workflow_id)) for run in runs]
    jobs = [run for run in seen if isinstance(run.plan, Job) and not run.shard]
    return Evidence(
        plan=made.plan,
        runs=[run for run in seen if run not in jobs],
        job=jobs[0] if jobs else None,
        batches=[
            BatchSeen(batch["id"], batch["of"], tuple(batch["custom_ids"]), datetime.fromisoformat(batch["created_at"]))
            for batch in records["batches"]
        ],
        calls=records["calls"],
        faults=records["faults"],
        harms=tuple(injection.done),
        decided=tuple(made.decided),
        store=names,
        claims={
            found[1]: json.loads(made.store.read(made.store.uri(name)))["owner"]
            for name in names
            if (found := _CLAIM.fullmatch(name))
        },
        litter=(),
        leaks=(),
        readable=(),
        strays=(),
        exits=[worker.exit_code or 0 for worker in made.workers if worker.exit_code != -signal.SIGKILL],
    )


def _with_results(made: World, run: RunSeen) -> RunSeen:
    kept = _KEPT.search(run.said)
    uri = run.output["resultsFile"]["uri"] if run.output else kept[1] if kept else None
    with suppress(FileNotFoundError):
        return replace(run, results=made.store.read(uri)) if uri else run
    return run


async def _write_histories(made: World) -> None:
    """Write histories as JSON for a reader, and as protobuf, with payloads that can be searched."""
    runs = [run async for run in made.client.list_workflows()]
    numbers = Counter[str]()
    for run in sorted(runs, key=lambda run: run.start_time):
        numbers[run.id] += 1
        history = await made.client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
        file = made.folder / f"{run.id}-{numbers[run.id]}.history"
        file.with_suffix(".json").write_text(history.to_json())
        file.write_bytes(b"\n".join(event.SerializeToString() for event in history.events))


def strays(folder: Path) -> list[str]:
    """Return processes that were started for this round: their command or environment contains its folder."""
    found = []
    for process in psutil.process_iter():
        try:
            command, environment = process.cmdline(), process.environ().values()
        except psutil.Error:
            continue
        if any(f"{folder}/" in each for each in (*command, *environment)) and process.pid != os.getpid():
            found.append(f"{process.pid}: {' '.join(command)}")
    return found
