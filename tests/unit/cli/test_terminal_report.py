"""The report at a terminal: names of any length leave room for the figures beside them."""

import io
from pathlib import Path

import pytest

from message_batches.cli.report import report
from message_batches.cli.screen import screen
from message_batches.storage.object_store import open_store
from tests.harness.landed import error, put_results, reply


@pytest.mark.parametrize("name", ["x" * 500, "\u202e" * 200, "long words " * 60])
async def test_a_long_name_leaves_the_figures_whole(tmp_path: Path, name: str) -> None:
    lines = [
        reply("a", usage={"input_tokens": 1_234_567, "cache_read_input_tokens": 7_654_321}),
        reply("b", model=name, stop_reason=name),
        *(error(f"e{number}", name, "why this is") for number in range(4321)),
    ]
    publication = await put_results(open_store((tmp_path / "store").as_uri()), lines)
    console = screen()
    console.file, console.width = io.StringIO(), 80

    console.print(report(publication.landed, [], command="results ID"), crop=False)

    shown = console.file.getvalue().splitlines()
    models, errors = (next(n for n, line in enumerate(shown) if line.startswith(head)) for head in ("tokens", "errors"))
    assert any("1,234,567" in line and "7,654,321" in line for line in shown[models:])
    assert any("4,321" in line and "why" in line for line in shown[errors : errors + 2])
