"""The invariants of a round, whatever was done to it; each check yields its violations."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from message_batches.storage.groups import PathKind, parse_path
from message_batches.storage.names import UPLOAD_SUFFIX
from tests.exhaustive.chaos.callers import STARTED_AGAIN, STOPPED
from tests.exhaustive.chaos.evidence import TERMINATED, BatchSeen, Evidence, RunSeen
from tests.exhaustive.chaos.expected import NOT_SENT, may_fail_as
from tests.exhaustive.chaos.plan import QUIET, Act, Job
from tests.exhaustive.chaos.shards import FORGOTTEN

_MISSING = re.compile(r"([\d,]+) missing \(([^)]*)\)")
_OURS = re.compile(r"store\.json|(?:namespaces|accounts)/[^/]+\.json|given-[a-z]\.jsonl")

_UNCLAIMED = timedelta(seconds=3)
"""The time that the run of a batch may take to claim it."""

Check = Callable[[Evidence], Iterator[str]]


def every_run_ends(seen: Evidence) -> Iterator[str]:
    """Check that each run has completed, or failed with a type that names what was done to it."""
    for run in seen.runs:
        if run.ended is None:
            yield f"{run.name} has not ended: {run.said}"
        elif run.ended == FORGOTTEN:
            set_back = any(harm.act is Act.SET_BACK for harm in seen.harms)
            # Without a record it is not known whether its POST has created a batch.
            if not ((run.posts and set_back) or (seen.cut_short and not run.posts)):
                yield f"{run.name} has no run"
        elif run.ended != "completed" and run.ended not in (expected := may_fail_as(seen, run)):
            yield f"{run.name} failed as {run.ended}, expected {sorted(expected) or 'no failure'}: {run.said}"
    if (job := seen.job) and job.ended != "completed":
        # What a job names is the status of a run that was cancelled.
        shards = {"Canceled" if shard.ended == "CancelledError" else shard.ended for shard in seen.shards}
        allowed = shards | ({"NothingLanded", "DeadlinePassed"} if seen.cut_short else set())
        landed = [shard for shard in seen.shards if shard.record]
        if job.ended is None or job.ended not in allowed or landed:
            yield f"{job.name} has ended as {job.ended}, its shards as {sorted(map(str, shards))}: {job.said}"


def paid_for_once(seen: Evidence) -> Iterator[str]:
    """Check for one batch a run; a second one only if the first was invisible for too long, and then named.

    So for each shard of a job, and no batch with requests of the job is anything but a shard.
    """
    shards = [set(shard.ids) for shard in seen.shards]
    for batch in seen.batches:
        if seen.job and batch.of == seen.job.plan.name and set(batch.custom_ids) not in shards:
            yield f"{batch.id} has requests of {seen.job.name}, and is no shard of it"
    runs = {run.plan.name for run in seen.runs}
    for run in seen.runs:
        batches = seen.batches_of(run)
        if len(batches) > 1 and not any(_hidden(seen, batch) >= QUIET for batch in batches):
            yield f"{run.name} has {len(batches)} batches, and all were to be seen in time"
        if run.output is None:
            yield from _names_its_batch(run, batches)
            continue
        ids = {batch.id for batch in batches}
        named = set(run.output["possiblyPaidTwice"])
        if run.batch_id not in ids:
            yield f"{run.name} says it has {run.batch_id}, the API knows of {sorted(ids)}"
        # The same ids and models: only the replies show which run's a batch is.
        alike = {
            batch.id
            for batch in seen.batches
            if batch.of in runs
            and (
                set(batch.custom_ids) == set(run.ids) or (batch.of != run.plan.name and _looks_alike(seen, run, batch))
            )
        }
        if foreign := named - alike:
            yield f"{run.name} names what is not its own as possibly paid twice: {sorted(foreign)}"
        for batch in batches:
            if batch.id not in (run.batch_id, *named) and not _could_not_tell(seen, run, batch):
                yield f"{run.name} does not name its second batch {batch.id}"


def _names_its_batch(run: RunSeen, batches: list[BatchSeen]) -> Iterator[str]:
    """Check that a run that fails with a batch names it, unless the batch is what it does not know."""
    nameless = (None, "SubmissionUnknown", "CancelledError", FORGOTTEN, TERMINATED)
    if run.ended in nameless or len(batches) != 1:
        return
    if run.batch_id != batches[0].id:
        yield f"{run.name} failed as {run.ended} and does not name its batch {batches[0].id}"


def _hidden(seen: Evidence, batch: BatchSeen) -> float:
    """Return the seconds for which a batch was invisible, or not yet created, after its POST."""
    faults = {name for call in seen.calls if call["batchId"] == batch.id for name in call["faults"]}
    return sum(
        float(fault.get("seconds", 0))
        for fault in seen.plan.all_faults
        if fault["fault"] in faults and (fault["fault"] == "invisible" or fault.get("late"))
    )


def _could_not_tell(seen: Evidence, run: RunSeen, batch: BatchSeen) -> bool:
    """Return whether the batch was still invisible when the run last read the list, or the run could not read it.

    The run reads it right before it lands its results: later reads are by other runs.
    """
    assert run.output
    unseen_until = batch.created_at + timedelta(seconds=_hidden(seen, batch) * seen.plan.scale)
    return run.output.get("paidTwiceUnchecked") is not None or _last_list_read(seen, run) < unseen_until.isoformat()


def _looks_alike(seen: Evidence, run: RunSeen, batch: BatchSeen) -> bool:
    """Return whether a batch of as many requests was just created when the run last read the list: nobody's yet."""
    last = _last_list_read(seen, run)
    age = [batch.created_at.isoformat(), (batch.created_at + _UNCLAIMED).isoformat()]
    return len(batch.custom_ids) == len(run.ids) and age[0] <= last <= age[1]


def _last_list_read(seen: Evidence, run: RunSeen) -> str:
    landed = max((call["time"] for call in _answered(seen, "results") if call["batchId"] == run.batch_id), default="~")
    return max((call["time"] for call in _answered(seen, "list") if call["time"] < landed), default="")


def _answered(seen: Evidence, operation: str) -> Iterator[Mapping[str, Any]]:
    return (call for call in seen.calls if call["operation"] == operation and call["status"] == 200)


def every_request_is_answered_once(seen: Evidence) -> Iterator[str]:
    """Check the order of the requests, and each reply by its prompt; missing ones must be named."""
    for run in seen.runs:
        lines = [json.loads(line) for line in run.lines]
        ids = [line["custom_id"] for line in lines]
        if run.output is not None:
            if ids != list(run.ids):
                yield f"{run.name}: the results file is not for each request once, in order"
            yield from (f"{run.name}: {why}" for line in lines if (why := _not_the_answer(seen, run, line)))
            yield from (f"{run.name}: {why}" for why in _counts_differ(run, lines))
        elif run.ended == "ResultsIncomplete":
            missing, said = set(run.ids) - set(ids), _MISSING.search(run.said)
            # The first ten are named, and all of them counted.
            named = set(said[2].split(", ")) - {"..."} if said else set()
            counted = int(said[1].replace(",", "")) if said else 0
            if not (named <= missing and counted == len(missing)) and "was cut off" not in run.said:
                yield f"{run.name}: requests are neither in what arrived nor named as missing: {run.said}"


def _not_the_answer(seen: Evidence, run: RunSeen, line: Mapping[str, Any]) -> str | None:
    result, custom_id = line["result"], line["custom_id"]
    if result["type"] == "canceled" and isinstance(run.plan, Job) and seen.cut_short:
        return None
    if result["type"] == "errored" and isinstance(run.plan, Job) and int(custom_id[-4:]) in run.plan.failing:
        return None
    if result["type"] != "succeeded":
        return f"{custom_id} is {result['type']}"
    text = "".join(block.get("text", "") for block in result["message"]["content"])
    prompt = f"{run.plan.name}-{custom_id.rsplit('-', 1)[1]}"
    return None if f'"{prompt}:' in text else f"the line of {custom_id} answers another request: {text[:100]}"


def _counts_differ(run: RunSeen, lines: list[dict[str, Any]]) -> Iterator[str]:
    assert run.output
    if run.output["results"] is not None and run.output["results"] != lines:
        yield "the results in the output are not those of the file"
    if run.output["results"] is None and not run.output["resultsOmitted"]:
        yield "the output has neither results nor a reason for that"
    for counts in (run.output["requestCounts"], run.output["summary"]["counts"]):
        yield from _miscounted(lines, counts)


def _miscounted(lines: list[dict[str, Any]], counts: Mapping[str, int]) -> Iterator[str]:
    truth = Counter(line["result"]["type"] for line in lines)
    if {name: count for name, count in counts.items() if count} != truth:
        yield f"the file has {dict(truth)}, the output counts {counts}"


def a_job_has_what_its_shards_have(seen: Evidence) -> Iterator[str]:
    """Check each shard's record, the newest answer of each request in the merged file, and what is named as missing."""
    job, plan = seen.job, seen.plan.job
    if job is None or plan is None:
        return
    newest: dict[str, bytes] = {}
    again: set[str] = set()
    for shard in seen.shards:
        yield from _recorded_wrongly(shard)
        answers = {json.loads(line)["custom_id"]: line for line in shard.lines} if shard.record else {}
        if not shard.shard.startswith("-0-"):
            again |= set(shard.ids)
            if wrong := [each for each in shard.ids if not _failed(newest.get(each))]:
                yield f"{shard.name} sends again what had not failed: {wrong}"
        newest |= answers
    if job.output is None:
        return
    lines = [(json.loads(line)["custom_id"], line) for line in job.lines]
    if lines != [(custom_id, newest[custom_id]) for custom_id in job.ids if custom_id in newest]:
        yield f"{job.name}: the merged file does not have the newest answer of each request once, in order"
    yield from (f"{job.name}: {why}" for _, line in lines if (why := _not_the_answer(seen, job, json.loads(line))))
    counts = job.output["summary"]["counts"]
    yield from (f"{job.name}: {why}" for why in _miscounted([json.loads(line) for _, line in lines], counts))
    missing = len(job.ids) - len(newest)
    if (job.output["unfinished"] or {"count": 0})["count"] != missing:
        yield f"{job.name}: {missing} requests have no result, the output says {job.output['unfinished']}"
    named = {(shard["workflowId"], shard["type"]) for shard in job.output["failedShards"]}
    lacking = {(shard.workflow_id, _failure(shard)): shard for shard in seen.shards if not shard.record}
    due = {key for key, shard in lacking.items() if not (_stopped_early(seen, shard) or _of_lost_run(seen, job, shard))}
    # It may be unknown whether one that was stopped during its POST has a batch.
    if not due <= named <= due | {key for key, shard in lacking.items() if shard.posts}:
        yield f"{job.name} names {sorted(named)}, without results are {sorted(map(str, due))}"
    forgotten = STARTED_AGAIN in seen.decided or any(harm.act in (Act.TERMINATE, Act.SET_BACK) for harm in seen.harms)
    if STOPPED in seen.decided and not forgotten and job.output["stopped"] is None:
        yield f"{job.name} was stopped, and does not say so"
    left = {custom_id for custom_id, line in lines if _failed(line)} - again
    if left and plan.waves and job.output["stopped"] is None:
        yield f"{job.name} has not sent again what had failed: {sorted(left)}"


def _of_lost_run(seen: Evidence, job: RunSeen, shard: RunSeen) -> bool:
    """Return whether a shard is of a wave of a later run of the job, which went with Temporal's database."""
    waves = len(job.output["waves"]) if job.output else 0
    return int(shard.shard.split("-")[1]) >= waves and any(harm.act is Act.SET_BACK for harm in seen.harms)


def _stopped_early(seen: Evidence, shard: RunSeen) -> bool:
    """Return whether a shard without results was stopped before it had a batch: its requests are unfinished."""
    return seen.cut_short and shard.ended in (FORGOTTEN, *NOT_SENT) and not seen.batches_of(shard)


def _failure(shard: RunSeen) -> str | None:
    return {FORGOTTEN: "SubmissionUnknown", "CancelledError": "Canceled"}.get(str(shard.ended), shard.ended)


def _failed(line: bytes | None) -> bool:
    return line is not None and json.loads(line)["result"]["type"] != "succeeded"


def _recorded_wrongly(shard: RunSeen) -> Iterator[str]:
    # One that was terminated, or forgotten, may have published its results before.
    if (shard.ended == "completed") != bool(shard.record) and shard.ended not in (FORGOTTEN, TERMINATED):
        yield f"{shard.name} has ended as {shard.ended}, its record is {shard.record}"
    elif shard.record and shard.output:
        said = {"batchId": shard.batch_id, "resultsFile": shard.output["resultsFile"]}
        if said != {name: shard.record[name] for name in said}:
            yield f"{shard.name} has landed {said}, its record is {shard.record}"


def the_file_is_what_the_output_says(seen: Evidence) -> Iterator[str]:
    """Check bytes, lines and sha256, and that the results are verified against the requests."""
    for run in (*seen.runs, *filter(None, [seen.job])):
        if run.output is None:
            continue
        data = run.results or b""
        truth = {"bytes": len(data), "lines": data.count(b"\n"), "sha256": hashlib.sha256(data).hexdigest()}
        said = {name: run.output["resultsFile"][name] for name in truth}
        if said != truth or run.output["verified"] != (len(run.lines) == len(run.ids)):
            yield f"{run.name}: the file is {truth}, the output says {said}, verified {run.output['verified']}"


def every_batch_has_its_owner(seen: Evidence) -> Iterator[str]:
    """Check that a landed batch is claimed by the run that landed it."""
    for run in seen.runs:
        if run.output is not None and seen.claims.get(run.batch_id or "") != run.workflow_id:
            yield f"{run.name} has landed {run.batch_id}, claimed by {seen.claims.get(run.batch_id or '')}"


def no_key_anywhere(seen: Evidence) -> Iterator[str]:
    """Check that no history, database, log or store contains a key, in any encoding."""
    yield from (f"the API key stands in {leak}" for leak in seen.leaks)


def no_prompt_on_the_server(seen: Evidence) -> Iterator[str]:
    """Check that no history and no database contains a prompt, where payloads are encrypted."""
    yield from (f"readable in {place}" for place in seen.readable)


def nothing_is_left_over(seen: Evidence) -> Iterator[str]:
    """Check for temporary files, and for objects unknown to `purge`; interrupted uploads only of killed workers.

    An attempt that was interrupted after it had written its file is repeated, and leaves that file behind.
    """
    yield from (f"{path} is left over" for path in seen.litter)
    killed = any(harm.act in (Act.KILL, Act.SET_BACK) for harm in seen.harms)
    merged = seen.job.output if seen.job else None
    outputs = [*(run.output for run in seen.runs if run.output), *([merged] if merged else [])]
    uris = [*(output["resultsFile"]["uri"] for output in outputs), *([merged["shards"]["uri"]] if merged else [])]
    interrupted = seen.harms or STARTED_AGAIN in seen.decided
    published = {uri.rsplit("/", 1)[1] for uri in uris}
    for name in sorted(seen.store):
        found = parse_path(name)
        if found is None and not _OURS.fullmatch(UPLOAD_SUFFIX.sub("", name) if killed else name):
            yield f"the store holds {name}, which is nothing of a run"
        elif found and found.kind is PathKind.LEFTOVER and not killed:
            yield f"the store holds the broken-off upload {name}, and no worker was killed"
        elif found and found.kind is PathKind.RESULTS and not interrupted and name.rsplit("/", 1)[1] not in published:
            if "incomplete-" not in name:
                yield f"the store holds the results {name} a second time, and nothing was interrupted"
            elif not any(run.ended == "ResultsIncomplete" for run in seen.runs):
                yield f"the store holds {name}, and no run says so"


def no_process_is_left(seen: Evidence) -> Iterator[str]:
    """Check that workers exit cleanly when they are terminated, and that no process remains."""
    yield from (f"still running: {stray}" for stray in seen.strays)
    yield from (f"a worker left with status {status}" for status in seen.exits if status)


INVARIANTS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        *(every_run_ends, paid_for_once, every_request_is_answered_once, the_file_is_what_the_output_says),
        *(
            a_job_has_what_its_shards_have,
            every_batch_has_its_owner,
            no_key_anywhere,
            no_prompt_on_the_server,
            nothing_is_left_over,
            no_process_is_left,
        ),
    )
}


def violations(seen: Evidence) -> list[str]:
    """Return all violations."""
    return [f"{name}: {found}" for name, check in INVARIANTS.items() for found in check(seen)]
