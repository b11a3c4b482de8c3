"""The plan of a round depends only on its seed and number, and a cycle covers all combinations."""

import json
from itertools import combinations

import pytest

from message_batches.emulator.faults import read_fault
from tests.exhaustive.chaos.fault_coverage import CYCLE, DRAWN, fault_sets
from tests.exhaustive.chaos.moments import OF_JOBS, OF_RUNS, SIGNS, Moment
from tests.exhaustive.chaos.plan import Act
from tests.exhaustive.chaos.plan_generator import JOB_EVERY, deck, job_deck, round_of


def cycle(seed: int, first: int = 1) -> list[tuple[str, ...]]:
    return [round_of(seed, number).kinds for number in range(first, first + CYCLE)]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("first", [1, CYCLE + 1])
def test_the_rounds_of_a_cycle_have_every_fault_alone_and_every_pair(seed: int, first: int) -> None:
    rounds = cycle(seed, first)

    assert {kinds for kinds in rounds if len(kinds) == 1} == {(kind,) for kind in DRAWN}
    pairs = {frozenset(pair) for kinds in rounds for pair in combinations(kinds, 2)}
    assert pairs == {frozenset(pair) for pair in combinations(DRAWN, 2)}
    assert max(map(len, rounds)) <= 3
    assert () in rounds


def test_one_more_kind_of_fault_fits_and_too_many_are_refused() -> None:
    kinds = [*DRAWN, "new"]

    sets = fault_sets(1, kinds)

    assert len(sets) == CYCLE
    assert {frozenset(pair) for each in sets for pair in combinations(each, 2)} == {
        frozenset(pair) for pair in combinations(kinds, 2)
    }
    with pytest.raises(AssertionError, match="too few"):
        fault_sets(1, [f"kind-{number}" for number in range(25)])


def test_a_round_depends_only_on_its_seed_and_number() -> None:
    assert round_of(7, 123) == round_of(7, 123)
    assert round_of(7, 123) != round_of(8, 123)
    assert cycle(1) != cycle(2)


def test_a_round_can_be_written_as_json() -> None:
    assert json.loads(json.dumps(round_of(1, 1).as_json()))["number"] == 1


def test_every_harm_is_done_at_every_moment_that_it_has_within_a_cycle() -> None:
    rounds = [round_of(1, number) for number in range(1, CYCLE + 1)]

    harms = {(harm.act, harm.moment) for each in rounds for harm in each.harms}
    # In a bucket, what would be taken away is closed.
    assert harms - {(Act.CLOSE, moment) for moment in OF_JOBS} == {*deck(), *job_deck()}
    assert {moment for _, moment in deck()} == set(OF_RUNS)
    assert {moment for _, moment in job_deck()} == set(OF_JOBS)
    assert {*OF_RUNS, *OF_JOBS} == set(Moment) == set(SIGNS)
    assert {act for act, _ in deck() + job_deck()} == set(Act)
    assert {each.workers for each in rounds} == {1, 2, 3}
    assert {bool(each.ahead) for each in rounds} == {True, False}
    assert min(each.scale for each in rounds) < 1 < max(each.scale for each in rounds)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_round_has_the_required_parts(seed: int) -> None:
    for number in range(1, CYCLE + 1):
        each = round_of(seed, number)
        first, second, *others = each.runs

        assert (first.count, first.after) == (second.count, second.after)
        assert first.name != second.name
        assert {run.by_reference for run in each.runs} == {True, False}
        assert others
        for fault in each.all_faults:
            read_fault(fault)
        if len(each.kinds) == 1:
            assert each.needed == ()
        assert each.in_bucket == any(harm.act is Act.CLOSE for harm in each.harms)


def test_every_fourth_round_has_a_job_whose_waves_have_shards_of_different_ids() -> None:
    jobs = {number: round_of(1, number).job for number in range(1, CYCLE + 1)}

    for number, job in jobs.items():
        assert (job is None) == bool(number % JOB_EVERY)
        if job:
            shards = [set(range(job.count)[at : at + job.shard]) for at in range(0, job.count, job.shard)]
            assert 2 <= len(shards) <= 4
            assert job.failing
            assert all(len(shard & {*job.failing}) <= 1 < len(shard) for shard in shards[:-1])
            assert not shards[-1] & {*job.failing}
            same = [run for run in round_of(1, number).runs if run.ids == job.ids and run.name != job.name]
            assert all(run.count == job.shard and run.count <= min(job.failing) for run in same)
    assert {job.waves for job in jobs.values() if job} == {0, 1}
    assert any(round_of(1, number).queue_limit for number in jobs)
    assert {bool(job.deadline) for job in jobs.values() if job} == {True, False}
    assert {round_of(1, number).encrypted for number, job in jobs.items() if job} == {True, False}
    assert {job.ids for job in jobs.values() if job} == {"j", "same"}


def test_lasting_faults_come_last_so_that_the_others_apply() -> None:
    faults = [round_of(1, number).faults for number in range(1, CYCLE + 1)]

    assert all("times" in fault for each in faults for fault in each[:-1])
    assert sum("times" not in fault for each in faults for fault in each[-1:]) > 20
