"""What time does to a store and to a server: files grow old, histories and namespaces go."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio.client import Client

from message_batches.storage.object_store import open_store
from message_batches.temporal.dev_server import DevServer
from message_batches.temporal.namespaces import NamespaceRecords
from tests.harness.command_line import CommandLine, command_line
from tests.harness.stack import Stack, running_stack


def make_old(folder: Path, days: int = 50) -> None:
    """Set a whole store back, its files and what its intents say."""
    moment = datetime.now(UTC) - timedelta(days=days)
    # A worker may be at work: a file that it has not written to the end is named `NAME#1`, and is gone at any moment.
    for path in (path for path in folder.rglob("*") if path.is_file() and "#" not in path.name):
        if path.parts[-4:-3] == ("submissions",) and not path.name.endswith(".outcome.json"):
            aged = path.with_name(f"{path.name}#aged")
            aged.write_text(json.dumps(json.loads(path.read_text()) | {"time": moment.isoformat()}))
            aged.replace(path)
        os.utime(path, (moment.timestamp(), moment.timestamp()))


async def works_only_in(client: Client, folder: Path) -> None:
    """Have a namespace be the only one that works with a store: the server of the others was given up."""
    for note in (folder / "namespaces").glob("*"):
        note.unlink()
    await NamespaceRecords(open_store(folder.as_uri())).add(client)


@asynccontextmanager
async def after_retention(forgetful: DevServer, starter: CommandLine, live: Stack) -> AsyncIterator[CommandLine]:
    """The same store and API, a worker, and a Temporal that has forgotten."""
    async with running_stack(forgetful.client, live.emulator, live.store_url) as later:
        yield command_line(starter.folder, forgetful, later.store_url, later.task_queue)
