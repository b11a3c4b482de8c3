"""Landing a batch's results: downloaded, checked, put in order, hashed and published; the others do less."""

import hashlib
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import rmtree, which

import httpx

from benchmarks import contender
from benchmarks.contender import Go, Meter
from benchmarks.requests import stored_requests
from benchmarks.servers import HEADERS, KEY, api, bare_server, emulator
from benchmarks.setting import Setting
from benchmarks.table import Row, cpu_row, memory_row, time_row
from message_batches.api.client import PATH
from message_batches.api.models import ApiProfile
from message_batches.models import Manifest
from message_batches.requests.manifest import request_body
from message_batches.results.landing import land
from message_batches.storage.object_store import open_store

RESULTS = 100_000
REQUEST_BYTES = 200
REPLY_BYTES = 4_050
"""Bytes of a reply's text; a whole line of results is about 4,500 bytes."""

PIECE = 1024 * 1024


async def measure(setting: Setting) -> list[Row]:
    """Return the rows of the table."""
    folder = setting.folder
    store, manifest = await stored_requests(folder / "store", setting.sized(RESULTS), REQUEST_BYTES)
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    sample = folder / "sample.jsonl"

    def tidy() -> None:
        (folder / "download.jsonl").unlink(missing_ok=True)
        (folder / "copy.jsonl").unlink(missing_ok=True)
        rmtree(folder / "store" / "results", ignore_errors=True)

    async with emulator("--reply-bytes", str(REPLY_BYTES), "--processing-time", "1ms", "--jitter", "0") as url:
        async with api(url) as client:
            batch = await client.create(ApiProfile(), request_body(store, manifest), manifest.body_bytes)
        async with _http(url) as http:
            await _download(http, batch.id, sample)
        laps = await contender.race(setting, _contenders(setting, url, batch.id), tidy)
        slow = {"official client": partial(contender.run, setting, official, url, batch.id, str(folder))}
        laps |= await contender.race(replace(setting, rounds=1), slow, tidy)
    with bare_server(sample) as url:
        quick = await contender.race(setting, _contenders(setting, url, batch.id), tidy)

    what = f"land {manifest.count:,} results, {sample.stat().st_size / 1e6:,.0f} MB"
    download, copied = "httpx, to a file", "httpx, to a file; that hashed, copied and synced"
    return [
        time_row(what, laps["ours"], download, laps["httpx"], at_most=1.5),
        time_row(what, laps["ours"], "curl -o", laps.get("curl")),
        time_row(what, laps["ours"], copied, laps["httpx, copied"], at_most=0.9),
        time_row(what, laps["ours"], "official client, decoded and written", laps["official client"], at_most=0.2),
        cpu_row(what, laps["ours"], copied, laps["httpx, copied"], at_most=5),
        memory_row(what, laps["ours"], at_most=60_000_000),
        time_row(f"{what}, from a server that only sends", quick["ours"], download, quick["httpx"]),
    ]


async def ours(meter: Meter, url: str, batch_id: str, folder: str) -> None:
    """Do the work of the activity `retrieveResults`."""
    store = open_store((Path(folder) / "store").as_uri())
    manifest = Manifest.model_validate_json((Path(folder) / "manifest.json").read_text())
    async with api(url) as client:
        with meter:
            landed = await land(
                store,
                client.results(ApiProfile(), batch_id),
                account=client.account(ApiProfile()).part,
                batch_id=batch_id,
                manifest=manifest,
                expected_count=manifest.count,
                scratch=Path(folder),
            )
    assert landed.verified


async def bare_httpx(meter: Meter, url: str, batch_id: str, folder: str) -> None:
    """Do the least that a program on httpx can do."""
    async with _http(url) as http:
        with meter:
            await _download(http, batch_id, Path(folder) / "download.jsonl")


async def copied_httpx(meter: Meter, url: str, batch_id: str, folder: str) -> None:
    """Do the least for a file that is hashed, synced and reordered: each byte is written twice."""
    download = Path(folder) / "download.jsonl"
    digest = hashlib.sha256()
    async with _http(url) as http:
        with meter:
            await _download(http, batch_id, download)
            with download.open("rb") as source, (Path(folder) / "copy.jsonl").open("wb") as copy:
                while piece := source.read(PIECE):
                    digest.update(piece)
                    copy.write(piece)
                copy.flush()
                os.fsync(copy.fileno())


def official(meter: Meter, url: str, batch_id: str, folder: str) -> None:
    """Run the loop of the official client's documentation: each result is decoded and written."""
    from anthropic import Anthropic

    client = Anthropic(base_url=url, api_key=KEY)
    with meter, (Path(folder) / "download.jsonl").open("w") as file:
        for result in client.messages.batches.results(batch_id):
            file.write(result.to_json(indent=None) + "\n")


def _contenders(setting: Setting, url: str, batch_id: str) -> dict[str, Go]:
    folder = setting.folder
    contenders: dict[str, Go] = {
        "ours": partial(contender.run, setting, ours, url, batch_id, str(folder)),
        "httpx": partial(contender.run, setting, bare_httpx, url, batch_id, str(folder)),
        "httpx, copied": partial(contender.run, setting, copied_httpx, url, batch_id, str(folder)),
    }
    if which("curl"):
        target = ("--output", str(folder / "download.jsonl"))
        contenders["curl"] = partial(contender.curl, f"{url}{_path(batch_id)}", HEADERS, *target)
    return contenders


def _http(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=60)


async def _download(http: httpx.AsyncClient, batch_id: str, target: Path) -> None:
    with target.open("wb") as file:
        async with http.stream("GET", _path(batch_id), headers={"accept-encoding": "identity"}) as reply:
            reply.raise_for_status()
            async for chunk in reply.aiter_bytes():
                file.write(chunk)


def _path(batch_id: str) -> str:
    return f"{PATH}/{batch_id}/results"
