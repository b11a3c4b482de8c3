"""The output of each command, as text and as JSON, a file for each; `RENEW_GOLDEN=1` writes them anew, to be reviewed.

A value that differs from run to run is replaced by its kind, such as `<time>`; so are the blanks around it in a table.
"""

import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.harness.command_line import Ended
from tests.harness.project import ROOT

Scenes = Mapping[str, Ended | Sequence[Ended]]
"""The command as it ended in each scene: with `--json`, without it, or both."""

_FOLDER = ROOT / "tests" / "golden"

_KINDS = [
    (r"[^\s`]*python\S* \S*starter\.py", "<starter.py>"),
    (r"message-batches-demo-\w+", "message-batches-demo-<random>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(\+00:00|Z| UTC)?", "<time>"),
    (r"msgbatch_\w{12,}", "<batch id>"),
    (r"\bbatch-[0-9a-f]{24}\b", "<workflow id>"),
    (r"\bjob-[0-9a-f]{24}-[0-9a-f]{16}\b", "<job id>-<hash>"),
    (r"\bjob-[0-9a-f]{24}\b", "<job id>"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>"),
    (r"\b[0-9a-f]{64}\b", "<sha256>"),
    (r"\bdefault-[0-9a-f]{12}\b", "default-<hash>"),
    (r"\breq_\w+", "<request id>"),
    (r"\bmsg_\w+", "<message id>"),
    (r'On "Say hello to .*', "<reply>"),
    (r"\b(127\.0\.0\.1|localhost):\d+", "<address>"),
    (r"\b\d+:\d\d(:\d\d)?\b", "<duration>"),
    (r"\$\d[\d,]*\.\d+", "<amount>"),
]
_DATE = re.compile(r"^\d{4}-\d\d-\d\d$")
_AMOUNT = re.compile(r"^\d+\.\d+$")
_COUNTS = {"polls", "attempt", "runs", "bytes", "input", "output", "input_tokens", "output_tokens", "inputTokens"}
_COUNTS |= {"pastRuns"}
"""Numbers that differ from run to run."""

_STATE = r"(?:<workflow id>|attach-<batch id>): .*\n"
_KINDS_IN_TEXT = [
    # Which of the states before the last one a follower sees is a matter of moments.
    (rf"(?m)^(?:{_STATE}|No worker answers just now.*\n)*({_STATE})(?!{_STATE})", r"<run>: <states on the way>\n\1"),
    (r"(?m)^(polls +)\d+", r"\1<count>"),
    (r"\battempt \d+", "attempt <count>"),
    (r"(?m)^(claude-\S+) +[\d,]+ +[\d,]+$", r"\1  <count>  <count>"),
    (r"(?m)^((?:requests|records|results|other files) +\d+) +[\d,]+", r"\1  <count>"),
    (r"[\d,]+ bytes\b", "<count> bytes"),
    (r"\bin (an earlier run|[\d,]+ earlier runs)\b", "in <count> earlier runs"),
    (r"\babout [\d,]+ tokens", "about <count> tokens"),
    (r"\b[\d,]+ runs? known", "<count> runs known"),
    (r"\b\d{4}-\d\d-\d\d\b", "<date>"),
    (r"(?m) {2,}(?=<)|(?<=>) {2,}(?=\S)", "  "),
    (r"(?m) +$", ""),
]


def assert_golden(command: str, scenes: Scenes, folder: Path) -> None:
    """Compare what a command printed in each scene with what stands in its files, one for text and one for JSON.

    Args:
        command: the command, which names the files.
        scenes: each with a name, which its headings have.
        folder: the test's own, which no file shall name.
    """
    ended = [
        (name, each) for name, given in scenes.items() for each in ([given] if isinstance(given, Ended) else given)
    ]
    documents = {
        name: {"exitCode": each.code, "document": each.json} for name, each in ended if "--json" in each.arguments
    }
    texts = [_shown(name, each, folder) for name, each in ended if "--json" not in each.arguments]
    if documents:
        _compare(f"{command}.json", json.dumps(_by_kind(documents, folder), indent=2, ensure_ascii=False) + "\n")
    if texts:
        _compare(f"{command}.txt", "\n".join(texts))


def _compare(name: str, found: str) -> None:
    file = _FOLDER / name
    if os.environ.get("RENEW_GOLDEN"):
        file.write_text(found, encoding="utf-8")
    expected = file.read_text(encoding="utf-8") if file.exists() else ""
    diff = difflib.unified_diff(expected.splitlines(), found.splitlines(), f"golden/{name}", "found", lineterm="")
    assert found == expected, "\n" + "\n".join([*diff, "If that is meant: RENEW_GOLDEN=1 writes the file anew"])


def _shown(scene: str, ended: Ended, folder: Path) -> str:
    """Return a scene's command, exit code and output, a stream that is empty left out."""
    parts = [f"=== {scene} ===\n$ starter.py {' '.join(ended.arguments)}\nexit code {ended.code}\n"]
    parts += [f"--- {stream}\n{text}" for stream, text in (("stdout", ended.out), ("stderr", ended.err)) if text]
    text = _text("".join(parts), folder)
    for pattern, kind in _KINDS_IN_TEXT:
        text = re.sub(pattern, kind, text)
    return text


def _by_kind(value: Any, folder: Path) -> Any:
    """The same, with what differs from run to run replaced by its kind."""
    if isinstance(value, Mapping):
        # Without its requests a batch's results have the provider's order, another one each time.
        value = {key: sorted(each) if key == "customIds" else each for key, each in value.items()}
        return {
            _text(key, folder): "<count>" if key in _COUNTS and type(each) is int else _by_kind(each, folder)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_by_kind(each, folder) for each in value]
    if not isinstance(value, str):
        return value
    return _AMOUNT.sub("<amount>", _DATE.sub("<date>", _text(value, folder)))


def _text(text: str, folder: Path) -> str:
    text = text.replace(str(folder), "<folder>")
    for pattern, kind in _KINDS:
        text = re.sub(pattern, kind, text)
    return text
