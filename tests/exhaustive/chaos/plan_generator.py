"""Drawing the plan of a round, which depends only on a seed and the round's number."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from message_batches.emulator.fault_kinds import FAULT_KINDS, FaultStage
from tests.exhaustive.chaos.fault_coverage import CYCLE, FaultSet, fault_sets
from tests.exhaustive.chaos.moments import DROPPED, JOB, OF_JOBS, OF_RUNS, SIGNS, Moment
from tests.exhaustive.chaos.plan import QUIET, Act, Harm, Job, Round, Run

CALLED = ("list", "create", "retrieve", "results")
"""The operations that a run calls by itself, in this order."""
LASTING = 0.3
"""Share of the rounds in which a fault lasts until it is lifted; other faults apply one to three times."""
ALIKE = 0.25
"""Share of the rounds in which two runs have the same custom_ids, and an operator must decide."""
JOB_EVERY = 4
"""One round of so many has a job."""
_FOR_GOOD = ("html-413", "spend-limit")

MOMENTS: Mapping[Act, Sequence[Moment]] = {
    Act.KILL: OF_RUNS,
    Act.FREEZE: (
        *(Moment.SOME_TIME, Moment.INTENDED, Moment.UPLOADING, Moment.POSTING, Moment.SEARCHING),
        *(Moment.POLLING, Moment.LANDING, Moment.PUBLISHING),
    ),
    Act.RESTART: (
        *(Moment.SOME_TIME, Moment.PREPARED, Moment.POSTING, Moment.SEARCHING, Moment.POLLING),
        *(Moment.WAITING, Moment.LANDING),
    ),
    Act.FILL: (Moment.SOME_TIME, Moment.LANDING, Moment.VERIFYING),
    Act.CLOSE: (Moment.SOME_TIME, Moment.ANCHORED, Moment.POSTING, Moment.SEARCHING, Moment.LANDING),
    Act.ISOLATE: (
        *(Moment.SOME_TIME, Moment.INTENDED, Moment.UPLOADING, Moment.POSTING, Moment.REPLIED),
        *(Moment.LANDING, Moment.PUBLISHING),
    ),
    Act.OUTAGE: (
        *(Moment.SOME_TIME, Moment.UPLOADING, Moment.POSTING, Moment.SEARCHING, Moment.VERIFYING),
        *(Moment.POLLING, Moment.LANDING),
    ),
    Act.MISLAY: (
        *(Moment.SOME_TIME, Moment.PREPARED, Moment.INTENDED, Moment.POSTING, Moment.REPLIED, Moment.SEARCHING),
        *(Moment.VERIFYING, Moment.POLLING, Moment.LANDING, Moment.PUBLISHED),
    ),
    Act.SET_BACK: (
        *(Moment.PREPARED, Moment.POSTING, Moment.REPLIED, Moment.RECORDED, Moment.SEARCHING),
        *(Moment.POLLING, Moment.WAITING, Moment.LANDING, Moment.PUBLISHED),
    ),
    Act.LOSE: (
        *(Moment.PREPARED, Moment.ANCHORED, Moment.INTENDED, Moment.POSTING, Moment.SEARCHING),
        *(Moment.VERIFYING, Moment.LANDING, Moment.PUBLISHING),
    ),
    Act.INTRUDE: OF_RUNS,
}
"""The moments of a run at which each act is done."""

JOB_MOMENTS: Mapping[Act, Sequence[Moment]] = {
    Act.KILL: OF_JOBS,
    Act.TERMINATE: OF_JOBS,
    Act.SET_BACK: OF_JOBS,
    Act.FREEZE: (Moment.PLANNING, Moment.WINDOW, Moment.MERGING),
    Act.ISOLATE: (Moment.PLANNING, Moment.WINDOW, Moment.MERGING),
    Act.RESTART: (Moment.PLANNED, Moment.WINDOW, Moment.WAVE, Moment.MERGING),
    Act.MISLAY: (Moment.PLANNED, Moment.WINDOW, Moment.WAVE, Moment.MERGED),
    Act.LOSE: (Moment.PLANNING, Moment.PLANNED, Moment.WINDOW, Moment.WAVE, Moment.MERGING),
    Act.SPEND: (Moment.PLANNED, Moment.WINDOW, Moment.WAVE),
    Act.STRIKE_OUT: (Moment.PLANNED, Moment.WINDOW, Moment.WAVE),
    Act.STOP: (Moment.PLANNING, Moment.PLANNED, Moment.WINDOW, Moment.WAVE),
}
"""The moments of a job at which each act is done."""

LONG_HEARTBEATS = (
    *(Moment.VERIFYING, Moment.LANDING, Moment.PUBLISHING, Moment.SEARCHING),
    *(Moment.PLANNING, Moment.WINDOW, Moment.MERGING),
)
"""Moments at which a worker counts as lost only after 30 s."""


def round_of(seed: int, number: int) -> Round:
    """Return the round of that number, counted from 1."""
    cycle, place = divmod(number - 1, CYCLE)
    chance = random.Random(f"{seed}: round {number}")
    kinds = fault_sets(seed + 1_000_003 * cycle)[place]
    faults = _faults(kinds, chance)
    harms = _harms(seed, number, chance, alone=len(kinds) == 1)
    moments, acts = {harm.moment for harm in harms}, {harm.act for harm in harms}
    # Only a large write can be interrupted, and exceeds a full disk.
    large = Moment.PUBLISHING in moments or Act.FILL in acts
    planned = Round(
        seed=seed,
        number=number,
        workers=chance.choice((1, 1, 2, 3)),
        in_bucket=Act.CLOSE in acts,
        runs=_runs(chance, least=400 if large else 1, huge=Moment.UPLOADING in moments),
        faults=faults,
        needed=(*(need for harm in harms for need in SIGNS[harm.moment].needs), *_lost(faults, chance)),
        harms=harms,
        lifted_after=round(chance.uniform(6, 12), 1),
        processing=round(chance.uniform(0.5, 4), 1),
        poll_every=chance.choice((0.3, 0.5, 1.0)),
        reply_bytes=4000 if large else chance.choice((0, 0, 1500)),
        ahead=chance.choice((0, 0, 0, 90, 2400)),
        scale=chance.choice((1, 1, 1, 0.98, 1.5)),
    )
    return planned if number % JOB_EVERY else _with_job(planned)


def deck() -> list[tuple[Act, Moment]]:
    """Return every harm at every moment of a run at which it is done."""
    return _cards(MOMENTS)


def job_deck() -> list[tuple[Act, Moment]]:
    """Return every harm at every moment of a job at which it is done."""
    return _cards(JOB_MOMENTS)


def _cards(moments: Mapping[Act, Sequence[Moment]]) -> list[tuple[Act, Moment]]:
    return [(act, moment) for act, at in moments.items() for moment in at]


def _with_job(planned: Round) -> Round:
    """Add a job, and one or two harms at its moments; everything else stays as it is."""
    seed, number = planned.seed, planned.number
    chance = random.Random(f"{seed}: job {number}")
    place = number // JOB_EVERY
    drawn = [_card(seed, each, job_deck(), "harms of jobs") for each in (2 * place - 2, 2 * place - 1)]
    if chance.random() < 0.15:
        drawn.pop()
    if planned.in_bucket:
        drawn = [(Act.CLOSE if act is Act.LOSE else act, moment) for act, moment in drawn]
    moments = {moment for _, moment in drawn}
    shard, shards = chance.choice((2, 3, 10, 40)), chance.choice((2, 3, 4))
    # Where two runs have the same custom_ids, the first shard may have them too; then none of these fails.
    twin = planned.runs[0]
    alike = twin.ids == planned.runs[1].ids and twin.count > 1
    if alike:
        shard, shards = twin.count, max(3, shards)
    waves = 1 if Moment.WAVE in moments else chance.choice((0, 1, 1))
    may_fail = range(int(alike), shards - 1)
    failing = sorted(chance.sample(may_fail, chance.randint(1, len(may_fail))))
    job = Job(
        JOB,
        twin.ids if alike else JOB,
        count=shards * shard - chance.choice((0, 1)),
        words=5,
        by_reference=Moment.PLANNING in moments or chance.random() < 0.5,
        after=round(chance.uniform(0, 2), 1),
        shard=shard,
        waves=waves,
        failing=tuple(shard * each + chance.randrange(shard) for each in failing),
        again=chance.random() < 0.5,
    )
    harms = (*planned.harms, *(_harm(act, moment, chance) for act, moment in drawn))
    # All other runs and one shard have room in it.
    queue_limit = sum(run.count for run in planned.runs) + shard if chance.random() < 0.25 else 0
    job = replace(job, deadline=round(chance.uniform(4, 15), 1) if chance.random() < 0.2 else None)
    return replace(
        planned,
        runs=(*planned.runs, job),
        harms=harms,
        queue_limit=queue_limit,
        encrypted=chance.random() < 0.4,
    )


def _harms(seed: int, number: int, chance: random.Random, *, alone: bool) -> tuple[Harm, ...]:
    """Draw one or two cards for the round from the deck, which is dealt repeatedly, each time in another order."""
    drawn = [_card(seed, place, deck(), "harms") for place in (2 * number - 2, 2 * number - 1)]
    # What is taken away is a folder, what is closed a bucket.
    if chance.random() < 0.4 or {act for act, _ in drawn} == {Act.CLOSE, Act.LOSE}:
        drawn.pop()
    if alone:
        # The faults that cause a moment count as well.
        drawn = [card for card in drawn if not SIGNS[card[1]].needs]
    return tuple(_harm(act, moment, chance) for act, moment in drawn)


def _card(seed: int, place: int, cards: list[tuple[Act, Moment]], name: str) -> tuple[Act, Moment]:
    turn, place = divmod(place, len(cards))
    random.Random(f"{seed}: {name} {turn}").shuffle(cards)
    return cards[place]


def _harm(act: Act, moment: Moment, chance: random.Random) -> Harm:
    match act:
        case Act.KILL:
            lasts = chance.uniform(0, 1.5)
        case Act.FREEZE | Act.ISOLATE:
            lasts = 33 if moment in LONG_HEARTBEATS else chance.uniform(10.5, 13)
        case Act.OUTAGE:
            lasts = chance.uniform(0.3, 2.5)
        case Act.INTRUDE | Act.SPEND | Act.TERMINATE | Act.STRIKE_OUT | Act.STOP:
            lasts = 0.0
        case Act.RESTART | Act.SET_BACK:
            lasts = chance.uniform(0.2, 4)
        case _:
            lasts = chance.uniform(3, 8)
    match moment:
        case Moment.SOME_TIME:
            after = chance.uniform(0, 8)
        case Moment.LANDING:
            after = chance.uniform(0, 2.5)
        case Moment.INTENDED | Moment.PUBLISHING | Moment.PLANNING | Moment.MERGING:
            after = 0  # These moments last for milliseconds.
        case _:
            after = chance.choice((0, 0, 0.02, 0.2))
    if act is Act.STRIKE_OUT or (act is Act.STOP and moment is not Moment.PLANNING):
        after = chance.uniform(0.5, 4)  # Most have a batch by then.
    everyone = chance.random() < 0.6
    return Harm(act, moment, after=round(after, 2), everyone=everyone, lasts=round(lasts, 1))


def _runs(chance: random.Random, *, least: int, huge: bool) -> tuple[Run, ...]:
    """Draw two runs of equal count, one inline and one by reference; and one or two more, of other sizes."""
    twins = chance.choice((1, 2, 5, 40))
    # Most callers have ids such as these: then not even the results show whose a batch is.
    alike = chance.random() < ALIKE
    runs = [
        Run("a", "same" if alike else "a", twins, 5, False, 0.0),
        Run("b", "same" if alike else "b", twins, 5, True, 0.0),
    ]
    for name in "cd"[: chance.choice((1, 1, 2))]:
        count = max(least, chance.choice((3, 7, 120, 400)))
        runs.append(Run(name, name, count, 5, chance.random() < 0.5, round(chance.uniform(0, 2), 1)))
    if huge:
        # 34 MB: a body that does not fit into the sockets' buffers while its reader is slow.
        runs[-1] = Run(runs[-1].name, runs[-1].ids, 2000, 3400, True, 0.0)
    return tuple(runs)


def _faults(kinds: FaultSet, chance: random.Random) -> tuple[dict[str, Any], ...]:
    """Return the faults in the order in which runs meet them: only the last may last, or others would never apply."""
    faults = sorted((_fault(kind, chance) for kind in kinds), key=lambda fault: CALLED.index(fault["operation"]))
    # A kind that fails a run at once would leave the round without a run that continues.
    if faults and faults[-1]["fault"] not in _FOR_GOOD and chance.random() < LASTING:
        del faults[-1]["times"]
    return tuple(faults)


def _lost(faults: Sequence[Mapping[str, Any]], chance: random.Random) -> Sequence[Mapping[str, Any]]:
    """Occasionally also lose the reply for a batch that stays invisible for too long: it is submitted again."""
    invisible = any(fault["fault"] == "invisible" and fault["seconds"] > QUIET for fault in faults)
    return [DROPPED] if invisible and len(faults) > 1 and chance.random() < 0.6 else []


def _fault(kind: str, chance: random.Random) -> dict[str, Any]:
    operation = chance.choice([name for name in CALLED if name in FAULT_KINDS[kind].operations])
    times = 1 if kind in _FOR_GOOD else chance.choice((1, 1, 2, 3))
    return {"fault": kind, "operation": operation, "times": times, **_parameters(kind, operation, chance)}


def _parameters(kind: str, operation: str, chance: random.Random) -> dict[str, Any]:
    match kind:
        case "slow" if operation == "create" and chance.random() < 0.3:
            # Late: the batch is created after the client has given up and disconnected.
            return {"seconds": 1.5, "late": True}
        case "slow" if operation == "results":
            return {"seconds": 0.5, "bytes_per_second": 200_000}
        case "slow":
            return {"seconds": round(chance.uniform(0.5, 2.5), 1)}
        case "invisible":
            # Shorter than the quiet period, or longer than any search.
            return {"seconds": chance.choice((0.5, 1.2, *[QUIET + 5] * 2))}
        case "429" | "503" | "529" if chance.random() < 0.5:
            return {"retry_after": chance.choice((0.5, 1, 2))}
        case "cut":
            return {"at": chance.choice((0, 20, 400)), "clean": chance.random() < 0.4}
        case _ if FAULT_KINDS[kind].stage is FaultStage.LINES:
            return {"line": 0}
    return {}
