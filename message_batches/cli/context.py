"""What a command of the starter works with and gives back: one answer, printed as text or JSON, and an exit code."""

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rich.console import Console, RenderableType
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError

from message_batches.cli.screen import as_json, screen
from message_batches.errors import InvalidRequests, MessageBatchesError
from message_batches.runs.control import NoAnswer, Runs
from message_batches.runs.start import RunStarter
from message_batches.settings import Settings
from message_batches.storage.object_store import ObjectStore, open_store
from message_batches.temporal.connection import connect

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Answer:
    """What a command found.

    Attributes:
        document: for `--json`.
        shown: for a person; None if the document is the answer either way.
        exit_code: 0 done, 1 the run failed, 2 refused.
    """

    document: Any
    shown: RenderableType | None = None
    exit_code: int = DONE


@dataclass
class Desk:
    """The environment of one command; nothing is connected or opened before it is used."""

    json: bool = False
    out: Console = field(default_factory=screen)
    err: Console = field(default_factory=lambda: screen(stderr=True))
    _client: Client | None = None

    @cached_property
    def settings(self) -> Settings:
        """What the environment says."""
        return Settings.from_environment()

    @cached_property
    def store(self) -> ObjectStore:
        """The store that the workers share."""
        return open_store(self.settings.store_url)

    async def client(self) -> Client:
        """The connection to Temporal."""
        self._client = self._client or await connect()
        return self._client

    async def runs(self) -> Runs:
        """The runs there."""
        return Runs(await self.client(), self.store)

    async def starter(self) -> RunStarter:
        """What begins them."""
        return RunStarter(await self.client(), self.store)

    def say(self, text: str, *, style: str = "") -> None:
        """A line beside the answer, on standard error."""
        self.err.print(text, style=style, markup=False, soft_wrap=True)

    def give(self, answer: Answer) -> None:
        """Print the answer on standard output."""
        if self.json:
            sys.stdout.write(as_json(answer.document) + "\n")
        elif answer.shown is not None:
            self.out.print(answer.shown, crop=False)
        sys.stdout.flush()


def carry_out(command: Callable[[Desk], Awaitable[Answer]], *, json: bool, debug: bool = False) -> int:
    """Carry out a command and print its answer, or one line that says why not; the exit code."""
    desk = Desk(json=json)

    async def carried_out() -> Answer:
        return await command(desk)

    if not debug:
        # The SDK's core writes warnings of its own beside what is shown, such as of a connection that it tries again.
        Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=None)), error_if_already_set=False)
    # Only with this handler does asyncio turn Ctrl-C into a cancellation that a command can answer.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        answer = asyncio.run(carried_out())
        desk.give(answer)
        return answer.exit_code
    except BrokenPipeError:
        # Whoever read our output has enough.
        return FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        desk.say("Interrupted")
        return INTERRUPTED
    except MessageBatchesError as error:
        problems = {"problems": error.problems} if isinstance(error, InvalidRequests) else {}
        exit_code = FAILED if isinstance(error, NoAnswer) else REFUSED
        return _fail(desk, type(error).__name__, str(error), exit_code, problems)
    except RPCError as error:
        return _fail(desk, "TemporalFailed", f"Temporal did not carry it out: {error.message}", FAILED)
    except Exception as error:
        if debug:
            desk.say(traceback.format_exc())
        more = "" if debug else " (`starter.py --debug ...` shows more)"
        return _fail(
            desk, type(error).__name__, f"Unexpected {type(error).__name__}: {_first_line(error)}{more}", FAILED
        )
    finally:
        _give_up_a_broken_stdout()


def _fail(desk: Desk, kind: str, message: str, exit_code: int, more: dict[str, Any] | None = None) -> int:
    desk.say(message, style="red")
    if desk.json:
        desk.give(Answer({"error": {"type": kind, "message": message, **(more or {})}}))
    return exit_code


def _give_up_a_broken_stdout() -> None:
    """Python would say once more that it cannot be written, when it closes it."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:300]
