"""The server and the workers of a session of tests, held by a process of their own, and the emulator of a test."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from message_batches.emulator import Emulator, EmulatorOptions
from message_batches.errors import MessageBatchesError

OURS = ("TEMPORAL_", "MESSAGE_BATCHES_", "ANTHROPIC_")
"""What the names of variables begin with that configure Temporal, this library and the API."""

NO_CONFIG = {"TEMPORAL_CONFIG_FILE": os.devnull}
"""In place of the developer's own temporal.toml."""

_HOST = Path(__file__).with_name("host.py")
_STOP_SECONDS = 30


class ServicesFailed(MessageBatchesError):
    """The server or a worker for the tests did not start, or has ended; the message has its log."""


@dataclass(frozen=True)
class TemporalServer:
    """A Temporal development server, in memory, and the process that holds it.

    Attributes:
        address: HOST:PORT.
        ui_url: the address of its Web UI.
    """

    address: str
    ui_url: str
    _process: subprocess.Popen[str]
    _log: Path

    def create_namespace(self, name: str) -> None:
        """Create a namespace, with the search attributes of runs."""
        self._ask(namespace=[name])

    def start_worker(self, environment: Mapping[str, str]) -> None:
        """Start the worker, and wait until it is ready."""
        self._ask(start=[dict(environment)])

    def stop_worker(self) -> None:
        """Stop the worker, if there is one; its activities under way are cancelled."""
        self._ask(stop=[])

    @property
    def log(self) -> str:
        """What the server and the workers have written to their log."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _ask(self, **command: list[object]) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        _answer(self._process, self._log)


@contextmanager
def running_server(folder: Path) -> Iterator[TemporalServer]:
    """Start a Temporal server, and stop it at the end with all that runs on it.

    Args:
        folder: for its log.
    """
    log = folder / "services.log"
    inherited = {
        name: value
        for name, value in os.environ.items()
        # It calls this machine alone.
        if not name.startswith(OURS) and not name.upper().endswith("_PROXY")
    }
    with (
        log.open("wb") as output,
        # It gets no signal of the terminal, and ends when its input does: also when pytest is killed.
        subprocess.Popen(
            # Its modules are found by the application's folder alone, and not by where pytest is started.
            [sys.executable, "-P", str(_HOST), str(application())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            cwd=folder,
            env=inherited | NO_CONFIG,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            ready = _answer(process, log)
            yield TemporalServer(ready["address"], ready["ui_url"], process, log)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                # Not at a second Ctrl-C: killed, it would leave the server behind.
                process.kill()


@contextmanager
def running_emulator(options: EmulatorOptions) -> Iterator[Emulator]:
    """Run an emulator in a thread, for tests that are coroutines as for those that are not."""
    emulator, loop = Emulator(options), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="message-batches-emulator", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(emulator.start(), loop).result()
        try:
            yield emulator
        finally:
            asyncio.run_coroutine_threadsafe(emulator.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _answer(process: subprocess.Popen[str], log: Path) -> Mapping[str, str]:
    assert process.stdout
    line = process.stdout.readline()
    answer: dict[str, str] = json.loads(line) if line else {"error": "The process of the fixtures has ended"}
    if "error" in answer:
        written = log.read_text(encoding="utf-8", errors="replace").strip()
        raise ServicesFailed("\n".join(filter(None, (answer["error"], written))))
    return answer


def application() -> Path:
    """Return the folder of worker.py: in the wheel it is inside of the package, in a checkout beside it."""
    package = _HOST.parents[1]
    return packaged if (packaged := package / "application").is_dir() else package.parent
