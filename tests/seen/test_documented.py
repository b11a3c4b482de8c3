"""docs/observing.md says what there is: attributes, statuses, metrics, alerts, fields; and its queries work."""

import asyncio
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from message_batches.observability.logs import FIELDS
from message_batches.observability.metrics import METRICS
from message_batches.temporal.dev_server import DevServer, temporal_command
from message_batches.temporal.search_attributes import NEEDS_ATTENTION, SEARCH_ATTRIBUTES, BatchOutcome, BatchStatus
from tests.seen.test_metrics import RULES, exported

TEXT = (Path(__file__).parents[2] / "docs" / "observing.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"^\$ temporal (workflow .*)$", TEXT, re.M)


def first_cells(heading: str) -> Iterator[str]:
    """The names in the first column of the table under a heading."""
    table = TEXT.split(heading, 1)[1].split("\n\n", 1)[0]
    for row in table.splitlines():
        if row.startswith("| "):
            yield from re.findall(r"`([^`]+)`", row.split("|")[1])


def test_the_tables_list_what_there_is() -> None:
    assert list(first_cells("| attribute |")) == [key.name for key in SEARCH_ATTRIBUTES]
    assert list(first_cells("| `BatchStatus` | |")) == list(BatchStatus)
    assert list(first_cells("| metric |")) == [exported(metric) for metric in METRICS]
    assert sorted(first_cells("| alert |")) == sorted(rule["alert"] for rule in RULES)
    assert set(first_cells("| field |")) >= set(FIELDS.values())
    assert all(f"`{outcome}`" in TEXT for outcome in BatchOutcome)
    assert all(f'"{status}"' in QUERIES[0] for status in NEEDS_ATTENTION)


@pytest.mark.parametrize("query", QUERIES)
async def test_a_query_is_understood(temporal: DevServer, query: str) -> None:
    command = temporal_command()
    assert command
    process = await asyncio.create_subprocess_exec(
        command,
        *shlex.split(query),
        *("--address", temporal.address),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()

    assert process.returncode == 0, said.decode()
