"""The wheel, built and installed in an empty environment: it holds the library alone, and no application."""

import signal
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.harness.encryption import key, written
from tests.harness.project import ROOT
from tests.harness.wheel import with_only


def test_the_wheel_holds_the_library_and_no_application(wheel: Path) -> None:
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}

    assert {name for name in names if not name.endswith(".dist-info")} == {"message_batches"}


def test_the_wheel_has_the_files_of_the_application_for_the_workers_of_tests(wheel: Path) -> None:
    folder = "message_batches/application/"
    held = {name.removeprefix(folder) for name in zipfile.ZipFile(wheel).namelist() if name.startswith(folder)}

    files = [ROOT / "worker.py", *(file for top in ("activities", "workflows") for file in (ROOT / top).rglob("*.py"))]
    assert held == {str(file.relative_to(ROOT)) for file in files}


def test_the_wheel_has_the_template_and_the_style_of_the_report(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())

    assert {"message_batches/report/page.html.j2", "message_batches/report/page.css"} <= names


def test_the_service_imports_with_temporalio_and_pydantic_alone(bare_python: Path, tmp_path: Path) -> None:
    code = "import message_batches as s, temporalio.client; print(s.WORKFLOW_TYPE, s.BatchInput().poll)"
    environment = with_only(["temporalio", "pydantic"], tmp_path)
    done = subprocess.run([bare_python, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("batch-process-and-retrieve-results")


CONNECT = """
import asyncio
from message_batches.temporal.connection import connect, leave
from message_batches.errors import MessageBatchesError
try:
    asyncio.run(connect(address="127.0.0.1:1"))
except MessageBatchesError as error:
    print(type(error).__name__, error)
leave(0)
"""


@pytest.mark.parametrize(
    ("installed", "says"),
    [
        (["temporalio", "pydantic"], "EncryptionUnavailable"),
        (["temporalio", "pydantic", "cryptography", "cffi", "pycparser"], "TemporalUnreachable"),
    ],
)
def test_with_encryption_on_a_caller_without_the_library_gets_an_error_that_names_it(
    bare_python: Path, tmp_path: Path, installed: list[str], says: str
) -> None:
    environment = {**with_only(installed, tmp_path), "MESSAGE_BATCHES_ENCRYPTION_KEYS": written([key("a")])}
    done = subprocess.run([bare_python, "-c", CONNECT], env=environment, cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(says)
    assert ("pip install message-batches[encryption]" in done.stdout) == (says == "EncryptionUnavailable")


def test_the_emulator_starts_with_its_extra_alone(bare_python: Path, tmp_path: Path) -> None:
    environment = with_only(["aiohttp", "pydantic", "attrs", "idna"], tmp_path)
    command = [str(bare_python), "-m", "message_batches.emulator", "--port", "0"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=30) == 0

    assert "listening on http://127.0.0.1:" in line


TRACE = """
from message_batches.errors import MessageBatchesError
from message_batches.observability.tracing import start_tracing
try:
    start_tracing("service")
except MessageBatchesError as error:
    print(type(error).__name__, error)
"""


def test_without_opentelemetry_the_error_names_the_extra(bare_python: Path, tmp_path: Path) -> None:
    environment = with_only(["temporalio", "pydantic"], tmp_path)
    done = subprocess.run([bare_python, "-c", TRACE], env=environment, cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("TracingNotPossible")
    assert "pip install 'message-batches[otel]'" in done.stdout
