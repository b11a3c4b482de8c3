"""The options of `start` and `attach`, combined with the settings and the Arazzo document."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TypedDict, TypeVar, Unpack

from pydantic import TypeAdapter, ValidationError

from message_batches.api.keys import DEFAULT_KEY, KEY_NAME
from message_batches.api.models import ApiProfile
from message_batches.formatting import format_time
from message_batches.job_models import MAX_CONCURRENCY, Retries, RetryKind, ShardLimits
from message_batches.jobs.start import JobOptions
from message_batches.models import MaxCost, PollSchedule, SubmissionSchedule
from message_batches.runs.control import Refused
from message_batches.runs.starter import StartOptions
from message_batches.serialization import ContractModel
from message_batches.settings import Settings
from message_batches.webhooks.events import MAX_NAMES, WebhookNames

Options = TypeVar("Options", bound=ContractModel)

_TIME_OF_DAY = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_DATE_AND_TIME = re.compile(r"[0-9-]{8,10}[T ][0-9]")


class RunKeywords(TypedDict, total=False):
    """The options of `start` and of `attach`, with the names that they have on the command line.

    Attributes:
        document: an Arazzo document, whose cadence is used.
        poll_interval: how long to wait between two polls; by default 30 seconds.
        poll_limit: how many polls may find the batch unfinished; by default 2880.
        key: the *name* of a key that the workers hold, never a key; by default `default`.
        anthropic_version: the header of that name; by default `2023-06-01`.
        task_queue: of the workers; by default that of the settings.
        by: when a batch that has not ended is canceled, and what has finished is landed: a time, or a text such as
            `06:00`.
        notify: the *names* of webhooks of the workers, which are told of the events of the run.
    """

    document: Path | None
    poll_interval: timedelta | None
    poll_limit: int | None
    key: str
    anthropic_version: str | None
    task_queue: str | None
    by: datetime | str | None
    notify: Sequence[str] | None


class SendKeywords(RunKeywords, total=False):
    """The options of requests that are sent.

    Attributes:
        submission_timeout: how long the POST may take.
        quiet_period: how long the list of batches is watched after a lost reply.
        beta: betas to send the requests with.
        delete_after_landing: delete the batch at the provider once its results are landed and verified.
        max_cost: the most, in USD, that the requests may cost by the estimate; above it nothing is sent.
    """

    submission_timeout: timedelta | None
    quiet_period: timedelta | None
    beta: Sequence[str] | None
    delete_after_landing: bool
    max_cost: Decimal | float | str | None


class JobKeywords(TypedDict, total=False):
    """The options of requests that are sent as a job.

    Attributes:
        retry_waves: send again what has failed, up to so many times, and merge the results: this makes it a job. By
            default 2 for requests that are more than one batch takes.
        what: which have failed: `errors`, or `unusable`, which are also the replies that were cut off.
        max_tokens: the limit that these get.
        shard_requests: at most so many requests in a batch.
        concurrency: how many batches are under way at once.
    """

    retry_waves: int | None
    what: RetryKind | str | None
    max_tokens: int | None
    shard_requests: int | None
    concurrency: int | None


class StartKeywords(SendKeywords, JobKeywords, total=False):
    """The options of `start`."""


def check_names(given: Mapping[str, object], known: Iterable[str]) -> None:
    """Raise `TypeError` for an option that there is not: a limit that is misspelt must not be left out."""
    if unknown := sorted(given.keys() - set(known)):
        raise TypeError(f"There is no option {unknown[0]!r}: expected one of {', '.join(sorted(known))}")


def of_run(settings: Settings, **given: Unpack[StartKeywords]) -> StartOptions:
    """Combine the document's cadence, the settings, and the options that are given, which go first."""
    key = given.get("key") or DEFAULT_KEY
    if not KEY_NAME.fullmatch(key):
        raise Refused(
            "key takes the name of a key that the worker holds (lower-case letters, digits, '-', at most 32), never "
            "a key. Nothing was sent; but if that was a key, your shell's history has it now: rotate it",
            option="key",
        )
    default_version, poll = _cadence(given.get("document"))
    by = given.get("by")
    return StartOptions(
        profile=_profile(key, given.get("anthropic_version") or default_version, given.get("beta") or ()),
        poll=_with(
            poll,
            retry_after=("poll_interval", given.get("poll_interval")),
            retry_limit=("poll_limit", given.get("poll_limit")),
        ),
        submission=_with(
            SubmissionSchedule(),
            timeout=("submission_timeout", given.get("submission_timeout")),
            quiet_period=("quiet_period", given.get("quiet_period")),
        ),
        task_queue=given.get("task_queue") or settings.task_queue,
        delete_after_landing=given.get("delete_after_landing", False),
        scratch=settings.scratch,
        max_cost=cost_limit(given.get("max_cost")),
        prices=settings.prices,
        deadline=read_deadline(by, datetime.now(UTC)) if by else None,
        notify=_webhooks(given.get("notify") or ()),
    )


def _webhooks(names: Sequence[str]) -> tuple[str, ...]:
    try:
        return TypeAdapter(WebhookNames).validate_python(tuple(names))
    except ValidationError:
        raise Refused(
            "notify takes the name of a webhook that the worker has (lower-case letters, digits, '-', at most 32), "
            f"never its address, and {MAX_NAMES} at most. Nothing was sent",
            option="notify",
        ) from None


def of_job(**given: Unpack[StartKeywords]) -> JobOptions:
    """Combine the options of a job; those that are not given have the defaults of its input."""
    what, waves = given.get("what"), given.get("retry_waves")
    if what and not waves:
        raise Refused("what goes with retry_waves. Nothing was sent", option="what")
    concurrency = given.get("concurrency")
    if concurrency is None:
        concurrency = JobOptions().concurrency
    if not 1 <= concurrency <= MAX_CONCURRENCY:
        raise Refused(f"concurrency is a number from 1 to {MAX_CONCURRENCY}. Nothing was sent", option="concurrency")
    return JobOptions(
        limits=_with(ShardLimits(), max_requests=("shard_requests", given.get("shard_requests"))),
        retries=retries_of(what, given.get("max_tokens"), waves),
        concurrency=concurrency,
    )


def retries_of(what: RetryKind | str | None, max_tokens: int | None, waves: int | None = None) -> Retries:
    """Return what to send again; `Refused` for replies that were cut off without a new limit, or a limit without these.

    Args:
        what: `errors`, or `unusable`, which are also the replies that were cut off; by default `errors`.
        max_tokens: the limit that these get.
        waves: how often at most; by default twice.
    """
    retries = _with(Retries(), what=("what", what), max_tokens=("max_tokens", max_tokens), waves=("retry_waves", waves))
    if (retries.what is RetryKind.UNUSABLE) != (max_tokens is not None):
        raise Refused(
            "max_tokens goes with what is unusable, replies that were cut off. Nothing was sent", option="max_tokens"
        )
    return retries


def cost_limit(given: Decimal | float | str | None) -> Decimal | None:
    """Return an amount in USD; `Refused` for one that cannot be a limit."""
    try:
        return TypeAdapter[Decimal | None](MaxCost | None).validate_python(given)
    except ValidationError as error:
        raise _refused("max_cost", error) from None


def _with(model: Options, **given: tuple[str, object]) -> Options:
    """Return a model with other values, each with the name of its option; those that are None stay as they are."""
    values = {field: value for field, (_, value) in given.items() if value is not None}
    try:
        return type(model).model_validate(dict(model) | values)
    except ValidationError as error:
        option, _ = given[str(error.errors()[0]["loc"][0])]
        raise _refused(option, error) from None


def _refused(option: str, error: ValidationError) -> Refused:
    return Refused(f"{option} cannot be used: {error.errors()[0]['msg']}. Nothing was sent", option=option)


def read_deadline(given: datetime | str, now: datetime) -> datetime:
    """Read the next such time of day, or a date and a time; local ones, where they name no zone."""
    text = given.isoformat() if isinstance(given, datetime) else given
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
            f"by {text[:100]!r} is neither a time of day such as 06:00 nor a date and time such as 2026-11-28T06:00. "
            "Nothing was sent",
            option="by",
        ) from None
    if deadline <= now:
        raise Refused(f"by {text[:100]!r} is over: it was {format_time(deadline)} UTC. Nothing was sent", option="by")
    return deadline


def _profile(key: str, version: str, betas: Sequence[str]) -> ApiProfile:
    try:
        return ApiProfile(api_key=key, anthropic_version=version, anthropic_beta=tuple(betas))
    except ValidationError as error:
        wrong = error.errors()[0]
        option = "beta" if wrong["loc"][0] == "anthropic_beta" else "anthropic_version"
        reason = wrong["msg"].removeprefix("Value error, ")
        if any("," in beta for beta in betas) and option == "beta":
            reason = "a beta has no comma: give each by itself"
        raise Refused(f"{option} cannot be used: {reason}. Nothing was sent", option=option) from None


def _cadence(document: Path | None) -> tuple[str, PollSchedule]:
    from message_batches.arazzo.loader import load_document
    from message_batches.arazzo.plan import plan_of

    if document is None:
        return ApiProfile().anthropic_version, PollSchedule()
    plan = plan_of(load_document(document))
    return plan.anthropic_version, plan.poll
