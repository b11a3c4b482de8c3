"""The upgrade of docs/upgrading.md: the image of the released version, and that of this one beside it."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator

import pytest

from tests.external.deploy.conftest import RELEASED
from tests.external.deploy.deployment import Deployment, has_revision, owned
from tests.external.deploy.engine import STAND_IN, Done
from tests.harness.waiting import eventually

pytestmark = pytest.mark.timeout(900)  # The first one makes the images and brings everything up.

BUILDS = ["temporal", "worker", "deployment"]


@pytest.fixture
async def released(deployment: Deployment) -> AsyncIterator[Deployment]:
    """Have a worker of the released version in the place of the other, with a store and a task queue of its own.

    It stays there: no test of the package comes after these.
    """
    if not has_revision(RELEASED):
        pytest.skip(f"NOT RUN: this clone does not have {RELEASED}, the released version")
    # Beside docker-compose.yml, which it extends.
    shutil.copy(STAND_IN / "upgrade.yml", deployment.folder)
    before = dict(deployment.variables)
    deployment.variables |= {
        "COMPOSE_FILE": f"docker-compose.yml:{STAND_IN / 'compose.yml'}:upgrade.yml",
        "MESSAGE_BATCHES_DATA": "./upgraded",
        "MESSAGE_BATCHES_TASK_QUEUE": "upgraded",
    }
    deployment.data.mkdir()
    owned(deployment.data)
    try:
        await deployment("docker compose up --detach --force-recreate worker")
        await deployment.up("worker")
        yield deployment
    finally:
        await deployment.engine("rm", "--force", "--ignore", deployment.container("next"))
        deployment.variables = before


async def test_a_run_moves_to_the_new_version_and_the_released_one_drains(released: Deployment) -> None:
    await make_current(released, "released")
    run = await released.begin_file("begun-by-the-released-version")
    created = len(await released.batches())

    await released("docker compose up --detach next")
    await released.up("next")
    await make_current(released, "next")

    async def drained() -> bool:
        said = await build(released, "describe-version", "--build-id", "released", "--output", "json")
        return said.code == 0 and (json.loads(said.output).get("drainageInfo") or {}).get("drainageStatus") == "drained"

    await eventually(drained, "a released version on which nothing runs")
    await released("docker compose stop worker")
    assert (await released.state("worker"))["State"]["ExitCode"] == 0
    await released.ends()
    output = await asyncio.wait_for(run.result(), 120)
    assert output.verified
    assert output.request_counts.succeeded == 3
    assert len(await released.batches()) == created
    # The starter of the new version finds what the other has begun.
    del released.variables["COMPOSE_FILE"]
    said = await released(f"docker compose run --rm -T starter results {run.id}")
    assert said.count('"custom_id"') == 3


async def make_current(deployment: Deployment, name: str) -> None:
    """Make a build current; until the server knows it, the command fails."""

    async def done() -> bool:
        return (await build(deployment, "set-current-version", "--build-id", name, "--yes")).code == 0

    await eventually(done, f"{name} is current")


async def build(deployment: Deployment, command: str, *arguments: str) -> Done:
    """Run one of the page's commands, in the container of the server."""
    words = [*BUILDS, command, "--deployment-name", "message-batches", *arguments]
    return await deployment.engine.attempt("exec", deployment.container("temporal"), *words)
