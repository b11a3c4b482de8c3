"""A search for a key in all files of a round, in plain text and in its encodings."""

import base64
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote


def spellings(key: str) -> dict[str, bytes]:
    """Return the encodings of a key to search for; base64 at each offset that the key may have in the encoded text."""
    secret = key.encode()
    found = {"plain": secret, "URL-encoded": quote(key, safe="").encode()}
    for name, encode in (("base64", base64.b64encode), ("base64 for URLs", base64.urlsafe_b64encode)):
        for before, first in enumerate((0, 2, 3)):
            # A letter at either end also depends on the text next to the key.
            letters = encode(bytes(before) + secret)
            found[f"{name}, {before} bytes in"] = letters[first : (before + len(secret)) * 8 // 6]
    return found


def leaks(folder: Path, key: str) -> Iterator[str]:
    """Return the places of the key in the files under a folder."""
    forms = spellings(key)
    for name, content in _contents(folder):
        for form, text in forms.items():
            if text in content:
                yield f"{name}: {form}"


def readable(folder: Path, prompts: Iterable[str]) -> Iterator[str]:
    """Return the places of prompts in what Temporal has stored, where payloads are encrypted."""
    for name, content in _contents(folder):
        if name.startswith("temporal.db") or name.endswith(".history"):
            yield from (f"{name}: the prompt {prompt!r}" for prompt in prompts if prompt.encode() in content)


def in_database(path: Path) -> Iterator[tuple[str, bytes]]:
    """Return every table of a SQLite file as text: in the file itself a long value is split."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            values = (value for row in database.execute(f'SELECT * FROM "{table}"') for value in row)
            yield f"table {table}", b"\0".join(v if isinstance(v, bytes) else str(v).encode() for v in values)


def _contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        yield name, path.read_bytes()
        if path.suffix == ".db":
            yield from ((f"{name}, {table}", content) for table, content in in_database(path))
