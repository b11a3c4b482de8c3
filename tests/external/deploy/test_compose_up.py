"""docker-compose.yml up on a container engine: the commands of the pages, in their order, and what holds then."""

import asyncio
import json
import re
import secrets
import shutil
import tarfile
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.external.deploy import compose
from tests.external.deploy.conftest import KEY, beside
from tests.external.deploy.deployment import USER, Deployment, owned
from tests.harness.pages import page
from tests.harness.project import ROOT

pytestmark = pytest.mark.timeout(900)  # The first one makes the images and brings everything up.

DEPLOYMENT = page("docs/deployment.md")
BACKUP = page("deploy/README.md")
OTHER = 1234
"""A user id that is not that of the image."""
TOKEN = secrets.token_hex(32)
# In the first version of control groups, and in the second.
LIMITS = """cd /sys/fs/cgroup
cat memory/memory.limit_in_bytes pids/pids.max 2>/dev/null || cat memory.max pids.max"""


async def test_each_service_began_after_those_that_it_waits_for(deployment: Deployment) -> None:
    # Before any other test: what has been carried out is carried out again with each call of the starter here.
    began, ended = {}, {}
    for service in ("postgres", "temporal-schema", "temporal", "temporal-namespace", "temporal-ui", "worker"):
        state = (await deployment.state(service))["State"]
        began[service], ended[service] = state["StartedAt"], state["FinishedAt"]
        if service in ("temporal-schema", "temporal-namespace"):
            assert (state["Status"], state["ExitCode"]) == ("exited", 0), service

    assert began["postgres"] < began["temporal-schema"] < ended["temporal-schema"] < began["temporal"]
    assert began["temporal"] < began["temporal-ui"]
    assert began["temporal"] < began["temporal-namespace"] < ended["temporal-namespace"] < began["worker"]


@pytest.fixture(scope="module")
async def demo(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[asyncio.Task[None]]:
    """Begin the demo, which is mostly a wait for its poll."""
    demo = Deployment(deployment.engine, tmp_path_factory.mktemp("demo"), "message-batches-demo")
    async with beside(the_demo_lands_and_leaves_nothing(demo)) as running:
        yield running


async def the_demo_lands_and_leaves_nothing(demo: Deployment) -> None:
    """As another user, by the variable that the page names."""
    made, up, start, down = demo.commands(DEPLOYMENT, "mkdir -p demo-data")
    await demo(made)
    owned(demo.folder / "demo-data", user=OTHER)
    demo.variables["MESSAGE_BATCHES_UID"] = str(OTHER)

    await demo(up)
    said = await demo(start)
    await demo(down)

    assert "21 succeeded, 3 errored" in said
    assert {path.lstat().st_uid for path in (demo.folder / "demo-data" / "store").rglob("*.jsonl")} == {OTHER}
    assert f"docker compose --env-file {compose.DEMO.relative_to(ROOT)} run --rm starter results" in " ".join(
        said.split()
    )
    for listing in (("ps", "--all"), ("volume", "ls"), ("network", "ls")):
        assert demo.name not in await demo.engine(*listing)


@pytest.mark.usefixtures("demo", "released_image")
async def test_a_file_of_the_host_lands(deployment: Deployment) -> None:
    """By the commands of the page: a run polls every 30 seconds, as anywhere."""
    shutil.copy(ROOT / "examples" / "requests.jsonl", deployment.data)
    *_, start, results = deployment.commands(DEPLOYMENT, "cp .env.example .env", ID="(run)")

    said = await deployment(start)
    [run] = set(re.findall(r"batch-[0-9a-f]{24}", said))
    await deployment(results.replace("(run)", run))

    assert "21 succeeded, 3 errored" in said
    assert f"docker compose run --rm starter results {run}" in " ".join(said.split())
    written = deployment.data / "results.jsonl"
    assert len(written.read_text().splitlines()) == 24
    assert written.stat().st_uid == USER
    assert (deployment.data / "store").stat().st_mode & 0o777 == 0o700


async def test_services_are_confined_as_the_file_says(deployment: Deployment) -> None:
    """What the engine enforces, seen from within."""
    services = compose.project({"POSTGRES_PASSWORD": "x"})["services"]
    # CHOWN, DAC_OVERRIDE, FOWNER, SETGID and SETUID, by their numbers.
    for service, capabilities in {
        "worker": 0,
        "emulator": 0,
        "temporal": 0,
        "temporal-ui": 0,
        "postgres": 0xCB,
    }.items():
        seen = await deployment.inside(service, "cat", "/proc/1/status")
        status = dict(re.findall(r"^(\w+):\s+(.*)$", seen, re.MULTILINE))
        assert int(status["CapBnd"], 16) == capabilities, service
        assert status["NoNewPrivs"] == "1", service
        memory, pids = (await deployment.inside(service, "sh", "-c", LIMITS)).split()
        unit = {"m": 1 << 20, "g": 1 << 30}[services[service]["mem_limit"][-1]]
        assert int(memory) == int(services[service]["mem_limit"][:-1]) * unit, service
        assert int(pids) == services[service]["pids_limit"], service
        if "user" in services[service]:
            assert status["Uid"].split() == [str(USER)] * 4
            for folder in ("/", "/app", "/opt/venv", "/home"):
                assert await deployment.refuses(service, "touch", f"{folder}/x"), folder
            await deployment.inside(service, "touch", "/tmp/x")
    assert (await deployment.state("worker"))["HostConfig"]["LogConfig"]["Size"] in ("10MB", "10m")


async def test_ports_are_on_the_loopback_alone(deployment: Deployment) -> None:
    for service in ("postgres", "temporal", "temporal-ui", "worker", "emulator"):
        ports = (await deployment.state(service))["HostConfig"]["PortBindings"]
        assert {each["HostIp"] for bound in ports.values() for each in bound or ()} <= {"127.0.0.1"}, service
    async with httpx.AsyncClient() as http:
        page = await http.get(f"http://127.0.0.1:{deployment.ports['TEMPORAL_UI_PORT']}/")
    assert "<html" in page.text


async def test_the_key_is_a_file_and_in_no_environment_log_or_history(deployment: Deployment) -> None:
    assert "keys: default" in await deployment.engine.logs(deployment.container("worker"))
    assert (await deployment.inside("worker", "cat", "/run/secrets/default")).strip() == KEY
    for service in ("worker", "emulator", "temporal", "postgres"):
        assert KEY not in json.dumps(await deployment.state(service))
        assert KEY not in await deployment.engine.logs(deployment.container(service))
    client = await deployment.temporal()
    runs = [run async for run in client.list_workflows()]
    assert runs
    for run in runs:
        async for event in client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history_events():
            assert KEY.encode() not in event.SerializeToString()


async def test_a_backup_is_restored(deployment: Deployment) -> None:
    query = "docker compose exec -T postgres psql --username temporal --dbname temporal --tuples-only --command"
    await deployment(f"{query} \"INSERT INTO schema_version VALUES ('1.19')\"")

    for command in deployment.commands(BACKUP, "docker compose exec -T postgres pg_dump"):
        await deployment(command)
    await deployment(f'{query} "DELETE FROM schema_version"')
    for command in deployment.commands(BACKUP, "docker compose stop worker temporal temporal-ui"):
        await deployment(command)

    assert (await deployment(f'{query} "TABLE schema_version"')).split() == ["1.19"]
    with tarfile.open(deployment.folder / "data.tar.gz") as packed:
        assert {"data/store/store.json", "data/requests.jsonl"} <= set(packed.getnames())
    await deployment.up("worker")


async def test_the_demo_has_landed_beside_it_and_left_nothing(deployment: Deployment, demo: asyncio.Task[None]) -> None:
    await demo

    assert (await deployment.state("worker"))["State"]["Status"] == "running"
