"""The library from the wheel: with its extra a program starts runs and reads results; without, an error names it."""

import asyncio
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.harness.project import EXAMPLES
from tests.harness.stack import Stack
from tests.harness.wheel import with_only

# What `message-batches[library]` installs, and no more.
LIBRARY = ["temporalio", "httpx", "httpcore", "h11", "pydantic", "pyyaml", "obstore", "msgspec", "genai-prices"]
EXAMPLE = EXAMPLES / "python" / "thousand.py"


async def test_fifteen_lines_send_a_thousand_requests_and_read_their_results(
    bare_python: Path, live: Stack, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **with_only(LIBRARY, home),
        "TEMPORAL_ADDRESS": live.client.service_client.config.target_host,
        "MESSAGE_BATCHES_STORE": live.store_url,
        "MESSAGE_BATCHES_TASK_QUEUE": live.task_queue,
    }

    async def run() -> tuple[int | None, str, str]:
        program = await asyncio.create_subprocess_exec(
            bare_python, EXAMPLE, env=environment, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await program.communicate()
        return program.returncode, out.decode(), err.decode()

    first, again = await run(), await run()

    assert len(EXAMPLE.read_text().splitlines()) <= 15
    code, out, err = first
    assert code == 0, err
    assert [line.split()[:2] for line in out.splitlines()] == [[f"n-{n}", "succeeded"] for n in range(1000)]
    assert again[:2] == first[:2]
    assert live.operations().count("create") == 1


def test_the_wheel_says_that_it_is_typed(wheel: Path) -> None:
    assert "message_batches/py.typed" in zipfile.ZipFile(wheel).namelist()


@pytest.mark.parametrize("lacking", ["obstore", "msgspec", "genai-prices"])
def test_without_the_extra_an_error_names_it(bare_python: Path, tmp_path: Path, lacking: str) -> None:
    code = (
        "from message_batches import BatchInput, MessageBatchesError\n"
        "try:\n"
        "    from message_batches import BatchRuns\n"
        "except MessageBatchesError as error:\n"
        "    print(isinstance(error, ImportError), error)\n"
    )
    environment = with_only([each for each in LIBRARY if each != lacking], tmp_path)
    done = subprocess.run([bare_python, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"True BatchRuns needs {lacking.replace('-', '_')}, ")
    assert "pip install 'message-batches[library]'" in done.stdout
