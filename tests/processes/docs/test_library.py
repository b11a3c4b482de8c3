"""The snippets of docs/library.md run one after the other, as one program."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.harness.pages import page
from tests.harness.requests import fresh
from tests.processes.docs.conftest import World


async def test_the_snippets_of_the_library_are_one_program(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("TEMPORAL_ADDRESS", "MESSAGE_BATCHES_STORE"):
        monkeypatch.setenv(name, world.environment[name])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "requests.jsonl").write_text("".join(json.dumps(each) + "\n" for each in fresh()))
    snippets = page("docs/library.md").snippets()
    made: dict[str, Any] = {}
    program = textwrap.indent("\n".join(snippets), "    ")
    exec(compile(f"async def program(requests):\n{program}\n    return locals()\n", "docs/library.md", "exec"), made)
    given = fresh()

    async with world.worker():
        after = await made["program"](given)

    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in printed[:3]] == [[each["custom_id"], "succeeded"] for each in given]
    assert after["output"].summary.counts.succeeded == 3
    assert "completed True" in " ".join(printed) or "completed False" in " ".join(printed)
    assert "No request of" in printed[-1]
