"""What is deployed, on a container engine: the images are built once, and docker-compose.yml is up for all tests."""

import asyncio
import re
import tempfile
import warnings
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.external.deploy.deployment import USER, Deployment, copy_project, has_revision, owned
from tests.external.deploy.engine import BASE, HOW_TO_GET, Engine, available
from tests.harness.pages import page

KEY = "sk-ant-api03-of-the-containers"
IMAGE = "message-batches:0.2.0"
RELEASED = "a39d3ff"
"""The commit of 0.2.0, from which test_upgrade.py upgrades."""


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Begin what takes long, beside the tests that come before it is needed."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture(scope="package")
async def engine() -> AsyncIterator[Engine]:
    if not available():
        pytest.skip(HOW_TO_GET)
    # A short path: it becomes part of those of sockets.
    engine = Engine(Path(tempfile.mkdtemp(prefix="engine-")))
    try:
        if not await engine.base():
            warnings.warn(f"No registry answers: {BASE} is Debian's Python here", stacklevel=1)
        yield engine
    finally:
        await engine.remove()


@pytest.fixture(scope="package")
async def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Build our image, and what stands in for those of others; return the first."""
    context = tmp_path_factory.mktemp("context")
    copy_project(context)
    for secret in (".env", "secrets/default", "data/store/store.json"):
        (context / secret).parent.mkdir(parents=True, exist_ok=True)
        (context / secret).write_text(KEY)
    await asyncio.gather(engine.stand_in(), engine.build(IMAGE, context))
    return IMAGE


@pytest.fixture(scope="package")
async def deployment(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """Bring up the stack as docs/deployment.md begins, against the emulator."""
    deployment = Deployment(engine, tmp_path_factory.mktemp("project"), "message-batches")
    deployment.variables |= {"ANTHROPIC_BASE_URL": "http://emulator:8080", "COMPOSE_PROFILES": "demo"}
    copied, made, key, up, listed, _, _ = deployment.commands(page("docs/deployment.md"), "cp .env.example .env")
    await deployment(copied)
    settings = deployment.folder / ".env"
    settings.write_text(settings.read_text().replace("POSTGRES_PASSWORD=\n", "POSTGRES_PASSWORD=of-the-containers\n"))
    await deployment(made)
    await deployment(key, given=KEY)
    owned(deployment.data, deployment.folder / "secrets")
    await deployment(up)
    for service in ("worker", "emulator", "temporal-ui"):
        await deployment.up(service)
    assert re.search(r"worker.*\(healthy\)|\(healthy\).*worker", await deployment(listed))
    yield deployment
    await deployment("docker compose down --volumes")
    assert await engine("ps", "--all", "--quiet") == ""
    assert await engine("volume", "ls", "--quiet") == ""
    assert "message-batches" not in await engine("network", "ls")
    assert {path.lstat().st_uid for path in (deployment.data / "store").rglob("*")} == {USER}


@pytest.fixture(scope="package")
async def released_image(
    engine: Engine, deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[asyncio.Task[None] | None]:
    """Begin to build the image of the released version, which is needed last; None if this clone does not have it."""
    if not has_revision(RELEASED):
        yield None
        return
    context = tmp_path_factory.mktemp("released")
    copy_project(context, RELEASED)
    async with beside(engine.build("message-batches:released", context)) as building:
        yield building
