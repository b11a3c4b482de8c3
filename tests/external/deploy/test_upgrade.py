"""An upgrade from the image of the released version: to that of this one in its place, and beside it."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from message_batches.models import BatchOutput
from tests.external.deploy.conftest import RELEASED
from tests.external.deploy.deployment import Deployment, owned
from tests.external.deploy.engine import STAND_IN, Done
from tests.harness.pages import page
from tests.harness.waiting import eventually

pytestmark = pytest.mark.timeout(900)  # The first one makes the images and brings everything up.

BUILDS = ["temporal", "worker", "deployment"]


@pytest.fixture
async def with_image(deployment: Deployment, released_image: asyncio.Task[None] | None) -> Deployment:
    if not released_image:
        pytest.skip(f"NOT RUN: this clone does not have {RELEASED}, the released version")
    await released_image
    # Beside docker-compose.yml, which it extends.
    shutil.copy(STAND_IN / "upgrade.yml", deployment.folder)
    return deployment


@asynccontextmanager
async def released_worker(deployment: Deployment, queue: str, build: str = "") -> AsyncIterator[None]:
    """Have a worker of the released version in the place of the other, with a store and a task queue of its own.

    It, or what it is upgraded to, stays there: no test of the package that needs the other comes after these.
    """
    before = dict(deployment.variables)
    deployment.variables |= {
        "COMPOSE_FILE": f"docker-compose.yml:{STAND_IN / 'compose.yml'}:upgrade.yml",
        "RELEASED_BUILD": build,
        "MESSAGE_BATCHES_DATA": f"./{queue}",
        "MESSAGE_BATCHES_TASK_QUEUE": queue,
    }
    deployment.data.mkdir()
    owned(deployment.data)
    try:
        await deployment("docker compose up --detach --force-recreate worker")
        await deployment.up("worker")
        yield
    finally:
        await deployment.engine("rm", "--force", "--ignore", deployment.container("next"))
        deployment.variables = before


async def lands(deployment: Deployment, run: WorkflowHandle[Any, BatchOutput], batches: int) -> None:
    """Have the batch end; this version lands it, and no other batch was created."""
    await deployment.ends()
    output = await asyncio.wait_for(run.result(), 120)
    assert output.verified
    assert output.request_counts.succeeded == 3
    assert len(await deployment.batches()) == batches
    # Where the released version would not have put them.
    assert list(deployment.data.glob(f"store/results/default-*/{output.batch_id}/*.jsonl"))


async def test_a_run_goes_on_when_a_worker_of_this_version_takes_the_place_of_the_released_one(
    with_image: Deployment,
) -> None:
    async with released_worker(with_image, "in-its-place"):
        await with_image.hold()
        run = await with_image.begin_file("begun-before-the-upgrade")
        batches = len(await with_image.batches())
        del with_image.variables["COMPOSE_FILE"]

        *_, up, _, _, _ = with_image.commands(page("docs/deployment.md"), "cp .env.example .env")
        await with_image(up)
        await with_image.up("worker")

        await lands(with_image, run, batches)
        said = await with_image(f"docker compose run --rm starter results {run.id}")
        assert said.count('"custom_id"') == 3


async def test_a_run_moves_to_the_new_version_beside_it_and_the_released_one_drains(with_image: Deployment) -> None:
    async with released_worker(with_image, "beside-it", build="released"):
        await make_current(with_image, "released")
        await with_image.hold()
        run = await with_image.begin_file("begun-by-the-released-version")
        batches = len(await with_image.batches())

        await with_image("docker compose up --detach next")
        await with_image.up("next")
        await make_current(with_image, "next")

        async def drained() -> bool:
            said = await build(with_image, "describe-version", "--build-id", "released", "--output", "json")
            info = json.loads(said.output).get("drainageInfo") if said.code == 0 else None
            return (info or {}).get("drainageStatus") == "drained"

        await eventually(drained, "a released version on which nothing runs")
        await with_image("docker compose stop worker")
        assert (await with_image.state("worker"))["State"]["ExitCode"] == 0
        await lands(with_image, run, batches)


async def make_current(deployment: Deployment, name: str) -> None:
    """Make a build current; until the server knows it, the command fails."""

    async def done() -> bool:
        return (await build(deployment, "set-current-version", "--build-id", name, "--yes")).code == 0

    await eventually(done, f"{name} is current")


async def build(deployment: Deployment, command: str, *arguments: str) -> Done:
    """Run one of the page's commands, in the container of the server."""
    words = [*BUILDS, command, "--deployment-name", "message-batches", *arguments]
    return await deployment.engine.attempt("exec", deployment.container("temporal"), *words)
