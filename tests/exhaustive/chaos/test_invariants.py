"""Each invariant holds of a round without errors, and fails once the round is changed."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.exhaustive.chaos.callers import STOPPED
from tests.exhaustive.chaos.evidence import BatchSeen, Evidence, RunSeen
from tests.exhaustive.chaos.invariants import INVARIANTS, violations
from tests.exhaustive.chaos.moments import Moment
from tests.exhaustive.chaos.plan import QUIET, Act, Harm, Job, Run
from tests.exhaustive.chaos.plan_generator import round_of
from tests.exhaustive.chaos.shards import FORGOTTEN
from tests.harness.stack import ACCOUNT

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SPENT = {"fault": "spend-limit", "operation": "create", "times": 0, "applied": 1}
KILLED = Harm(Act.KILL, Moment.PUBLISHING, after=0, everyone=True, lasts=0)
UUID = "00000000-0000-4000-8000-000000000000"
LATER = "11111111-0000-4000-8000-000000000000"


def answered(ids: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "custom_id": custom_id,
            "result": {
                "type": "succeeded",
                "message": {"content": [{"type": "text", "text": f'On "{custom_id}: hi"'}]},
            },
        }
        for custom_id in ids
    ]


def file_of(lines: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def landed(name: str, count: int) -> RunSeen:
    ids = [f"{name}-{number:04}" for number in range(count)]
    lines = answered(ids)
    data = file_of(lines)
    output = {
        "batchId": f"msgbatch_{name}",
        "requestCounts": {"succeeded": count},
        "results": lines,
        "resultsOmitted": None,
        "resultsFile": {
            "uri": f"file:///store/results/{ACCOUNT.part}/msgbatch_{name}/{UUID}.jsonl",
            "bytes": len(data),
            "lines": count,
            "sha256": hashlib.sha256(data).hexdigest(),
        },
        "verified": True,
        "possiblyPaidTwice": [],
        "paidTwiceUnchecked": None,
        "summary": {"counts": {"succeeded": count, "errored": 0}},
    }
    return RunSeen(
        Run(name, name, count, 5, False, 0),
        ids,
        "completed",
        batch_id=f"msgbatch_{name}",
        output=output,
        results=data,
        posts=1,
    )


def incomplete(name: str) -> RunSeen:
    """Return a run of three requests whose second result never arrived."""
    ids = [f"{name}-{number:04}" for number in range(3)]
    said = f"The results are incomplete: 1 missing ({ids[1]}); the lines that did arrive are in file:///incomplete-{UUID}.jsonl"
    data = file_of(answered([ids[0], ids[2]]))
    return RunSeen(
        Run(name, name, 3, 5, True, 0),
        ids,
        "ResultsIncomplete",
        said,
        batch_id=f"msgbatch_{name}",
        results=data,
        posts=1,
    )


JOB_IDS = [f"j-{number:04}" for number in range(4)]
ERRORED = {"custom_id": "j-0000", "result": {"type": "errored"}}


def shard(name: str, ids: Sequence[str], lines: Sequence[dict[str, Any]]) -> RunSeen:
    """Return a landed shard of a job whose first request fails in the first wave."""
    counts = {"succeeded": len(ids) - (ERRORED in lines), "errored": int(ERRORED in lines)}
    seen, data = landed(f"j{name}", len(ids)), file_of(lines)
    assert seen.output
    file = seen.output["resultsFile"] | {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    output = {
        **seen.output,
        "resultsFile": file,
        "results": list(lines),
        "requestCounts": counts,
        "summary": {"counts": counts},
    }
    return replace(
        seen,
        plan=JOB,
        ids=list(ids),
        output=output,
        results=data,
        shard=name,
        record={"batchId": seen.batch_id, "resultsFile": file},
    )


JOB = Job("j", "j", 4, 5, False, 0, shard=2, waves=1, failing=(0,), again=False)
SHARDS = [
    shard("-0-0", JOB_IDS[:2], [ERRORED, *answered(JOB_IDS[1:2])]),
    shard("-0-1", JOB_IDS[2:], answered(JOB_IDS[2:])),
    shard("-1-0", JOB_IDS[:1], answered(JOB_IDS[:1])),
]


def merged(lines: Sequence[dict[str, Any]], **changes: Any) -> RunSeen:
    """Return the job with these lines in its file."""
    data = file_of(lines)
    file = {"bytes": len(data), "lines": len(lines), "sha256": hashlib.sha256(data).hexdigest()}
    errored = [line["result"]["type"] for line in lines].count("errored")
    output = {
        "resultsFile": {"uri": f"file:///store/{FOLDER}/{UUID}.jsonl", **file},
        "shards": {"uri": f"file:///store/{FOLDER}/{UUID}.shards"},
        "summary": {"counts": {"succeeded": len(lines) - errored, "errored": errored}},
        "verified": len(lines) == len(JOB_IDS),
        "unfinished": None,
        "failedShards": [],
        "waves": [{"number": 0}, {"number": 1}],
        "stopped": None,
        **changes,
    }
    return RunSeen(JOB, JOB_IDS, "completed", output=output, results=data)


FOLDER = f"jobs/run-j-{'0' * 16}"


def batch(name: str, ids: Sequence[str]) -> BatchSeen:
    return BatchSeen(f"msgbatch_{name}", name, tuple(ids), NOON)


def call(
    operation: str, batch_id: str | None = None, *, at: datetime = NOON, faults: Sequence[str] = ()
) -> dict[str, Any]:
    time = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"time": time, "operation": operation, "status": 200, "batchId": batch_id, "faults": list(faults)}


def all_well() -> Evidence:
    """Return a round with two landed runs, a third that failed since the API left out a line, and a job."""
    runs = [landed("a", 2), landed("b", 2), incomplete("c")]
    plan = replace(
        round_of(1, 1),
        runs=(*(run.plan for run in runs), JOB),
        faults=({"fault": "missing-line", "operation": "results"},),
        needed=(),
        harms=(),
        scale=1,
    )
    return Evidence(
        plan=plan,
        runs=[*runs, *SHARDS],
        job=merged(answered(JOB_IDS)),
        batches=[
            *(batch(run.plan.name, run.ids) for run in runs),
            *(BatchSeen(run.batch_id or "", "j", run.ids, NOON) for run in SHARDS),
        ],
        calls=[call("list"), *(call("create", f"msgbatch_{run.plan.name}") for run in runs)],
        faults=[{**plan.faults[0], "applied": 5}],
        harms=(),
        decided=(),
        store=frozenset(
            {
                *("store.json", "namespaces/1.json", f"accounts/{ACCOUNT.part}.json", "given-c.jsonl"),
                *(f"claims/{ACCOUNT.part}/msgbatch_{name}.json" for name in "abc"),
                *(f"results/{ACCOUNT.part}/msgbatch_{name}/{UUID}.jsonl" for name in "ab"),
                *(f"{FOLDER}/{name}" for name in ("0.plan", "1.plan", "0-0.json", f"{'0' * 64}.json")),
                *(f"{FOLDER}/{UUID}.{suffix}" for suffix in ("jsonl", "shards")),
                f"results/{ACCOUNT.part}/msgbatch_c/incomplete-{UUID}.jsonl",
            }
        ),
        claims={f"msgbatch_{name}": f"run-{name}" for name in ("a", "b", "c", "j-0-0", "j-0-1", "j-1-0")},
        litter=(),
        leaks=(),
        readable=(),
        strays=(),
        exits=(0,),
    )


def first(seen: Evidence, **changes: Any) -> Evidence:
    """Change the first run."""
    return replace(seen, runs=[replace(seen.runs[0], **changes), *seen.runs[1:]])


def says(seen: Evidence, **changes: Any) -> Evidence:
    """Change the first run's output."""
    return first(seen, output={**(seen.runs[0].output or {}), **changes})


def holds(seen: Evidence, lines: Sequence[dict[str, Any]]) -> Evidence:
    """Change the first run's file, and the output to match."""
    data = file_of(lines)
    truth = {"bytes": len(data), "lines": len(lines), "sha256": hashlib.sha256(data).hexdigest()}
    uri = (seen.runs[0].output or {})["resultsFile"]["uri"]
    return first(says(seen, results=list(lines), resultsFile={"uri": uri, **truth}), results=data)


def submitted_twice(seen: Evidence, *, hidden: float = 0, list_read: bool = True) -> Evidence:
    """Add a second batch of the first run; the first was invisible for so long, and the list was read after that."""
    extra = BatchSeen("msgbatch_a2", "a", seen.runs[0].ids, NOON + timedelta(seconds=10))
    fault = {"fault": "invisible", "operation": "create", "times": 1, "seconds": hidden}
    calls = [
        call("create", "msgbatch_a2", at=extra.created_at, faults=["invisible"] if hidden else []),
        call("list", at=NOON + timedelta(seconds=60 if list_read else 12)),
    ]
    plan = replace(seen.plan, faults=(*seen.plan.faults, fault))
    return replace(seen, plan=plan, batches=[*seen.batches, extra], calls=[*seen.calls, *calls])


def job(seen: Evidence, **changes: Any) -> Evidence:
    """Change the job's output."""
    return replace(seen, job=merged(answered(JOB_IDS), **changes))


def of_shards(seen: Evidence, *shards: RunSeen) -> Evidence:
    return replace(seen, runs=[*seen.runs[:3], *shards])


def failed(seen: Evidence, kind: str, **changes: Any) -> Evidence:
    return first(seen, ended=kind, output=None, results=None, **changes)


def add(seen: Evidence, *names: str) -> Evidence:
    return replace(seen, store=seen.store | set(names))


Doctor = Callable[[Evidence], Evidence]

DOCTORED: dict[str, dict[str, Doctor]] = {
    "every_run_ends": {
        "it has not ended": lambda seen: first(seen, ended=None, output=None),
        "failed for no reason that was given": lambda seen: failed(seen, "ApiUnavailable"),
        "failed without a type": lambda seen: failed(seen, ""),
        "failed after two POSTs as if there had been three": lambda seen: failed(seen, "SubmissionUnknown", posts=2),
        "a job that has not ended": lambda seen: replace(seen, job=RunSeen(JOB, JOB_IDS, None)),
        "a job that failed although shards have landed": lambda seen: replace(
            seen, job=RunSeen(JOB, JOB_IDS, "RequestRefused")
        ),
        "a shard that failed with what the job settles": lambda seen: of_shards(
            replace(seen, harms=(replace(KILLED, act=Act.SPEND),), faults=[*seen.faults, SPENT]),
            replace(SHARDS[0], ended="SpendLimitReached"),
        ),
        "a shard without a run, and nothing was set back": lambda seen: of_shards(
            seen, replace(SHARDS[0], ended=FORGOTTEN)
        ),
        "failed for a fault that never struck": lambda seen: replace(seen, faults=[{**seen.faults[0], "applied": 0}]),
    },
    "paid_for_once": {
        "a second batch": submitted_twice,
        "a second batch, named": lambda seen: says(submitted_twice(seen), possiblyPaidTwice=["msgbatch_a2"]),
        "a second batch that was to be seen, not named": lambda seen: submitted_twice(seen, hidden=QUIET + 1),
        "hidden, but not for long": lambda seen: submitted_twice(seen, hidden=QUIET - 1, list_read=False),
        "none": lambda seen: replace(seen, batches=seen.batches[1:]),
        "another one than it says": lambda seen: first(seen, batch_id="msgbatch_b"),
        "names somebody else's": lambda seen: says(
            replace(seen, calls=[call("list", at=NOON + timedelta(minutes=1))]), possiblyPaidTwice=["msgbatch_b"]
        ),
        "fails and does not name its batch": lambda seen: failed(seen, "ApiUnavailable", batch_id=None),
        "a second batch of a shard": lambda seen: replace(
            seen, batches=[*seen.batches, BatchSeen("msgbatch_j2", "j", SHARDS[0].ids, NOON)]
        ),
        "a batch of a job that is no shard's": lambda seen: replace(
            seen, batches=[*seen.batches, BatchSeen("msgbatch_j2", "j", JOB_IDS, NOON)]
        ),
        "two batches of a failed run": lambda seen: failed(submitted_twice(seen), "SubmissionUnknown"),
    },
    "every_request_is_answered_once": {
        "one is missing": lambda seen: holds(seen, answered(["a-0000"])),
        "one is there twice": lambda seen: holds(seen, answered(["a-0000", "a-0000", "a-0001"])),
        "in another order": lambda seen: holds(seen, answered(["a-0001", "a-0000"])),
        "no file": lambda seen: first(seen, results=None),
        "another prompt's reply": lambda seen: holds(
            seen, [line | {"custom_id": f"a-{n:04}"} for n, line in enumerate(answered(["a-0001", "a-0000"]))]
        ),
        "the output has others": lambda seen: says(seen, results=answered(["b-0000"])),
        "the output has none and no reason": lambda seen: says(seen, results=None),
        "counts that are off": lambda seen: says(seen, requestCounts={"succeeded": 1, "errored": 1}),
        "tallied wrongly": lambda seen: says(seen, summary={"counts": {"succeeded": 1}}),
        "neither there nor named": lambda seen: replace(
            seen,
            runs=[*seen.runs[:2], *SHARDS, replace(seen.runs[2], said=seen.runs[2].said.replace("c-0001", "c-0000"))],
        ),
    },
    "the_file_is_what_the_output_says": {
        "a byte differs": lambda seen: first(seen, results=(seen.runs[0].results or b"").replace(b"hi", b"ho")),
        "not checked against the requests": lambda seen: says(seen, verified=False),
    },
    "a_job_has_what_its_shards_have": {
        "an answer that a later wave has replaced": lambda seen: replace(
            seen, job=merged([ERRORED, *answered(JOB_IDS[1:])])
        ),
        "one is missing": lambda seen: replace(seen, job=merged(answered(JOB_IDS[1:]), verified=False)),
        "in another order": lambda seen: replace(seen, job=merged(answered(JOB_IDS[::-1]))),
        "tallied wrongly": lambda seen: job(seen, summary={"counts": {"succeeded": 3, "errored": 1}}),
        "unfinished, and all are there": lambda seen: job(seen, unfinished={"count": 1}),
        "missing, and not named": lambda seen: of_shards(seen, SHARDS[0], replace(SHARDS[1], record=None), SHARDS[2]),
        "names a shard that has landed": lambda seen: job(
            seen, failedShards=[{"workflowId": "run-j-0-1", "type": "RequestRefused"}]
        ),
        "another batch is recorded": lambda seen: of_shards(
            seen, replace(SHARDS[0], record={**(SHARDS[0].record or {}), "batchId": "msgbatch_b"}), *SHARDS[1:]
        ),
        "landed, and no record": lambda seen: of_shards(seen, *SHARDS[:2], replace(SHARDS[2], record=None)),
        "sent again, and had not failed": lambda seen: of_shards(
            seen, shard("-0-0", JOB_IDS[:2], answered(JOB_IDS[:2])), *SHARDS[1:]
        ),
        "was stopped, and does not say so": lambda seen: replace(seen, decided=[STOPPED]),
        "failed, and not sent again": lambda seen: replace(
            of_shards(seen, *SHARDS[:2]), job=merged([ERRORED, *answered(JOB_IDS[1:])])
        ),
    },
    "every_batch_has_its_owner": {
        "nobody": lambda seen: replace(seen, claims={}),
        "somebody else": lambda seen: replace(seen, claims={**seen.claims, "msgbatch_a": "run-b"}),
    },
    "no_key_anywhere": {"in a log": lambda seen: replace(seen, leaks=["worker-1.log: plain"])},
    "no_prompt_on_the_server": {
        "in a history": lambda seen: replace(seen, readable=["run-a-1.history: the prompt 'a-0000: word'"])
    },
    "nothing_is_left_over": {
        "scratch": lambda seen: replace(seen, litter=["scratch/tmp1"]),
        "a file that no purge knows": lambda seen: add(seen, f"results/{ACCOUNT.part}/msgbatch_a/tmp1"),
        "an upload that nobody interrupted": lambda seen: add(
            seen, f"results/{ACCOUNT.part}/msgbatch_a/{LATER}.jsonl#1"
        ),
        "a second results file": lambda seen: add(seen, f"results/{ACCOUNT.part}/msgbatch_a/{LATER}.jsonl"),
        "merged a second time": lambda seen: add(seen, f"{FOLDER}/{LATER}.jsonl"),
        "what did arrive, of nobody": lambda seen: replace(
            add(seen, f"results/{ACCOUNT.part}/msgbatch_a/incomplete-{LATER}.jsonl"), runs=[*seen.runs[:2], *SHARDS]
        ),
    },
    "no_process_is_left": {
        "a process": lambda seen: replace(seen, strays=["17: python worker.py"]),
        "a worker that failed": lambda seen: replace(seen, exits=[0, 1]),
    },
}


def test_all_invariants_hold_of_a_round_without_errors() -> None:
    assert violations(all_well()) == []


def test_every_invariant_is_shown_to_fail() -> None:
    assert set(DOCTORED) == set(INVARIANTS)


@pytest.mark.parametrize(("name", "doctored"), [(name, case) for name, cases in DOCTORED.items() for case in cases])
def test_an_invariant_fails_for_a_violation(name: str, doctored: str) -> None:
    seen = DOCTORED[name][doctored](all_well())

    assert list(INVARIANTS[name](seen)) != []


def test_a_second_batch_is_allowed_only_if_the_first_was_invisible_and_is_named_later() -> None:
    named = says(submitted_twice(all_well(), hidden=QUIET + 5), possiblyPaidTwice=["msgbatch_a2"])
    unseen = submitted_twice(all_well(), hidden=QUIET + 5, list_read=False)

    assert violations(named) == violations(unseen) == []


def test_a_batch_that_another_run_has_just_created_may_be_named_until_that_run_claims_it() -> None:
    named = says(all_well(), possiblyPaidTwice=["msgbatch_b"])
    read_then = [
        call("list", at=NOON + timedelta(seconds=1)),
        call("results", "msgbatch_a", at=NOON + timedelta(seconds=2)),
    ]
    read_later = [
        call("list", at=NOON + timedelta(seconds=9)),
        call("results", "msgbatch_a", at=NOON + timedelta(seconds=10)),
    ]

    assert violations(replace(named, calls=read_then)) == []
    assert violations(replace(named, calls=read_later)) != []
    other_count = replace(
        named, batches=[*named.batches[:1], batch("b", ["b-0000"]), *named.batches[2:]], calls=read_then
    )
    assert violations(other_count) != []


def test_the_last_error_may_be_one_of_a_few_after_another_that_lasted() -> None:
    few = {"fault": "accept-then-drop", "operation": "list", "times": 3}
    lasting = {"fault": "500", "operation": "list"}
    seen = failed(all_well(), "ReplyLost")

    def struck_by(*faults: dict[str, Any]) -> Evidence:
        applied = [{**fault, "applied": 3} for fault in faults]
        return replace(
            seen,
            plan=replace(seen.plan, faults=(*seen.plan.faults, *faults)),
            faults=[*seen.faults, *applied],
            job=None,
        )

    check = INVARIANTS["every_run_ends"]
    assert list(check(struck_by(few, lasting))) == []
    assert list(check(struck_by(few))) != []
    assert list(check(struck_by(lasting))) != []


def test_a_job_may_end_without_a_shard_that_failed_for_good_and_is_named() -> None:
    seen = all_well()
    refused = RunSeen(JOB, JOB_IDS[2:], "RequestRefused", shard="-0-1")
    faults = {"fault": "html-413", "operation": "create", "times": 1}
    seen = replace(
        of_shards(seen, SHARDS[0], refused, SHARDS[2]),
        plan=replace(seen.plan, faults=(*seen.plan.faults, faults)),
        faults=[*seen.faults, {**faults, "applied": 1}],
        batches=[batch for batch in seen.batches if batch.id != SHARDS[1].batch_id],
        job=merged(
            answered(JOB_IDS[:2]),
            unfinished={"count": 2},
            failedShards=[{"workflowId": "run-j-0-1", "type": "RequestRefused"}],
        ),
    )

    assert violations(seen) == []
    unnamed = replace(seen, job=merged(answered(JOB_IDS[:2]), unfinished={"count": 2}))
    assert list(INVARIANTS["a_job_has_what_its_shards_have"](unnamed)) != []


def stopped_job(seen: Evidence, *shards: RunSeen, **changes: Any) -> Evidence:
    """Return a job that was stopped once its first shard had landed: the second one was never sent."""
    return replace(
        of_shards(seen, SHARDS[0], *shards),
        harms=(replace(KILLED, act=Act.STOP),),
        batches=[batch for batch in seen.batches if batch.id != SHARDS[1].batch_id],
        job=merged([ERRORED, *answered(JOB_IDS[1:2])], unfinished={"count": 2}, stopped="asked", **changes),
    )


def test_a_job_that_was_stopped_may_lack_what_was_not_sent() -> None:
    unsent = RunSeen(JOB, JOB_IDS[2:], FORGOTTEN, shard="-0-1")
    seen = replace(all_well(), batches=[each for each in all_well().batches if each.id != SHARDS[2].batch_id])
    stopped = stopped_job(seen, unsent)

    assert violations(stopped) == []
    assert violations(stopped_job(seen, replace(unsent, ended="CancelledError"))) == []
    assert violations(replace(stopped, harms=())) != []
    assert violations(stopped_job(seen, replace(unsent, posts=1))) != []
    named = [{"workflowId": "run-j-0-1", "type": "SubmissionUnknown"}]
    assert violations(stopped_job(seen, unsent, failedShards=named)) != []


def test_a_shard_that_was_forgotten_after_its_post_is_in_doubt() -> None:
    lost = RunSeen(JOB, JOB_IDS[2:], FORGOTTEN, shard="-0-1", posts=1)
    named = [{"workflowId": "run-j-0-1", "type": "SubmissionUnknown"}]
    seen = replace(
        of_shards(all_well(), SHARDS[0], lost, SHARDS[2]),
        harms=(replace(KILLED, act=Act.SET_BACK),),
        job=merged(answered(JOB_IDS[:2]), unfinished={"count": 2}, failedShards=named),
    )

    assert violations(seen) == []
    assert violations(replace(seen, harms=())) != []
    assert violations(of_shards(seen, SHARDS[0], replace(lost, posts=0), SHARDS[2])) != []


def test_a_later_wave_may_have_a_shard_of_the_same_requests() -> None:
    again = replace(SHARDS[0], shard="-1-0", batch_id="msgbatch_j-1-0")
    batches = [BatchSeen("msgbatch_j-0-0", "j", JOB_IDS[:2], NOON), BatchSeen("msgbatch_j-1-0", "j", JOB_IDS[:2], NOON)]
    seen = replace(of_shards(all_well(), SHARDS[0], again), batches=batches)

    assert [each.id for each in seen.batches_of(again)] == ["msgbatch_j-1-0"]
    assert len(replace(seen, claims={}).batches_of(again)) == 2


def test_list_reads_by_others_after_the_landing_do_not_count() -> None:
    submitted = submitted_twice(all_well(), hidden=QUIET + 5)
    landed_before = replace(
        submitted, calls=[*submitted.calls, call("results", "msgbatch_a", at=NOON + timedelta(seconds=13))]
    )
    landed_after = replace(
        submitted, calls=[*submitted.calls, call("results", "msgbatch_a", at=NOON + timedelta(seconds=61))]
    )

    assert violations(landed_before) == []
    assert violations(landed_after) != []


def test_an_interrupted_attempt_may_leave_its_file() -> None:
    incomplete = add(all_well(), f"results/{ACCOUNT.part}/msgbatch_a/incomplete-{LATER}.jsonl")
    elsewhere = replace(incomplete, runs=[*incomplete.runs[:2], *SHARDS])

    assert violations(elsewhere) != []
    assert violations(replace(elsewhere, harms=(replace(KILLED, act=Act.ISOLATE),))) == []


def test_a_killed_worker_may_leave_files_that_purge_removes() -> None:
    seen = replace(all_well(), harms=(KILLED,))

    assert (
        violations(
            add(
                seen,
                f"results/{ACCOUNT.part}/msgbatch_a/{LATER}.jsonl#1",
                f"results/{ACCOUNT.part}/msgbatch_a/{LATER}.jsonl",
            )
        )
        == []
    )
    assert violations(add(seen, "namespaces/1.json#1")) == []
    assert violations(add(seen, f"results/{ACCOUNT.part}/msgbatch_a/other#1")) != []
    assert violations(add(all_well(), "namespaces/1.json#1")) != []
