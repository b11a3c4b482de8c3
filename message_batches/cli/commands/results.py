"""The command `results`: the results as they are, as texts or as a table, what to send again, answers and schemas."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from message_batches.cli import next_steps, tables
from message_batches.cli.context import DONE, FAILED, CommandContext, CommandResult
from message_batches.cli.joined_file import JoinedFile
from message_batches.cli.json_output import FailedRequestsDocument, SavedResults
from message_batches.cli.options import FailedKind
from message_batches.cli.result_export import FileNotWritten, refuse_existing, save, write_out
from message_batches.formatting import format_money, plural
from message_batches.library.sources import Source
from message_batches.results import reader
from message_batches.results.failed import MAX_TOKENS, FailedRequests, Wanted, failed_requests, requests_of
from message_batches.results.replies import read_reply
from message_batches.results.structured_output import SchemaCheck, Verdict
from message_batches.results.tables import Table, csv_of, parquet_of
from message_batches.serialization import ContractModel

STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True)
class TableOptions:
    """The table to write.

    Attributes:
        file: where to write it; `-` for standard output.
        parquet: instead of CSV.
        bom: before the CSV, by which some programs know UTF-8.
        join: a CSV file whose columns come before those of the results.
        on: the column of it that has the custom_ids.
    """

    file: Path
    parquet: bool = False
    bom: bool = False
    join: Path | None = None
    on: str = "custom_id"


@dataclass(frozen=True)
class ResultsOptions:
    """The part of the results to get, and where to write it.

    Attributes:
        output: a file; standard output without it, and for `-`.
        text: custom_id and text, instead of the lines as they are.
        failed: the original requests to send again, instead of results.
        max_tokens: raises the limit of those that were cut off at a lower one.
        check_schema: the comparison of the answers with their schemas, instead of results.
        strict: makes the exit code of that 1 unless every answer is there and matches.
        table: a table, instead of the lines as they are.
        force: overwrite an existing file.
        partial: merge what has landed of a job so far.
    """

    output: Path | None = None
    text: bool = False
    failed: FailedKind | None = None
    max_tokens: int | None = None
    check_schema: bool = False
    strict: bool = False
    table: TableOptions | None = None
    force: bool = False
    partial: bool = False


class SavedTable(ContractModel):
    """A table that was written to a file.

    Attributes:
        cost: of all rows, in USD; null if none has a price.
        join: the rows that have one in the joined file, those that have none, and rows of it that no request has.
    """

    batch_id: str | None
    job: str | None = None
    file: str
    rows: int
    cost: Decimal | None
    unpriced_rows: int
    join: dict[str, int] | None


async def results(context: CommandContext, identity: str, options: ResultsOptions) -> CommandResult:
    """Get the results of a run, a batch or a job, a table of them, what to send again, or a check of the answers."""
    if options.output == STANDARD_OUTPUT:
        options = replace(options, output=None)
    source = await context.runs.get(identity).source(partial=options.partial)
    if options.failed:
        return await _failed(context, source, options)
    if options.check_schema:
        return await _check_schema(source, identity, strict=options.strict)
    if options.table:
        return await _table(context, source, options.table, force=options.force)
    if options.output:
        pieces = source.pieces()
        await save(options.output, _texts(pieces) if options.text else pieces, force=options.force)
        _say_missing(context, source)
        shown = f"{source.count:,} results of {source.name} are in {options.output}"
        return CommandResult(SavedResults(**source.ids, file=str(options.output), lines=source.count), shown)
    if context.json and not options.partial:
        return CommandResult(source.document)
    await _read_whole(source.pieces())
    _say_missing(context, source)
    await write_out(_texts(source.pieces()) if options.text else source.pieces())
    return CommandResult(None)


def _say_missing(context: CommandContext, source: Source) -> None:
    if source.missing:
        context.say(
            f"{plural(source.missing, 'request')} of {source.name} without a result. To see why: "
            f"{next_steps.status(source.name)}",
            style="yellow",
        )


async def _read_whole(pieces: AsyncIterator[bytes]) -> None:
    """Read all before the first line is written: a terminal, or another program, does not give one back."""
    async for _ in pieces:
        pass


async def _failed(context: CommandContext, source: Source, options: ResultsOptions) -> CommandResult:
    """Get the original requests to send again, those to be corrected apart."""
    wanted = Wanted(
        errors=options.failed in (FailedKind.ERRORS, FailedKind.ALL),
        unusable=options.failed in (FailedKind.UNUSABLE, FailedKind.ALL),
        invalid=options.failed in (FailedKind.INVALID, FailedKind.ALL),
        max_tokens=options.max_tokens,
    )
    failed = await failed_requests(source.pairs(), wanted)

    def lines(ids: set[str]) -> AsyncIterator[bytes]:
        return requests_of(source.requests(), ids, failed.raised, wanted.max_tokens)

    if options.output is None:
        if context.json:
            return CommandResult(FailedRequestsDocument.of(source.ids, failed, {}))
        await _read_whole(source.requests())
        await write_out(lines(failed.retryable))
        context.say(_failed_text(failed, {}))
        return CommandResult(None)
    files = {"again": options.output, "invalid": options.output.with_suffix(f".invalid{options.output.suffix}")}
    ids = {"again": failed.retryable, "invalid": failed.invalid}
    written = {kind: file for kind, file in files.items() if ids[kind]}
    for file in written.values():
        refuse_existing(file, force=options.force)
    for kind, file in written.items():
        await save(file, lines(ids[kind]), force=options.force)
    return CommandResult(FailedRequestsDocument.of(source.ids, failed, written), _failed_text(failed, written))


_HINTS = {
    "model_context_window_exceeded": "cut off by the model's context window: shorten the prompt",
    "refusal": "refused: the same prompt is refused again",
    "pause_turn": "paused: add the reply's content to the messages, and the turn goes on",
}


def _failed_text(failed: FailedRequests, written: Mapping[str, Path]) -> str:
    wanted = failed.wanted
    if not failed.retryable and not failed.invalid and not failed.not_compared:
        return f"{_all_is_well(wanted)}: there is nothing to send again"
    where = {kind: f", in {file}" for kind, file in written.items()}
    start = f": {next_steps.called()} start {written['again']}" if "again" in written else ""
    raised = (
        f", {len(failed.raised):,} of them with max_tokens raised to {wanted.max_tokens:,}" if failed.raised else ""
    )
    lines = [f"{len(failed.retryable):,} worth sending again{raised or ' as they are'}{where.get('again', '')}{start}"]
    if failed.mismatched:
        lines.append(f"  {failed.mismatched:,} with an answer that does not match its schema")
    if failed.not_compared:
        lines.append(f"  {failed.not_compared:,} more with an answer that cannot be compared: --check-schema says why")
    lines.append(f"{len(failed.invalid):,} to be corrected first{where.get('invalid', '')}")
    for reason, count in failed.reasons.most_common():
        if reason != MAX_TOKENS:
            hint = _HINTS[reason]
        elif wanted.max_tokens is None:
            hint = f"cut off at max_tokens: {next_steps.raise_limit(failed.longest_cut)} raises it in the file"
        else:
            hint = f"cut off at a max_tokens of {wanted.max_tokens:,} or more, which is left as it is"
        lines.append(f"  {count:,} {hint}")
    return "\n".join(lines)


def _all_is_well(wanted: Wanted) -> str:
    if wanted.errors:
        return "Every request has a usable reply" if wanted.unusable else "Every request succeeded"
    return "Every reply is whole" if wanted.unusable else "Every answer matches its schema, where one was given"


async def _check_schema(source: Source, identity: str, *, strict: bool) -> CommandResult:
    """Compare each answer with the schema that its request gave."""
    check = SchemaCheck()
    async for pair in source.pairs():
        if check.add(*pair) is not Verdict.NOT_ASKED:
            await asyncio.sleep(0)  # A comparison may take seconds: Ctrl-C is heard in between.
    report = check.report(**source.ids)
    code = FAILED if strict and report.valid < report.asked else DONE
    return CommandResult(report, tables.schema_report(report, next_steps.results(identity)), code)


async def _table(context: CommandContext, source: Source, options: TableOptions, *, force: bool) -> CommandResult:
    """Write the results as a table."""
    file = options.file
    to_file = file != STANDARD_OUTPUT
    if to_file:
        refuse_existing(file, force=force)
        if options.join and file.exists() and options.join.exists() and file.samefile(options.join):
            raise FileNotWritten(f"{file} is the file that is joined: name another one, or it would be lost")
    with closing(JoinedFile(options.join, options.on)) if options.join else nullcontext() as joined:
        table = Table(context.settings.prices, joined)
        lines = reader.lines(source.pieces())
        pieces = parquet_of(table, lines) if options.parquet else csv_of(table, lines, bom=options.bom)
        if to_file:
            await save(file, pieces, force=force)
        else:
            await _read_whole(source.pieces())
            if not await write_out(pieces):
                return CommandResult(None)  # Its reader had enough: what is known is of a part.
    document = SavedTable(
        **source.ids,
        file=str(file),
        rows=table.rows,
        cost=table.cost,
        unpriced_rows=table.unpriced,
        join=_joined(table, joined) if joined else None,
    )
    text = _table_text(document, source.name, options.join)
    _say_missing(context, source)
    before = source.cost.amount if source.cost else None
    if before is not None and abs(before - (table.cost or 0)) >= Decimal("0.01"):
        context.say(f"By the prices when they landed they cost {format_money(before)}", style="yellow")
    if to_file:
        return CommandResult(document, text)
    context.say(text)
    return CommandResult(None)


def _joined(table: Table, joined: JoinedFile) -> dict[str, int]:
    matched = table.matched
    return {"matched": matched, "withoutRow": table.rows - matched, "unused": joined.rows - matched}


def _table_text(saved: SavedTable, name: str, join: Path | None) -> str:
    unpriced = f", without {plural(saved.unpriced_rows, 'row')} that have no price" if saved.unpriced_rows else ""
    cost = f"; cost {format_money(saved.cost)}{unpriced}" if saved.cost is not None else ""
    where = "written" if saved.file == str(STANDARD_OUTPUT) else f"in {saved.file}"
    lines = [f"{plural(saved.rows, 'row')} of {name} {'is' if saved.rows == 1 else 'are'} {where}{cost}"]
    if saved.join:
        matched, without, unused = saved.join.values()
        joined = f"{plural(matched, 'row')} joined, {without:,} without one, {unused:,} of its rows without a request"
        lines.append(f"{join}: {joined}")
    return "\n".join(lines)


async def _texts(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield each result as its custom_id and its text."""
    async for line in reader.lines(pieces):
        if line.strip():
            reply = read_reply(line)
            outcome = "" if reply.outcome == "succeeded" else f" [{reply.outcome}]"
            yield f"{reply.custom_id}{outcome}\n{reply.text}\n\n".encode()
