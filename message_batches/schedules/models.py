"""A schedule: its times, its policies, and how it stands."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from temporalio.client import ScheduleIntervalSpec, ScheduleOverlapPolicy, SchedulePolicy, ScheduleSpec

from message_batches.models import RequestsInput
from message_batches.runs.describe import RunStatus
from message_batches.serialization import ContractModel
from message_batches.uri_template import UTC_NAME

CATCH_UP = timedelta(hours=24)
"""A time that was missed because Temporal itself was away is made up for within this one; its own default is a year."""

NEXT_TIMES = 5
"""The times of a schedule that are shown."""


class Overlap(StrEnum):
    """The firing of a schedule whose last run is still under way."""

    SKIP = "skip"
    """Nothing is started."""
    BUFFER_ONE = "buffer-one"
    """One run is started when that one has ended; further firings meanwhile start nothing."""
    ALLOW = "allow"
    """Another run is started beside it."""


_POLICIES = {
    Overlap.SKIP: ScheduleOverlapPolicy.SKIP,
    Overlap.BUFFER_ONE: ScheduleOverlapPolicy.BUFFER_ONE,
    Overlap.ALLOW: ScheduleOverlapPolicy.ALLOW_ALL,
}


@dataclass(frozen=True)
class ScheduleOptions:
    """The times and the policies of a schedule: `every` or `cron`.

    Attributes:
        every: the interval, counted from midnight of 1970-01-01 UTC.
        cron: expressions of five fields, in the time zone.
        time_zone: an IANA name; also that of the date in the address of requests.
        overlap: what a firing does while the last run is under way.
        pause_on_failure: pause the schedule once a run fails.
    """

    every: timedelta | None = None
    cron: tuple[str, ...] = ()
    time_zone: str = UTC_NAME
    overlap: Overlap = Overlap.SKIP
    pause_on_failure: bool = False

    @property
    def spec(self) -> ScheduleSpec:
        """The times, as Temporal takes them."""
        return ScheduleSpec(
            intervals=[ScheduleIntervalSpec(every=self.every)] if self.every else [],
            cron_expressions=self.cron,
            time_zone_name=self.time_zone,
        )

    @property
    def policy(self) -> SchedulePolicy:
        """The policies, as Temporal takes them."""
        return SchedulePolicy(
            overlap=_POLICIES[self.overlap], catchup_window=CATCH_UP, pause_on_failure=self.pause_on_failure
        )


def overlap_of(policy: ScheduleOverlapPolicy) -> str:
    """Return Temporal's policy in our word; its own name for one that a schedule of ours does not have."""
    words = {policy: overlap.value for overlap, policy in _POLICIES.items()}
    return words.get(policy, policy.name.lower().replace("_", "-"))


class ScheduleNote(ContractModel):
    """What Temporal keeps with a schedule for us, as its memo.

    Attributes:
        cron: the expressions, which Temporal itself keeps only as calendars.
        requests_from: the names of the files, or the address of the requests.
        requests: their number; None where it is known only at the firing.
        nonce: distinguishes this creation from others of the same name.
    """

    cron: tuple[str, ...] = ()
    requests_from: str = ""
    requests: int | None = None
    nonce: str = ""


@dataclass(frozen=True)
class ScheduledRun:
    """A run or a job that a schedule has started.

    Attributes:
        due: the time that it was scheduled for.
        status: None where Temporal no longer has it.
    """

    workflow_id: str
    due: datetime
    status: RunStatus | None = None


@dataclass(frozen=True)
class ScheduleView:
    """A schedule as it was seen at one moment.

    Attributes:
        job: whether it starts jobs.
        every, time_zone: of its times.
        note: what our creation of it has left; empty for a schedule that was created otherwise.
        paused: whether it is paused, `reason` why.
        next_times: the next firings, in UTC.
        runs: the last ones that it has started, the newest first; of a list without their status.
        given: the input of its runs; None of a list, or where it cannot be read.
        overlap, pause_on_failure, fired, skipped, missed: not known of a list. `skipped` firings found the last run
            still under way, `missed` ones came while Temporal was away.
    """

    name: str
    job: bool
    every: timedelta | None
    time_zone: str
    note: ScheduleNote
    paused: bool
    reason: str
    next_times: tuple[datetime, ...]
    runs: tuple[ScheduledRun, ...] = ()
    given: RequestsInput | None = None
    overlap: str = ""
    pause_on_failure: bool = False
    fired: int = 0
    skipped: int = 0
    missed: int = 0
