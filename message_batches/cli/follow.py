"""Reporting how a run ended: the last part of `start`, `attach`, `watch` and `demo`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import RenderableType

from message_batches.cli import next_steps, tables
from message_batches.cli.context import DONE, FAILED, UNFINISHED, CommandContext, CommandResult
from message_batches.cli.json_output import FinishedRun, RunDocument
from message_batches.cli.report import MAX_REPLY, report
from message_batches.errors import MessageBatchesError, RunError
from message_batches.job_models import MergedResults
from message_batches.library.outcomes import landed_before
from message_batches.models import BatchOutput
from message_batches.result_models import LandedResults
from message_batches.results import reader
from message_batches.results.reader import ResultsChanged
from message_batches.results.replies import ReplyCell, read_reply
from message_batches.runs.describe import RunView
from message_batches.storage.interface import Store

SHOWN_REPLIES = 8


@dataclass(frozen=True)
class WaitOptions:
    """The options after the start of a run.

    Attributes:
        wait: until its end; None is yes at a terminal.
        strict: whether requests without a reply that is whole make the exit code 1.
    """

    wait: bool | None = None
    strict: bool = False


@dataclass(frozen=True)
class ResultsLocation:
    """The location of a run's results, and the ways for a user to get them.

    Attributes:
        command: the command line that shows them.
        link: the run's page in the Web UI, where that is known.
        report: the file of its report, if one was written.
    """

    store: Store
    command: str
    link: str | None = None
    report: Path | None = None


def waits(context: CommandContext, waiting: WaitOptions) -> bool:
    """Return whether a run or a job is followed to its end."""
    return context.out.is_terminal if waiting.wait is None else waiting.wait


async def end_result(
    context: CommandContext, view: RunView, *, strict: bool = False, location: ResultsLocation | None = None
) -> CommandResult:
    """Report how a run ended."""
    document = RunDocument.of(view)
    landed = view.output or await _landed_before(context, view)
    if not landed:
        return CommandResult(document, tables.run_rows(view, datetime.now(UTC)), FAILED)
    location = location or ResultsLocation(context.store, next_steps.results(view.workflow_id))
    shown, whole = await results_report(context, landed, location)
    document = document.model_copy(update={"output": landed, "batch_id": landed.batch_id})
    return CommandResult(document, shown, exit_code_of(landed, strict=strict) if whole else FAILED)


async def _landed_before(context: CommandContext, view: RunView) -> LandedResults | None:
    """Return the results of a run that was stopped from outside, such as one that had landed them before a reset."""
    try:
        landed = await landed_before(context.store, view)
    except MessageBatchesError as error:
        context.say(f"Its results cannot be looked up: {next_steps.error_text(error)}", style="yellow")
        return None
    if landed:
        context.say(f"{view.workflow_id} {view.status}. The results of its batch have landed", style="yellow")
    return landed


async def stored_result(
    context: CommandContext, identity: str, landed: LandedResults | BatchOutput, *, strict: bool
) -> CommandResult:
    """Report results that had landed before, by the id of their run or their batch."""
    location = ResultsLocation(context.store, next_steps.results(identity))
    shown, whole = await results_report(context, landed, location)
    document = FinishedRun(workflow_id=identity, batch_id=landed.batch_id, output=landed)
    return CommandResult(document, shown, exit_code_of(landed, strict=strict) if whole else FAILED)


async def results_report(
    context: CommandContext, landed: LandedResults | BatchOutput, location: ResultsLocation
) -> tuple[RenderableType, bool]:
    """Build the report of landed results, with the first of the replies; False if they are not what was landed."""
    replies: list[ReplyCell] = []
    whole = True
    try:
        lines = await reader.first_lines(location.store, landed, SHOWN_REPLIES)
        replies = [read_reply(line, 2 * MAX_REPLY) for line in lines]
    except (MessageBatchesError, ValueError) as error:
        whole = not isinstance(error, ResultsChanged)
        why = next_steps.error_text(error) if isinstance(error, RunError) else str(error)
        context.say(f"The results cannot be shown: {why}", style="yellow")
    return report(landed, replies, command=location.command, link=location.link, page=location.report), whole


def exit_code_of(landed: LandedResults | BatchOutput | MergedResults, *, strict: bool) -> int:
    """Return the exit code for landed results: 3 where a deadline left requests unfinished.

    Otherwise with `strict` 1 unless every request has a reply that is whole.
    """
    if isinstance(landed, BatchOutput) and landed.unfinished:
        return UNFINISHED
    counts, usable = landed.summary.counts, landed.summary.usable
    unusable = usable is not None and usable < counts.succeeded
    return FAILED if strict and (counts.errored or counts.expired or counts.canceled or unusable) else DONE
