from pathlib import Path

import pytest

from message_batches.storage.object_store import ObjectStore, open_store


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """Open a store in a folder of the test's own."""
    return open_store((tmp_path / "store").as_uri())
