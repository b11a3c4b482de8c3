"""A key is found in any place and any encoding."""

import base64
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.exhaustive.chaos.leaks import leaks

KEY = "sk-ant-chaos/0123456789abcdef+01="


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        quote(KEY, safe=""),
        *(base64.b64encode(f"{'x' * before}{KEY} and more".encode()).decode() for before in range(6)),
        base64.urlsafe_b64encode(f"x-api-key: {KEY}".encode()).decode(),
    ],
)
def test_a_key_is_found_in_any_encoding(tmp_path: Path, written: str) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "results.jsonl").write_text(f'{{"said": "{written}"}}\n' * 3)
    (tmp_path / "other.log").write_text("nothing here")

    found = list(leaks(tmp_path, KEY))

    assert found
    assert all(leak.startswith("store/results.jsonl: ") for leak in found)


def test_a_key_is_found_in_a_value_that_a_database_splits(tmp_path: Path) -> None:
    file = tmp_path / "temporal.db"
    for behind in range(3000, 9000, 10):
        file.unlink(missing_ok=True)
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("PRAGMA synchronous = OFF")
            database.execute("CREATE TABLE history (data BLOB)")
            database.execute("INSERT INTO history VALUES (?)", [bytes(9000) + KEY.encode() + bytes(behind)])
        if KEY.encode() not in file.read_bytes():
            break

    assert KEY.encode() not in file.read_bytes()
    assert list(leaks(tmp_path, KEY)) == ["temporal.db, table history: plain"]
