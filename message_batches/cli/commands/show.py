"""The commands that look: `status`, `watch`, `list`, `results`; none of them needs a worker."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from message_batches.cli import tables
from message_batches.cli.commands.start import end_of, wait_for
from message_batches.cli.context import DONE, FAILED, Answer, Desk
from message_batches.cli.json_output import listed_document, view_document
from message_batches.cli.report import read_reply
from message_batches.cli.result_export import Selection, refuse_existing, requests_of, save, select, write_out
from message_batches.cli.screen import called
from message_batches.results import reader
from message_batches.results.reader import Publication, ResultsNotFound
from message_batches.runs.control import is_batch_id
from message_batches.runs.describe import RunNotFound, RunView
from message_batches.runs.list import newest
from message_batches.temporal.connection import TemporalUnreachable


@dataclass(frozen=True)
class Wanted:
    """What is wanted of results.

    Attributes:
        output: where to; standard output without it.
        text: custom_id and text, instead of the lines as they are.
        failed: the original requests worth sending again, instead of results.
        force: write over a file that is there.
    """

    output: Path | None = None
    text: bool = False
    failed: bool = False
    force: bool = False


async def status(desk: Desk, identity: str) -> Answer:
    """Where a run stands."""
    runs = await desk.runs()
    view = await runs.look(identity)
    if view.output:
        return await end_of(desk, view)
    return Answer(view_document(view), tables.run_rows(view, datetime.now(UTC)), DONE if view.running else FAILED)


async def watch(desk: Desk, identity: str, *, strict: bool) -> Answer:
    """Follow a run to its end."""
    runs = await desk.runs()
    view = await runs.look(identity)
    if not view.running:
        return await end_of(desk, view, strict=strict)
    return await wait_for(desk, runs, view.workflow_id, strict=strict)


async def list_runs(desk: Desk, limit: int, statuses: Sequence[str]) -> Answer:
    """The newest runs; those of these statuses, if any are named."""
    found = await newest(await desk.client(), desk.store, limit, statuses)
    none = f"No run is {' or '.join(statuses)}" if statuses else "No runs yet: `starter.py start FILE` starts one"
    shown = tables.listed(found) if found else none
    return Answer(listed_document(found), shown)


async def find(desk: Desk, identity: str) -> Publication:
    """The landed results of a run or a batch; `ResultsNotFound` says where it stands if there are none."""
    if is_batch_id(identity) and (found := await reader.of_batch(desk.store, identity)):
        return found[0]
    try:
        runs = await desk.runs()
        view = await runs.look(identity, patience=timedelta())
    except (RunNotFound, TemporalUnreachable):
        # History is kept for days, the store's records for as long as the store.
        if not is_batch_id(identity) and (past := await reader.of_past_run(desk.store, identity)):
            return past
        raise
    if view.output:
        return await reader.of_output(desk.store, view.output)
    if view.batch_id and (found := await reader.of_batch(desk.store, view.batch_id)):
        return found[0]
    raise ResultsNotFound(_without_results(view))


async def results(desk: Desk, identity: str, wanted: Wanted) -> Answer:
    """The results of a run or a batch, or its requests worth sending again."""
    publication = await find(desk, identity)
    if wanted.failed:
        return await _failed(desk, publication, wanted)
    landed = publication.landed
    lines = reader.chunks(desk.store, landed.results_file.uri)
    if wanted.output:
        await save(wanted.output, _texts(lines) if wanted.text else lines, force=wanted.force)
        said = f"{landed.results_file.lines:,} results of {landed.batch_id} are in {wanted.output}"
        document = {"batchId": landed.batch_id, "file": str(wanted.output), "lines": landed.results_file.lines}
        return Answer(document, said)
    if desk.json:
        return Answer(landed.model_dump(mode="json"))
    await write_out(_texts(lines) if wanted.text else lines)
    return Answer(None)


async def _failed(desk: Desk, publication: Publication, wanted: Wanted) -> Answer:
    """The original requests that got no reply, byte for byte from the manifest, and those to be corrected apart."""
    landed, manifest = publication.landed, publication.manifest_name
    if manifest is None:
        raise ResultsNotFound(
            f"{landed.batch_id} was taken over without its requests, which are needed here: "
            f"`starter.py attach {landed.batch_id} --requests FILE` brings them"
        )
    uri = desk.store.uri(manifest)
    selection = await select(reader.lines(reader.chunks(desk.store, landed.results_file.uri)))
    again = requests_of(reader.lines(reader.chunks(desk.store, uri)), selection.again)
    if wanted.output is None:
        if desk.json:
            return Answer(_selection_document(landed.batch_id, selection, {}))
        await write_out(again)
        desk.say(_selection_words(selection, {}))
        return Answer(None)
    files = {"again": wanted.output, "invalid": wanted.output.with_suffix(f".invalid{wanted.output.suffix}")}
    ids = {"again": selection.again, "invalid": selection.invalid}
    written = {kind: file for kind, file in files.items() if ids[kind]}
    for file in written.values():
        refuse_existing(file, force=wanted.force)
    for kind, file in written.items():
        lines = requests_of(reader.lines(reader.chunks(desk.store, uri)), ids[kind])
        await save(file, lines, force=wanted.force)
    return Answer(_selection_document(landed.batch_id, selection, written), _selection_words(selection, written))


def _selection_words(selection: Selection, written: dict[str, Path]) -> str:
    if not selection.again and not selection.invalid:
        return "Every request succeeded: there is nothing to send again"
    where = {kind: f", in {file}" for kind, file in written.items()}
    start = f": {called()} start {written['again']}" if "again" in written else ""
    return (
        f"{len(selection.again):,} worth sending again as they are{where.get('again', '')}{start}\n"
        f"{len(selection.invalid):,} to be corrected first{where.get('invalid', '')}"
    )


def _selection_document(batch_id: str, selection: Selection, written: dict[str, Path]) -> dict[str, Any]:
    return {
        "batchId": batch_id,
        "again": len(selection.again),
        "invalid": len(selection.invalid),
        "files": {kind: str(file) for kind, file in written.items()},
    }


async def _texts(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Each result as its custom_id and its text."""
    async for line in reader.lines(pieces):
        if line.strip():
            reply = read_reply(line)
            outcome = "" if reply.outcome == "succeeded" else f" [{reply.outcome}]"
            yield f"{reply.custom_id}{outcome}\n{reply.text}\n\n".encode()


def _without_results(view: RunView) -> str:
    if view.running:
        return f"{view.workflow_id} has no results yet, it is running: `starter.py watch {view.workflow_id}`"
    why = f" ({view.failure.message})" if view.failure else ""
    return f"{view.workflow_id} has no results, it {view.status}{why}"
