"""Copies of our document with changes that a user might make."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from message_batches.arazzo.loader import load_document
from message_batches.arazzo.plan import RunPlan, plan_of
from message_batches.arazzo.yaml_source import DocumentError
from tests.harness.project import DOCUMENT

Parsed = dict[str, Any]
Edit = Callable[[Parsed], object]
Refusals = dict[str, tuple[Edit, str, str]]
"""By name: the edit, the pointer that the error names, words of its message."""

W = "#/workflows/0"
SUBMIT, POLL, RETRIEVE = (f"{W}/steps/{index}" for index in range(3))


def edited(folder: Path, edit: Edit, original: Path = DOCUMENT) -> Path:
    """Write a file with the document after `edit` has changed its data in place, beside what it refers to."""
    data = yaml.safe_load(original.read_text())
    edit(data)
    if not (folder / "openapi").exists():
        (folder / "openapi").symlink_to(DOCUMENT.parent / "openapi")
    file = folder / "edited.yml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return file


def workflow(document: Parsed) -> Parsed:
    found: Parsed = document["workflows"][0]
    return found


def step(document: Parsed, index: int) -> Parsed:
    found: Parsed = workflow(document)["steps"][index]
    return found


def retry(document: Parsed, index: int = 0) -> Parsed:
    """Return the retry while processing, or the one after transient errors."""
    found: Parsed = step(document, 1)["onFailure"][index]
    return found


def put(*path: str | int, to: object) -> Edit:
    """Set the value at `path` below the workflow."""

    def edit(document: Parsed) -> None:
        here: Any = workflow(document)
        for part in path[:-1]:
            here = here[part]
        here[path[-1]] = to

    return edit


def cut(*path: str | int) -> Edit:
    """Delete the value at `path` below the workflow."""

    def edit(document: Parsed) -> None:
        here: Any = workflow(document)
        for part in path[:-1]:
            here = here[part]
        del here[path[-1]]

    return edit


def action(kind: str, **fields: object) -> list[Parsed]:
    return [{"name": "mine", "type": kind, **fields}]


def condition(text: str, **fields: object) -> list[Parsed]:
    return [{"condition": text, **fields}]


def each(refusals: Refusals) -> pytest.MarkDecorator:
    """Run a test for each refusal."""
    return pytest.mark.parametrize(("edit", "pointer", "words"), refusals.values(), ids=refusals.keys())


def assert_refused(file: Path, pointer: str, words: str) -> None:
    """Assert that the file is refused in one line that names file, line, pointer and error."""
    with pytest.raises(DocumentError) as caught:
        plan_of(load_document(file))
    error = caught.value
    assert error.pointer == pointer
    assert words in error.message
    assert error.place.startswith(str(file))
    assert str(error) == ": ".join(part for part in (error.place, pointer.removesuffix("#"), error.message) if part)
    assert "\n" not in str(error)
    assert "sk-ant-secret" not in str(error)


def plan_after(folder: Path, edit: Edit) -> RunPlan:
    return plan_of(load_document(edited(folder, edit)))
