"""The record of a first read: one for the chain of a run, and none where the requests cannot change."""

from pathlib import Path

import pytest

from message_batches.errors import StoreUnavailable
from message_batches.requests.first_read import FirstRead
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.storage.paths import first_read_path

RUN, OTHER_RUN = "0199a1b2-c3d4-7000-8000-000000000001", "0199a1b2-c3d4-7000-8000-000000000002"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "store").as_uri())


async def test_what_was_read_first_holds_for_the_chain_and_for_no_other_run(store: ObjectStore) -> None:
    file = store.uri("incoming/daily.jsonl")
    one, two = (store.uri(f"manifests/{digit * 64}.jsonl") for digit in "12")
    first = FirstRead(store, "run-1", RUN)

    assert await first.address(file) == file
    assert await first.record(file, one) == one
    assert await FirstRead(store, "run-1", RUN).record(file, two) == one
    assert await FirstRead(store, "run-1", RUN).address(file) == one
    for workflow_id, first_run_id in (("run-1", OTHER_RUN), ("run-2", RUN), ("run-1", None), (None, RUN)):
        assert await FirstRead(store, workflow_id, first_run_id).address(file) == file


@pytest.mark.parametrize("name", [f"manifests/{'1' * 64}.jsonl", f"jobs/job-1-{'1' * 16}/0.plan"])
async def test_requests_that_cannot_change_are_not_recorded(store: ObjectStore, name: str) -> None:
    uri = store.uri(name)

    assert await FirstRead(store, "run-1", RUN).record(uri, uri) == uri

    assert await FirstRead(store, "run-1", RUN).found() is None
    assert await store.names("manifests/") == []


@pytest.mark.parametrize("content", [b"", b"{}", b'{"requests":"../x"}'])
async def test_a_damaged_record_is_named(store: ObjectStore, content: bytes) -> None:
    path = first_read_path("run-1", RUN)
    await store.create(path, content)

    with pytest.raises(StoreUnavailable, match=f"{path} is damaged"):
        await FirstRead(store, "run-1", RUN).address(store.uri("incoming/daily.jsonl"))
