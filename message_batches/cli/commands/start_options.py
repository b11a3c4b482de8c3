"""The options of `start` and `attach`, combined from the command line, the settings and the Arazzo document."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

from pydantic import ValidationError

from message_batches.api.keys import DEFAULT_KEY, KEY_NAME
from message_batches.api.models import ApiProfile
from message_batches.formatting import format_time
from message_batches.job_models import Retries, ShardLimits
from message_batches.jobs.start import JobOptions
from message_batches.models import PollSchedule, SubmissionSchedule
from message_batches.runs.control import Refused
from message_batches.runs.starter import StartOptions
from message_batches.settings import Settings

OptionsReader = Callable[[Settings], StartOptions]

_TIME_OF_DAY = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_DATE_AND_TIME = re.compile(r"[0-9-]{8,10}[T ][0-9]")


def of_run(
    settings: Settings,
    *,
    document: Path | None = None,
    poll_interval: timedelta | None = None,
    poll_limit: int | None = None,
    submission_timeout: timedelta | None = None,
    quiet_period: timedelta | None = None,
    key: str = DEFAULT_KEY,
    version: str | None = None,
    betas: Sequence[str] = (),
    task_queue: str | None = None,
    delete_after_landing: bool = False,
    max_cost: Decimal | None = None,
    by: str | None = None,
) -> StartOptions:
    """Combine the document's cadence, the settings, and the options of the command line, which go first."""
    if not KEY_NAME.fullmatch(key):
        raise Refused(
            "--key takes the name of a key that the worker holds (lower-case letters, digits, '-', at most 32), never "
            "a key. Nothing was sent; but if that was a key, your shell's history has it now: rotate it"
        )
    default_version, poll = _cadence(document)
    if poll_interval:
        poll = poll.model_copy(update={"retry_after": poll_interval})
    if poll_limit is not None:
        poll = poll.model_copy(update={"retry_limit": poll_limit})
    submission = SubmissionSchedule()
    if submission_timeout:
        submission = submission.model_copy(update={"timeout": submission_timeout})
    if quiet_period:
        submission = submission.model_copy(update={"quiet_period": quiet_period})
    return StartOptions(
        profile=_profile(key, version or default_version, betas),
        poll=poll,
        submission=submission,
        task_queue=task_queue or settings.task_queue,
        delete_after_landing=delete_after_landing,
        scratch=settings.scratch,
        max_cost=max_cost,
        prices=settings.prices,
        deadline=read_deadline(by, datetime.now(UTC)) if by else None,
    )


def of_job(
    retry_waves: int | None,
    what: str | None,
    max_tokens: int | None,
    shard_requests: int | None,
    concurrency: int | None,
) -> JobOptions:
    """Combine the options of the command line for a job; those that are not given have the defaults of its input."""
    limits = {"max_requests": shard_requests} if shard_requests else {}
    retries = {"waves": retry_waves, "what": what, "max_tokens": max_tokens}
    return JobOptions(
        limits=ShardLimits(**limits),
        retries=Retries.model_validate({name: value for name, value in retries.items() if value is not None}),
        **({"concurrency": concurrency} if concurrency else {}),
    )


def read_deadline(text: str, now: datetime) -> datetime:
    """Read the next such time of day, or a date and a time; local ones, where they name no zone."""
    try:
        if found := _TIME_OF_DAY.fullmatch(text.strip()):
            hour, minute, second = map(int, found.groups("0"))
            local = datetime.combine(now.astimezone().date(), time(hour, minute, second))
            today, tomorrow = (day.astimezone(UTC) for day in (local, local + timedelta(days=1)))
            return today if today > now else tomorrow
        if not _DATE_AND_TIME.match(text.strip()):
            raise ValueError
        deadline = datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(
            f"--by {text[:100]!r} is neither a time of day such as 06:00 nor a date and time such as 2026-11-28T06:00. "
            "Nothing was sent"
        ) from None
    if deadline <= now:
        raise Refused(f"--by {text[:100]!r} is over: it was {format_time(deadline)} UTC. Nothing was sent")
    return deadline


def _profile(key: str, version: str, betas: Sequence[str]) -> ApiProfile:
    try:
        return ApiProfile(api_key=key, anthropic_version=version, anthropic_beta=tuple(betas))
    except ValidationError as error:
        wrong = error.errors()[0]
        option = "--beta" if wrong["loc"][0] == "anthropic_beta" else "--anthropic-version"
        reason = wrong["msg"].removeprefix("Value error, ")
        if any("," in beta for beta in betas) and option == "--beta":
            reason = "it takes one beta: give --beta once for each"
        raise Refused(f"{option} cannot be used: {reason}. Nothing was sent") from None


def _cadence(document: Path | None) -> tuple[str, PollSchedule]:
    from message_batches.arazzo.loader import load_document
    from message_batches.arazzo.plan import plan_of

    if document is None:
        return ApiProfile().anthropic_version, PollSchedule()
    plan = plan_of(load_document(document))
    return plan.anthropic_version, plan.poll
