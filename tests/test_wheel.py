"""The wheel, built and installed in an empty environment: the library alone, and no application beside it."""

import os
import signal
import subprocess
import sys
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    target = tmp_path_factory.mktemp("dist")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(target),
        str(ROOT),
    ]
    subprocess.run(build, check=True)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and nothing else."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=True)
    interpreter = home / "bin" / "python"
    subprocess.run([interpreter, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    return interpreter


def with_only(names: list[str], folder: Path) -> Mapping[str, str]:
    """An environment in which, of all that is installed here, only these distributions can be imported."""
    import importlib.metadata as metadata

    wanted, seen = list(names), set[str]()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        distribution = metadata.distribution(name)
        for requirement in distribution.requires or []:
            if ";" not in requirement:
                wanted.append(requirement.split("[")[0].split("<")[0].split(">")[0].split("=")[0].split("!")[0].strip())
        for file in distribution.files or []:
            top = file.parts[0]
            source = Path(str(distribution.locate_file(top)))
            if top not in ("..", "__pycache__") and source.exists() and not (folder / top).exists():
                (folder / top).symlink_to(source)
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_it_holds_the_library_and_no_application(wheel: Path) -> None:
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}

    assert {name for name in names if not name.endswith(".dist-info")} == {"message_batches"}


def test_the_service_imports_with_temporalio_and_pydantic_alone(python: Path, tmp_path: Path) -> None:
    code = "import message_batches.service as s, temporalio.client; print(s.WORKFLOW_TYPE, s.BatchInput().poll)"
    environment = with_only(["temporalio", "pydantic"], tmp_path)
    done = subprocess.run([python, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("batch-process-and-retrieve-results")


def test_the_emulator_starts_with_its_extra_alone(python: Path, tmp_path: Path) -> None:
    environment = with_only(["aiohttp", "pydantic", "attrs", "idna"], tmp_path)
    command = [str(python), "-m", "message_batches.emulator", "--port", "0"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=30) == 0

    assert "listening on http://127.0.0.1:" in line
