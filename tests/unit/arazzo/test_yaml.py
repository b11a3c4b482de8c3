"""Files that are not plain, unambiguous YAML."""

from collections.abc import Callable
from pathlib import Path

import pytest

from message_batches.arazzo.loader import load_document
from message_batches.arazzo.yaml_source import DocumentError
from tests.harness.project import DOCUMENT
from tests.unit.arazzo.editing import POLL, SUBMIT, assert_refused

AFTER, LIMIT = (f"{POLL}/onFailure/0/{name}" for name in ("retryAfter", "retryLimit"))


def replaced(old: str, new: str) -> Callable[[str], bytes]:
    return lambda text: text.replace(old, new, 1).encode()


BOMB = "\n".join(
    [
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]",
        *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)),
    ]
)
FILES: dict[str, tuple[Callable[[str], bytes], str, str]] = {
    "duplicate key": (replaced("retryAfter: 30", "retryAfter: 5\n            retryAfter: 30"), AFTER, "twice"),
    "leading zero stays decimal": (replaced("retryAfter: 30", "retryAfter: -030"), AFTER, "greater than"),
    "yes is a string": (replaced("retryLimit: 2880", "retryLimit: yes"), LIMIT, "whole number"),
    "infinite by size": (replaced("retryAfter: 30", "retryAfter: 1e999"), AFTER, "finite"),
    "endless integer": (replaced("retryLimit: 2880", "retryLimit: " + "9" * 5000), LIMIT, "not a number"),
    "python tag": (replaced("retryAfter: 30", "retryAfter: !!python/object:os.system 30"), AFTER, "YAML tag"),
    "merge key": (
        replaced("requestBody:", "<<: {}\n        requestBody:"),
        f"{SUBMIT}/<<",
        "not a field of an Arazzo Step",
    ),
    "key that is a number": (replaced("  title:", "  7: x\n  title:"), "#/info", "not a string"),
    "list at the top": (lambda text: b"- arazzo: 1.0.1\n", "#", "is a list"),
    "scalar": (lambda text: b"arazzo\n", "#", "a single value"),
    "empty": (lambda text: b"", "#", "is empty"),
    "only a comment": (lambda text: b"# nothing\n", "#", "is empty"),
    "two documents": (lambda text: (text + "---\n" + text).encode(), "#", "not YAML"),
    "not YAML": (lambda text: b"a: [1, 2\nb: {\n", "#", "not YAML"),
    "undefined alias": (lambda text: b"a: *b\n", "#", "not YAML"),
    "control character": (lambda text: b"a: \x00\n", "#", "not YAML"),
    "not UTF-8": (lambda text: text.replace("Three", "Drei f\xfcr", 1).encode("latin-1"), "#", "not UTF-8"),
    "aliases that unfold": (lambda text: BOMB.encode(), "#", "once its aliases are expanded"),
    "alias of itself": (lambda text: b"a: &a [*a]\n", "#", "contain itself"),
    "nested deep": (lambda text: b"a: " + b"[" * 50_000, "#", "nested more than"),
    "nested a little too deep": (lambda text: b"a: " + b"[" * 70 + b"]" * 70, "#", "nested more than"),
    "large": (lambda text: b"a: " + b"x" * 300_000, "#", "is over"),
}


@pytest.mark.parametrize(("content", "pointer", "words"), FILES.values(), ids=FILES.keys())
def test_a_file_that_is_not_plain_unambiguous_yaml_is_refused(
    content: Callable[[str], bytes], pointer: str, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "document.yml"
    file.write_bytes(content(DOCUMENT.read_text()))
    assert_refused(file, pointer, words)


def test_an_error_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "document.yml"
    file.write_text(DOCUMENT.read_text().replace("retryLimit: 2880", "retryLimit: many"))
    line = 1 + file.read_text().splitlines().index("            retryLimit: many")
    with pytest.raises(DocumentError) as caught:
        load_document(file)
    assert caught.value.place == f"{file}:{line}"
