"""The memory that a worker's runs may take: that of the container, wherever its control group is."""

from pathlib import Path

import pytest

from message_batches.temporal import workflow_runner
from message_batches.temporal.workflow_runner import cached_runs, memory_limits

GIB = 1024**3


@pytest.mark.parametrize(
    ("named", "files", "limit"),
    [
        ("0::/\n", {"memory.max": f"{GIB}\n"}, GIB),
        ("0::/system.slice/worker.service\n", {"system.slice/worker.service/memory.max": f"{GIB}\n"}, GIB),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{GIB}\n", "memory.max": f"{2 * GIB}\n"}, GIB),
        ("4:memory:/docker/1\n0::/\n", {"memory/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        ("5:pids:/\n", {}, None),
        ("", {}, None),
    ],
)
def test_the_limit_is_that_of_the_groups_that_the_process_is_in(
    tmp_path: Path, named: str, files: dict[str, str], limit: int | None
) -> None:
    own, groups = tmp_path / "cgroup", tmp_path / "groups"
    own.write_text(named)
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text)

    assert min(memory_limits(groups, own)) == (limit or min(memory_limits(groups, tmp_path / "none")))


@pytest.mark.parametrize(("limit", "runs"), [(GIB, 2309), (512 * 1024**2, 967), (128 * 1024**2, 100)])
def test_runs_take_half_of_the_memory_that_a_worker_leaves(
    monkeypatch: pytest.MonkeyPatch, limit: int, runs: int
) -> None:
    monkeypatch.setattr(workflow_runner, "memory_limits", lambda: [limit])

    assert cached_runs() == runs
