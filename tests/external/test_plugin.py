"""The plugin from the wheel: a project with its extra alone runs the tests of the page, whatever modules it has."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.harness.scratch_project import run_pytest, with_temporal, write_project
from tests.harness.wheel import installed_by, with_only

TESTING = installed_by("testing")

COLLIDING = """
from workflows import greeting


def test_the_modules_are_those_of_the_project(message_batches_worker):
    import activities, worker

    assert (greeting, activities.greeting, worker.greeting) == ("mine", "mine", "mine")
"""


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """The variables of a process that has the extra and no more."""
    home = tmp_path / "home"
    home.mkdir()
    return with_temporal(with_only(TESTING, home), tmp_path / "bin")


def test_the_tests_of_the_page_pass_in_a_project_with_the_wheel(
    bare_python: Path, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    project = tmp_path / "project"
    names = write_project(project)

    done = run_pytest(bare_python, project, environment, "-v")

    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.findall(r"^(\w+\.py)::\w+ PASSED", done.stdout, re.M)
    assert set(passed) == {name for name in names if name.startswith("test_")}
    assert len(passed) == 8


def test_a_project_may_have_modules_of_the_same_names(
    bare_python: Path, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    project = tmp_path / "project"
    write_project(project)
    (project / "workflows").mkdir()
    for name in ("workflows/__init__.py", "activities.py", "worker.py"):
        (project / name).write_text('greeting = "mine"\n')
    (project / "test_colliding.py").write_text(COLLIDING)
    path = f"{environment['PYTHONPATH']}:{project}"

    done = run_pytest(
        bare_python, project, {**environment, "PYTHONPATH": path}, "-q", "test_colliding.py", "test_nightly.py"
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_without_the_command_temporal_the_error_says_what_to_install(
    bare_python: Path, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    project = tmp_path / "project"
    write_project(project)

    done = run_pytest(bare_python, project, {**environment, "PATH": str(tmp_path)}, "-q", "test_reviews.py")

    assert done.returncode == 1, done.stdout + done.stderr
    assert "There is no command `temporal`: pip install 'message-batches[testing]' has it" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_without_the_extra_the_error_names_it(bare_python: Path, tmp_path: Path) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    home.mkdir()
    write_project(project)
    environment = with_only([*installed_by("library"), "pytest"], home)

    done = run_pytest(bare_python, project, environment, "-q")

    assert done.returncode != 0
    assert "aiohttp, which this Python does not have: pip install 'message-batches[testing]'" in done.stderr
