"""Results of a version that did not tell accounts apart, which cannot be checked again."""

from pathlib import Path

import pytest

from message_batches.api.models import RequestCounts
from message_batches.contract import NextAction
from message_batches.models import BatchOutput
from message_batches.requests.manifest import write_inline_manifest
from message_batches.result_models import ResultsFile, Summary
from message_batches.runs.comparison import landed_results
from message_batches.runs.control import Refused
from message_batches.runs.deduplication import has_results
from message_batches.storage.object_store import ObjectStore, open_store

LINE = b'{"custom_id":"r-0","result":{"type":"expired"}}\n'
NAME = "results/msgbatch_1/00000000-0000-4000-8000-000000000000.jsonl"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "store").as_uri())


def output(store: ObjectStore) -> BatchOutput:
    """Return what a run of 0.2.0 has said of its results."""
    return BatchOutput(
        batch_id="msgbatch_1",
        request_counts=RequestCounts(expired=1),
        results_url=None,
        results=None,
        results_file=ResultsFile(uri=store.uri(NAME), bytes=len(LINE), lines=1, sha256="0" * 64),
        verified=False,
        summary=Summary(),
    )


async def test_results_without_an_account_are_those_of_their_run_and_are_not_compared(store: ObjectStore) -> None:
    await store.create(NAME, LINE)
    manifest = await write_inline_manifest(store, [{"custom_id": "r-0", "params": {}}])
    landed = output(store)

    assert await has_results(store, landed)
    assert await landed_results(store, landed, None, api_key="default") == landed
    with pytest.raises(Refused) as caught:
        await landed_results(store, landed, manifest, api_key="default")
    assert (caught.value.action, caught.value.batch_id) == (NextAction.LAND_AGAIN, "msgbatch_1")
    assert store.uri(NAME) in str(caught.value)
    assert await store.names("results/") == [NAME]

    await store.remove(NAME)
    assert not await has_results(store, landed), "the batch is landed again"
