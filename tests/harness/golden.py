"""The output of each command, a file for each; `RENEW_GOLDEN=1` writes them anew, for a reader of their diff."""

import difflib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.harness.project import ROOT

_FOLDER = ROOT / "tests" / "golden"

_KINDS = [
    (r"[^\s`]*python\S* \S*starter\.py", "<starter.py>"),
    (r"message-batches-demo-\w+", "message-batches-demo-<random>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(\+00:00|Z| UTC)?", "<time>"),
    (r"msgbatch_\w+", "<batch id>"),
    (r"\bbatch-[0-9a-f]{24}\b", "<workflow id>"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>"),
    (r"\b[0-9a-f]{64}\b", "<sha256>"),
    (r"\breq_\w+", "<request id>"),
    (r"\bmsg_\w+", "<message id>"),
    (r'On "Say hello to .*', "<reply>"),
    (r"\b(127\.0\.0\.1|localhost):\d+", "<address>"),
    (r"\b\d+:\d\d(:\d\d)?\b", "<duration>"),
]
_COUNTS = {"polls", "attempt", "runs", "bytes", "input", "output", "input_tokens", "output_tokens"}
"""Numbers that differ from run to run."""


def assert_golden(command: str, scenes: Mapping[str, Any], folder: Path) -> None:
    """Compare what a command printed in each scene with what stands in its file.

    Args:
        command: which names the file.
        scenes: a JSON document for each.
        folder: the test's own, which no file shall name.
    """
    file = _FOLDER / f"{command}.json"
    found = json.dumps(_by_kind(scenes, folder), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("RENEW_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(found, encoding="utf-8")
    expected = file.read_text(encoding="utf-8") if file.exists() else ""
    diff = difflib.unified_diff(expected.splitlines(), found.splitlines(), f"golden/{file.name}", "found", lineterm="")
    assert found == expected, "\n" + "\n".join([*diff, "If that is meant: RENEW_GOLDEN=1 writes the file anew"])


def _by_kind(value: Any, folder: Path) -> Any:
    """The same, with what differs from run to run replaced by its kind."""
    if isinstance(value, Mapping):
        return {
            _text(key, folder): "<count>" if key in _COUNTS and type(each) is int else _by_kind(each, folder)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_by_kind(each, folder) for each in value]
    return _text(value, folder) if isinstance(value, str) else value


def _text(text: str, folder: Path) -> str:
    text = text.replace(str(folder), "<folder>")
    for pattern, kind in _KINDS:
        text = re.sub(pattern, kind, text)
    return text
