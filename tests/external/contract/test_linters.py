"""The linters report nothing on the documents, not even a warning."""

from pathlib import Path

import pytest

from message_batches.arazzo.loader import load_document
from message_batches.arazzo.plan import normalize
from tests.external.contract.judges import run
from tests.harness.project import ARAZZO, DOCUMENT, OPENAPI, PUBLISHED

pytestmark = pytest.mark.usefixtures("judged")

SPECTRAL = ("lint", "--ruleset", ARAZZO / ".spectral.yaml", "--fail-severity", "hint")


@pytest.mark.parametrize("file", [DOCUMENT, OPENAPI], ids=lambda file: str(file.name))
def test_redocly_finds_nothing(file: Path) -> None:
    done = run("redocly", "lint", file)
    assert done.returncode == 0
    assert "warning" not in done.stdout.replace("Deprecation warning: Node.js", "")


def test_spectral_finds_nothing() -> None:
    assert run("spectral", *SPECTRAL, DOCUMENT).returncode == 0


def test_the_published_dialect_is_refused_by_both() -> None:
    assert run("redocly", "lint", PUBLISHED).returncode != 0
    assert run("spectral", *SPECTRAL, PUBLISHED).returncode != 0


def test_the_published_dialect_normalized_is_accepted_by_both(tmp_path: Path) -> None:
    file = tmp_path / "normalized.yml"
    file.write_text(normalize(load_document(PUBLISHED)))
    assert run("redocly", "lint", "--config", ARAZZO / "redocly.yaml", file).returncode == 0
    assert run("spectral", *SPECTRAL, file).returncode == 0
