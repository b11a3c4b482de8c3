"""Submitting a batch: its body is built from the manifest in the store, chunk by chunk; curl gets it as a file."""

from functools import partial
from pathlib import Path
from shutil import which

from benchmarks import contender
from benchmarks.contender import Go, Meter
from benchmarks.requests import stored_requests
from benchmarks.servers import HEADERS, api, bare_server, emulator
from benchmarks.setting import Setting
from benchmarks.table import Row, memory_row, time_row
from message_batches.api.client import PATH
from message_batches.api.models import ApiProfile
from message_batches.models import Manifest
from message_batches.requests.manifest import request_body
from message_batches.storage.object_store import open_store

REQUESTS = 100_000
REQUEST_BYTES = 2_500


async def measure(setting: Setting) -> list[Row]:
    """Return the rows of the table."""
    folder = setting.folder
    store, manifest = await stored_requests(folder / "store", setting.sized(REQUESTS), REQUEST_BYTES)
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    with (folder / "body.json").open("wb") as file:
        async for chunk in request_body(store, manifest):
            file.write(chunk)

    async with emulator() as url:
        laps = await contender.race(setting, _contenders(setting, url))
    with bare_server() as url:
        quick = await contender.race(setting, _contenders(setting, url))

    what = f"submit {manifest.count:,} requests, {manifest.body_bytes / 1e6:,.0f} MB"
    curl = "curl --data-binary"
    return [
        time_row(what, laps["ours"], curl, laps.get("curl"), at_most=1.5),
        memory_row(what, laps["ours"], at_most=150_000_000),
        time_row(f"{what}, to a server that only reads", quick["ours"], curl, quick.get("curl")),
    ]


async def ours(meter: Meter, url: str, folder: str) -> None:
    """Do the work of the activity `submitBatch`, without its records."""
    store = open_store((Path(folder) / "store").as_uri())
    manifest = Manifest.model_validate_json((Path(folder) / "manifest.json").read_text())
    async with api(url) as client:
        with meter:
            await client.create(ApiProfile(), request_body(store, manifest), manifest.body_bytes)


def _contenders(setting: Setting, url: str) -> dict[str, Go]:
    folder = setting.folder
    contenders: dict[str, Go] = {"ours": partial(contender.run, setting, ours, url, str(folder))}
    if which("curl"):
        sent = ("--data-binary", f"@{folder / 'body.json'}", "--output", str(folder / "answer.json"))
        contenders["curl"] = partial(contender.curl, f"{url}{PATH}", HEADERS, *sent)
    return contenders
