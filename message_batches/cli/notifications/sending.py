"""The command `notify`, and what `status` shows of the events that were sent to webhooks."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Self

from pydantic import BaseModel
from rich.console import Group
from rich.text import Text
from temporalio.service import RPCError

from message_batches.cli import next_steps
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.jobs.documents import JobDocument
from message_batches.cli.json_output import RunDocument, Time
from message_batches.contract import JOB_WORKFLOW_TYPE, WORKFLOW_TYPE
from message_batches.errors import RunError
from message_batches.formatting import format_duration, plural
from message_batches.library.notifications import Delivery, SentNotification, notifications_of, send_again, undelivered
from message_batches.runs.describe import RunNotFound, describe_execution
from message_batches.serialization import ContractModel


class NotificationDocument(ContractModel):
    """An event that was sent to a webhook.

    Attributes:
        delivery: `delivered`, `trying`, or `undelivered` once no further attempt is made.
        attempts: that have failed, while it is tried.
        problem: why the last one failed.
    """

    event: str
    webhook: str
    time: Time
    delivery: str
    attempts: int | None
    problem: str | None
    next_attempt: Time | None

    @classmethod
    def of(cls, sent: SentNotification) -> Self:
        """Convert a notification."""
        return cls(
            event=sent.event,
            webhook=sent.webhook,
            time=sent.time,
            delivery=sent.delivery.value,
            attempts=sent.attempts or None,
            problem=sent.problem or None,
            next_attempt=sent.next_attempt,
        )


class NotifiedRun(RunDocument):
    """A run with its notifications."""

    notifications: tuple[NotificationDocument, ...]


class NotifiedJob(JobDocument):
    """A job with its notifications."""

    notifications: tuple[NotificationDocument, ...]


class SentAgain(ContractModel):
    """The notifications of a run that are sent again, by `notify`."""

    workflow_id: str
    sent_again: tuple[NotificationDocument, ...]


async def notify(context: CommandContext, identity: str) -> CommandResult:
    """Send the events of a run or a job that did not reach their webhooks again."""
    view = await context.runs.get(identity).progress()
    client = await context.client()
    sent = await notifications_of(client, view.first_run_id)
    if not sent:
        raise RunError(
            f"Temporal has no notification of {view.workflow_id}: it was started without --notify, has no event yet, "
            "or they are older than the namespace keeps them. Nothing was sent"
        )
    again = undelivered(sent)
    for each in again:
        await send_again(client, each)
    document = SentAgain(workflow_id=view.workflow_id, sent_again=tuple(map(NotificationDocument.of, again)))
    if not again:
        waiting = any(each.delivery is Delivery.TRYING for each in sent)
        how = "under way or delivered" if waiting else "delivered"
        return CommandResult(document, f"{plural(len(sent), 'notification')} {how}: there is none to send again")
    lines = [f"{each.event} is sent to {each.webhook} again" for each in again]
    shown = "\n".join([*lines, f"To see what comes of it: {next_steps.status(view.workflow_id)}"])
    return CommandResult(document, shown)


async def with_notifications(context: CommandContext, result: CommandResult) -> CommandResult:
    """Add the notifications of a run or a job to what is shown of it, if it has any."""
    document = result.document
    if not isinstance(document, RunDocument | JobDocument):
        return result
    client = await context.client()
    try:
        described = await describe_execution(client, document.workflow_id, WORKFLOW_TYPE, JOB_WORKFLOW_TYPE)
        info = described.workflow_execution_info
        sent = await notifications_of(client, info.first_run_id or info.execution.run_id)
    except RunNotFound:
        return result
    except RPCError as error:
        context.say(f"Temporal does not list the notifications: {error.message}", style="yellow")
        return result
    if not sent:
        return result
    shown = Group(*([result.shown] if result.shown is not None else []), *_lines(sent, document.workflow_id))
    return CommandResult(_with(document, sent), shown, result.exit_code)


def _with(document: RunDocument | JobDocument, sent: Sequence[SentNotification]) -> BaseModel:
    model = NotifiedJob if isinstance(document, JobDocument) else NotifiedRun
    return model(**dict(document), notifications=tuple(map(NotificationDocument.of, sent)))


def _lines(sent: Sequence[SentNotification], identity: str) -> list[Text]:
    delivered = sum(each.delivery is Delivery.DELIVERED for each in sent)
    lines = [Text(f"Webhooks: {delivered:,} of {plural(len(sent), 'notification')} delivered")]
    problems = undelivered(sent)
    lines += [Text(_problem(each, datetime.now(UTC)), style="yellow") for each in problems]
    if problems:
        lines.append(Text(f"To send what is left again, at once: {next_steps.notify(identity)}"))
    return lines


def _problem(sent: SentNotification, now: datetime) -> str:
    if sent.delivery is Delivery.UNDELIVERED:
        return f"{sent.event} was not delivered to {sent.webhook}, and is no longer tried: {sent.problem}"
    again = f", again in {format_duration(max(sent.next_attempt, now) - now)}" if sent.next_attempt else ""
    failed = f", {plural(sent.attempts, 'attempt')} failed" if sent.attempts else ""
    return f"{sent.event} is not delivered to {sent.webhook} yet{failed}{again}: {sent.problem}"
