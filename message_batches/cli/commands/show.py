"""The commands that show a run: `status`, `watch`, `results`; none of them needs a worker."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from message_batches.cli import next_steps, tables
from message_batches.cli.context import CommandContext, CommandResult
from message_batches.cli.follow import end_result, follow_run, stored_result
from message_batches.cli.json_output import FailedRequestsDocument, RunDocument, SavedResults
from message_batches.cli.result_export import refuse_existing, save, write_out
from message_batches.contract import NextAction
from message_batches.results import reader
from message_batches.results.failed import FailedRequests, failed_requests, requests_of
from message_batches.results.reader import Publication, ResultsNotFound
from message_batches.results.replies import read_reply
from message_batches.runs.control import find_results, find_stored_results
from message_batches.runs.describe import RunNotFound


@dataclass(frozen=True)
class ResultsOptions:
    """The part of the results to get, and where to write it.

    Attributes:
        output: a file; standard output without it.
        text: custom_id and text, instead of the lines as they are.
        failed: the original requests worth sending again, instead of results.
        force: overwrite an existing file.
    """

    output: Path | None = None
    text: bool = False
    failed: bool = False
    force: bool = False


async def status(context: CommandContext, identity: str) -> CommandResult:
    """Show the status of a run; where Temporal no longer knows it, the results that the store has."""
    runs = await context.runs()
    try:
        view = await runs.describe(identity)
    except RunNotFound as error:
        return await _forgotten(context, identity, error)
    if not view.running:
        return await end_result(context, view)
    return CommandResult(RunDocument.of(view), tables.run_rows(view, datetime.now(UTC)))


async def watch(context: CommandContext, identity: str, *, strict: bool) -> CommandResult:
    """Follow a run to its end."""
    runs = await context.runs()
    try:
        view = await runs.describe(identity)
    except RunNotFound as error:
        return await _forgotten(context, identity, error, strict=strict)
    if not view.running:
        return await end_result(context, view, strict=strict)
    return await follow_run(context, runs, view.workflow_id, strict=strict)


async def _forgotten(
    context: CommandContext, identity: str, error: RunNotFound, *, strict: bool = False
) -> CommandResult:
    """Report the results that the store has of a run; raise the error if there are none."""
    found = await find_stored_results(context.store, identity)
    if found is None:
        raise error
    context.say(f"{error}. Its results are in the store", style="yellow")
    return await stored_result(context, identity, found.landed, strict=strict)


async def results(context: CommandContext, identity: str, options: ResultsOptions) -> CommandResult:
    """Get the results of a run or a batch, or its requests worth sending again."""
    publication = await find_results(context.store, identity, context.runs)
    if options.failed:
        return await _failed(context, publication, options)
    landed = publication.landed
    lines = reader.results_in(context.store, landed.results_file)
    if options.output:
        await save(options.output, _texts(lines) if options.text else lines, force=options.force)
        count = landed.results_file.lines
        shown = f"{count:,} results of {landed.batch_id} are in {options.output}"
        return CommandResult(SavedResults(batch_id=landed.batch_id, file=str(options.output), lines=count), shown)
    if context.json:
        return CommandResult(landed)
    await _read_whole(reader.results_in(context.store, landed.results_file))
    await write_out(_texts(lines) if options.text else lines)
    return CommandResult(None)


async def _read_whole(pieces: AsyncIterator[bytes]) -> None:
    """Read all before the first line is written: a terminal, or another program, does not give one back."""
    async for _ in pieces:
        pass


async def _failed(context: CommandContext, publication: Publication, options: ResultsOptions) -> CommandResult:
    """Get the original requests without a reply, byte for byte from the manifest, those to be corrected apart."""
    landed, manifest, sha256 = publication.landed, publication.manifest_name, publication.manifest_sha256
    if manifest is None or sha256 is None:
        raise ResultsNotFound(
            f"The requests of {landed.batch_id} are not known here: it was taken over without them, or their record is "
            "gone",
            NextAction.ATTACH_WITH_REQUESTS,
            batch_id=landed.batch_id,
        )
    store, uri = context.store, context.store.uri(manifest)

    def requests() -> AsyncIterator[bytes]:
        return reader.unchanged(store, uri, sha256)

    failed = await failed_requests(reader.lines(reader.results_in(store, landed.results_file)))
    if options.output is None:
        if context.json:
            return CommandResult(FailedRequestsDocument.of(landed.batch_id, failed, {}))
        await _read_whole(requests())
        await write_out(requests_of(reader.lines(requests()), failed.retryable))
        context.say(_failed_text(failed, {}))
        return CommandResult(None)
    files = {"again": options.output, "invalid": options.output.with_suffix(f".invalid{options.output.suffix}")}
    ids = {"again": failed.retryable, "invalid": failed.invalid}
    written = {kind: file for kind, file in files.items() if ids[kind]}
    for file in written.values():
        refuse_existing(file, force=options.force)
    for kind, file in written.items():
        lines = requests_of(reader.lines(requests()), ids[kind])
        await save(file, lines, force=options.force)
    document = FailedRequestsDocument.of(landed.batch_id, failed, written)
    return CommandResult(document, _failed_text(failed, written))


def _failed_text(failed: FailedRequests, written: Mapping[str, Path]) -> str:
    if not failed.retryable and not failed.invalid:
        return "Every request succeeded: there is nothing to send again"
    where = {kind: f", in {file}" for kind, file in written.items()}
    start = f": {next_steps.called()} start {written['again']}" if "again" in written else ""
    return (
        f"{len(failed.retryable):,} worth sending again as they are{where.get('again', '')}{start}\n"
        f"{len(failed.invalid):,} to be corrected first{where.get('invalid', '')}"
    )


async def _texts(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield each result as its custom_id and its text."""
    async for line in reader.lines(pieces):
        if line.strip():
            reply = read_reply(line)
            outcome = "" if reply.outcome == "succeeded" else f" [{reply.outcome}]"
            yield f"{reply.custom_id}{outcome}\n{reply.text}\n\n".encode()
