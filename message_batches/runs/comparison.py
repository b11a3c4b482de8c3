"""The requests of a file, compared with those of a run that there is: a file that is given is never left unread."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from temporalio.client import Client

from message_batches.contract import NextAction
from message_batches.errors import RequestsNotFound, ResultsIncomplete
from message_batches.formatting import plural
from message_batches.models import BatchOutput, Manifest
from message_batches.prices import PriceList
from message_batches.requests.manifest import content_of, content_of_items, read_ids
from message_batches.result_models import LandedResults, ResultsFile
from message_batches.results import reader
from message_batches.results.landing import land
from message_batches.results.reader import Publication
from message_batches.runs.control import Refused
from message_batches.runs.history import read_start
from message_batches.storage import paths
from message_batches.storage.interface import Store
from message_batches.storage.submission_records import SubmissionRecords

Landed = TypeVar("Landed", BatchOutput, LandedResults)
_MAX_IDS = 3
_OTHER_ORDER = "their custom_ids are the same, in another order"
_OTHER_CONTENT = "their custom_ids are the same, their content is not"


async def is_run_of(client: Client, store: Store, workflow_id: str, batch_id: str, manifest: Manifest) -> bool:
    """Return whether a run under way has these requests; False if it has none, `Refused` if it has others."""
    content: str | None
    start = await read_start(client, workflow_id)
    if start.requests is not None:
        content = _content_of_items(start.requests)
    elif start.requests_uris:
        try:
            content = await content_of(store, start.requests_uris[-1])
        except RequestsNotFound as error:
            raise Refused(f"{workflow_id} follows this batch; its requests cannot be compared: {error}") from error
    else:
        return False
    if content != manifest.content:
        raise Refused(
            f"{workflow_id} follows {batch_id} with other requests than these. Nothing was started; the results are "
            "checked against its own",
            NextAction.WATCH,
            workflow_id=workflow_id,
        )
    return True


def _content_of_items(requests: list[Any]) -> str | None:
    """Return the content of requests in an input; None for those that no batch can hold, such as NaN."""
    try:
        return content_of_items(requests)
    except (ValueError, TypeError, RecursionError):
        return None


async def is_made_of(store: Store, batch_id: str, api_key: str, manifest: Manifest) -> bool:
    """Return whether a batch is known to be made of these requests; `Refused` if it was made of others."""
    intent = await SubmissionRecords(store).intent_of(manifest, api_key=api_key, batch_id=batch_id)
    if intent is None or intent.of_same_requests(manifest):
        return intent is not None
    if not intent.content_sha256:
        return False  # Of an older version: it may be another spelling of these.
    raise Refused(
        f"{batch_id} was made of other requests than these: {await _difference(store, manifest, intent.sha256)}. "
        "Nothing was changed"
    )


async def landed_results(
    store: Store,
    output: Landed,
    manifest: Manifest | None,
    *,
    api_key: str,
    scratch: Path | None = None,
    prices: PriceList | None = None,
) -> Landed:
    """Return landed results, as they were checked against these requests; `Refused` if they differ.

    Results that landed without requests are landed again from the store, in the order of the requests: nothing is
    downloaded, and they may be gone from the provider. Without requests here, checked results go first.
    """
    published = await reader.beside(store, output)
    landed: LandedResults | None
    if manifest:
        landed = await _checked(store, output, published, manifest, api_key, scratch, prices)
    else:
        landed = published[0].landed if published and not output.verified else None
    if landed is None:
        return output
    same = LandedResults.model_fields.keys() & type(output).model_fields.keys()
    return output.model_copy(update={name: getattr(landed, name) for name in same})


async def _checked(
    store: Store,
    output: BatchOutput | LandedResults,
    published: list[Publication],
    manifest: Manifest,
    api_key: str,
    scratch: Path | None,
    prices: PriceList | None,
) -> LandedResults:
    others = ""
    for publication in published:
        sha256 = publication.manifest_sha256
        if sha256 is None or not publication.file_there:
            continue
        if sha256 == manifest.sha256:
            return publication.landed
        try:
            same = await content_of(store, store.uri(paths.requests_path(sha256))) == manifest.content
        except RequestsNotFound:
            continue  # They are purged: the results alone can be compared.
        if same:
            return publication.landed
        others = others or sha256
    made_of_these = await is_made_of(store, output.batch_id, api_key, manifest)
    account = reader.account_of(store, output)
    if others and account and not made_of_these:
        difference = await _difference(store, manifest, others)
        # Results for exactly the same custom_ids may be of either.
        undecided = (
            ". Which of them the batch was made of is not known: if it is these, remove "
            f"{store.uri(paths.publication_path(account, output.batch_id, others))} and do the same again; its results "
            "stay"
        )
        raise Refused(
            f"The results of {output.batch_id} have been checked against other requests than these: {difference}. "
            f"Nothing was changed{undecided if difference in (_OTHER_ORDER, _OTHER_CONTENT) else ''}"
        )
    if account is None:
        raise Refused(
            f"The results of {output.batch_id} were landed by an earlier version, at {output.results_file.uri}: they "
            "cannot be compared with requests. Move that file out of the store to have the batch landed again, if the "
            "API still has its results",
            NextAction.LAND_AGAIN,
            batch_id=output.batch_id,
        )
    try:
        return await land(
            store,
            _landed_lines(store, output.results_file),
            account=account,
            batch_id=output.batch_id,
            manifest=manifest,
            expected_count=output.results_file.lines,
            scratch=scratch,
            compare=True,
            prices=prices,
        )
    except ResultsIncomplete as error:
        raise Refused(f"These are not the requests of {output.batch_id}, whose results have landed. {error}") from error


async def _difference(store: Store, manifest: Manifest, other_sha256: str) -> str:
    """Return how the custom_ids of these requests differ from those of others in the store."""
    given = await read_ids(store, manifest)
    others = (await store.read(paths.ids_path(other_sha256)) or b"").decode("ascii", "replace").split()
    parts = []
    for where, only in (("only here", {*given} - {*others}), ("only there", {*others} - {*given})):
        if only:
            more = ", ..." if len(only) > _MAX_IDS else ""
            parts.append(f"{plural(len(only), 'custom_id')} {where} ({', '.join(sorted(only)[:_MAX_IDS])}{more})")
    return ", ".join(parts) or (_OTHER_CONTENT if given == others else _OTHER_ORDER)


@asynccontextmanager
async def _landed_lines(store: Store, file: ResultsFile) -> AsyncIterator[AsyncIterator[bytes]]:
    yield reader.results_in(store, file)
