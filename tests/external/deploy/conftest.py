"""The image, built once: installing what its lock names takes most of the time."""

import asyncio

import pytest

from tests.external.deploy.dockerfile import BuildStage, NoPackageIndex, build


@pytest.fixture(scope="package")
async def image(tmp_path_factory: pytest.TempPathFactory) -> BuildStage:
    """Build the image of Dockerfile; no test writes to it."""
    try:
        stage = await asyncio.to_thread(build, tmp_path_factory.mktemp("image"))
    except NoPackageIndex as error:
        pytest.skip(f"NOT BUILT, NOT RUN: no package index is reachable here (PIP_INDEX_URL): {error}")
    for path in [stage.root, *stage.root.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    return stage
