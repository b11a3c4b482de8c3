"""A directory as a store, where obstore looks away: what broken-off uploads left, and folders that became empty."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from message_batches.ports import Stored

PAGE = 1000


def walk(root: Path) -> Iterator[list[Stored]]:
    """Every file under a directory, a page at a time; links are followed, as obstore does."""
    page: list[Stored] = []
    for folder, _, files in os.walk(root, onerror=_raise, followlinks=True):
        for name in files:
            path = Path(folder, name)
            try:
                seen = path.stat()
            except FileNotFoundError:
                continue  # A link that leads nowhere, or gone by now.
            modified = datetime.fromtimestamp(seen.st_mtime, UTC)
            page.append(Stored(path.relative_to(root).as_posix(), seen.st_size, modified))
            if len(page) == PAGE:
                yield page
                page = []
    yield page


def unlink(root: Path, name: str) -> None:
    """Remove a file, if it is there, and the folders that are empty without it.

    An upload that begins meanwhile makes its folder again.
    """
    path = root / name
    path.unlink(missing_ok=True)
    for folder in path.relative_to(root).parents[:-1]:
        try:
            (root / folder).rmdir()
        except OSError:
            return


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
