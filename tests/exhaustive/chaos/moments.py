"""The moments at which harm is done: the boundaries of a run's steps, as far as they are visible from outside."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Calls = Sequence[Mapping[str, Any]]
"""The emulator's call log."""
Names = frozenset[str]
"""The names of the objects in the store."""


class Moment(StrEnum):
    """The moments, in the order in which a run comes to them; then those of a job."""

    SOME_TIME = "at some time"
    PREPARED = "once the requests are checked"
    ANCHORED = "before the intent"
    INTENDED = "after the intent"
    UPLOADING = "while the body is sent"
    POSTING = "during the POST"
    REPLIED = "after the reply, before it is recorded"
    RECORDED = "once the batch is claimed"
    SEARCHING = "while a lost batch is searched for"
    VERIFYING = "while a candidate is verified"
    POLLING = "during a poll"
    WAITING = "between two polls"
    LANDING = "during landing"
    PUBLISHING = "before publishing"
    PUBLISHED = "after publishing"
    PLANNING = "while a job is planned"
    PLANNED = "once a job is planned"
    WINDOW = "once a shard has landed"
    WAVE = "once the second wave is planned"
    MERGING = "while results are merged"
    MERGED = "once results are merged"


OF_JOBS = (Moment.PLANNING, Moment.PLANNED, Moment.WINDOW, Moment.WAVE, Moment.MERGING, Moment.MERGED)
OF_RUNS = tuple(moment for moment in Moment if moment not in OF_JOBS)
JOB = "j"
"""The name of a round's job."""


@dataclass(frozen=True)
class Sign:
    """The sign of a moment, in the call log or in the store.

    Attributes:
        calls: returns whether the call log shows it.
        names: returns whether the names in the store show it; checked often, since these moments are short.
        needs: faults of the emulator, in JSON form, that cause the moment, and make it long enough.
    """

    calls: Callable[[Calls], bool] | None = None
    names: Callable[[Names], bool] | None = None
    needs: tuple[Mapping[str, Any], ...] = field(default=())


def _under_way(operation: str, number: int = 1) -> Callable[[Calls], bool]:
    """Return a check for a slow call of that operation that has arrived and has no response yet."""

    def holds(calls: Calls) -> bool:
        slow = [call for call in calls if call["operation"] == operation and "slow" in call["faults"]]
        return len(slow) >= number and slow[-1]["status"] is None

    return holds


def _answered(operation: str) -> Callable[[Calls], bool]:
    return lambda calls: any(call["operation"] == operation and call["status"] == 200 for call in calls)


def _searched_for(calls: Calls) -> bool:
    """Return whether the list was requested after a POST whose reply was dropped."""
    dropped = False
    for call in calls:
        if call["operation"] == "create" and "accept-then-drop" in call["faults"]:
            dropped = True
        elif dropped and call["operation"] == "list":
            return True
    return False


def _intended(names: Names) -> bool:
    intents = {name for name in names if name.startswith("submissions/") and not name.endswith(".outcome.json")}
    return any(f"{name.removesuffix('.json')}.outcome.json" not in names for name in intents)


def _publishing(names: Names) -> bool:
    """Return whether a batch's results are being written, or are written and not published yet."""
    folders = {name.rsplit("/", 1)[0] for name in names if name.startswith("results/")}
    return bool(folders - {name.rsplit("/", 1)[0] for name in names if _is_publication(name)})


def _is_publication(name: str) -> bool:
    return name.startswith("results/") and name.endswith(".json")


def _in_jobs(pattern: str) -> Callable[[Names], bool]:
    """Return a check for an object in the folder of a job."""
    matches = re.compile(rf"jobs/[^/]+/{pattern}").fullmatch
    return lambda names: any(map(matches, names))


_planned, _landed, second_wave_planned = _in_jobs(r"0\.plan"), _in_jobs(r"0-\d+\.json"), _in_jobs(r"1\.plan")
_written, _merged = _in_jobs(r"[^/]+\.jsonl"), _in_jobs(r"[0-9a-f]{64}\.json")


DROPPED = {"fault": "accept-then-drop", "operation": "create", "times": 1}
"""The fault of a POST whose reply is lost."""

SIGNS: Mapping[Moment, Sign] = {
    Moment.SOME_TIME: Sign(),
    Moment.PREPARED: Sign(names=lambda names: any(name.endswith(".ids") for name in names)),
    Moment.ANCHORED: Sign(calls=_answered("list")),
    Moment.INTENDED: Sign(names=_intended),
    Moment.UPLOADING: Sign(
        calls=_under_way("create"),
        needs=({"fault": "slow", "operation": "create", "times": 1, "bytes_per_second": 2_000_000},),
    ),
    Moment.POSTING: Sign(
        calls=_under_way("create"), needs=({"fault": "slow", "operation": "create", "times": 1, "seconds": 2},)
    ),
    Moment.REPLIED: Sign(calls=_answered("create")),
    Moment.RECORDED: Sign(names=lambda names: any(name.startswith("claims/") for name in names)),
    Moment.SEARCHING: Sign(calls=_searched_for, needs=(DROPPED,)),
    Moment.VERIFYING: Sign(
        calls=_under_way("results"),
        needs=(DROPPED, {"fault": "slow", "operation": "results", "times": 2, "seconds": 2}),
    ),
    Moment.POLLING: Sign(
        calls=_under_way("retrieve"), needs=({"fault": "slow", "operation": "retrieve", "times": 1, "seconds": 2},)
    ),
    Moment.WAITING: Sign(calls=_answered("retrieve")),
    Moment.LANDING: Sign(
        calls=_under_way("results"),
        needs=({"fault": "slow", "operation": "results", "times": 1, "seconds": 1, "bytes_per_second": 60_000},),
    ),
    Moment.PUBLISHING: Sign(names=_publishing),
    Moment.PUBLISHED: Sign(names=lambda names: any(map(_is_publication, names))),
    Moment.PLANNING: Sign(names=lambda names: f"given-{JOB}.jsonl" in names and not _planned(names)),
    Moment.PLANNED: Sign(names=_planned),
    Moment.WINDOW: Sign(names=_landed),
    Moment.WAVE: Sign(names=second_wave_planned),
    Moment.MERGING: Sign(names=lambda names: _written(names) and not _merged(names)),
    Moment.MERGED: Sign(names=_merged),
}
