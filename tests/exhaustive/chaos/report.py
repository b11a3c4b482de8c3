"""The output: a line for each round, and at the end a table of what was tried, with the outcome."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from tests.exhaustive.chaos.evidence import Evidence
from tests.exhaustive.chaos.fault_coverage import AIMED, DRAWN
from tests.exhaustive.chaos.plan import Round
from tests.exhaustive.chaos.plan_generator import deck, job_deck


@dataclass(frozen=True)
class Result:
    """The result of a round; `evidence` is None if it could not be played to its end."""

    plan: Round
    seconds: float
    violations: Sequence[str]
    evidence: Evidence | None

    def __str__(self) -> str:
        plan = self.plan
        faults = ", ".join(f"{fault['fault']} on {fault['operation']}" for fault in plan.faults)
        harms = ", ".join(map(str, self.evidence.harms if self.evidence else plan.harms))
        ends = Counter(run.ended or "no end" for run in self.evidence.runs) if self.evidence else {}
        job = self.evidence.job if self.evidence else None
        shown = ", ".join(f"{count} {end}" for end, count in ends.items()) + (f"; job {job.ended}" if job else "")
        verdict = f"{len(self.violations)} VIOLATIONS" if self.violations else "ok"
        done = "; ".join(filter(None, (faults, harms))) or "no harm"
        return f"round {plan.number:3}  {self.seconds:5.1f} s  {verdict}  {shown}  ({done})"


@dataclass
class SeriesResults:
    """The results of a series of rounds."""

    results: list[Result] = field(default_factory=list)

    @property
    def violations(self) -> int:
        return sum(len(result.violations) for result in self.results)

    def table(self) -> str:
        """Return a Markdown table of what was tried, how often, and with which outcome."""
        played = [result.evidence for result in self.results if result.evidence]
        runs = [run for seen in played for run in seen.runs]
        ends = Counter(run.ended or "no end" for run in runs)
        twice = sum(len(run.output["possiblyPaidTwice"]) for run in runs if run.output)
        met = {pair for seen in played for pair in combinations(sorted(_struck(seen)), 2)}
        planned = {pair for result in self.results for pair in combinations(result.plan.kinds, 2)}
        calls = Counter[str]()
        for seen in played:
            calls.update({str(f["fault"]): int(f["applied"]) for f in seen.faults if f["fault"] not in AIMED})
        jobs = [seen.job for seen in played if seen.job]
        shards = sum(len(seen.shards) for seen in played)
        acts = Counter(str(harm.act) for seen in played for harm in seen.harms)
        tried = {(harm.act, harm.moment) for seen in played for harm in seen.harms}
        rows = [
            ("rounds", f"{len(self.results)}, {len(played)} of them played to their end"),
            ("runs", f"{len(runs):,}: {_listed(ends)}"),
            ("jobs", f"{len(jobs)}: {_listed(Counter(job.ended or 'no end' for job in jobs))}; {shards} shards"),
            ("batches created", f"{sum(len(seen.batches) for seen in played):,}, {twice} named as possibly paid twice"),
            ("left to an operator, and decided", str(sum(len(seen.decided) for seen in played))),
            ("faults that struck", f"{len(calls)} kinds of {len(DRAWN)}, in {sum(calls.values()):,} calls"),
            (
                "pairs of faults in force together",
                f"{len(planned)} of {len(DRAWN) * (len(DRAWN) - 1) // 2}",
            ),
            ("of these, both struck", _but(len(planned & met), [" with ".join(pair) for pair in planned - met])),
            (
                "harm to processes",
                f"{_listed(acts)}; {len(tried)} of {len(deck() + job_deck())} combinations with a moment",
            ),
            ("violations", str(self.violations)),
        ]
        return "\n".join(("| what | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)))


def _struck(seen: Evidence) -> set[str]:
    return {str(fault["fault"]) for fault in seen.faults if fault["applied"] and fault["fault"] not in AIMED}


def _but(number: int, others: Sequence[str]) -> str:
    return f"{number}, not {', '.join(sorted(others))}" if 0 < len(others) <= 20 else str(number)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common())


def replay(plan: Round) -> str:
    """Return the command that plays a round again."""
    return f'make chaos ARGS="--seed {plan.seed} --round {plan.number}"'


def indented(lines: Iterable[str]) -> str:
    """Format the lines under a round's line."""
    return "\n".join(f"    {line}" for line in lines)
