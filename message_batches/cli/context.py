"""The context of a command: its settings and connections, its output as text or JSON, and its exit code."""

import asyncio
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

from pydantic import BaseModel
from rich.console import Console, RenderableType
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError

from message_batches.cli import next_steps
from message_batches.cli.json_output import CostLimitDetails, ErrorDetails, ErrorDocument, InvalidRequestsDetails
from message_batches.cli.result_export import give_up_broken_streams, tolerate_any_text
from message_batches.cli.screen import as_json, screen
from message_batches.errors import CostLimitExceeded, InvalidRequests, MessageBatchesError
from message_batches.library.batch_runs import BatchRuns
from message_batches.library.connections import TemporalFailed
from message_batches.observability.trace_interceptor import TracingInterceptor
from message_batches.observability.tracing import TracingNotPossible, names_a_receiver
from message_batches.runs.control import NoAnswer
from message_batches.settings import Settings
from message_batches.storage.interface import Store

DONE, FAILED, REFUSED, UNFINISHED, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass(frozen=True)
class CommandResult:
    """The result of a command.

    Attributes:
        document: for `--json`.
        shown: for a user; None if the document is not printed as text, or the output is written already.
        exit_code: 0 done, 1 the run failed, 2 refused, 3 a deadline left requests unfinished.
    """

    document: BaseModel | Sequence[BaseModel] | None
    shown: RenderableType | None = None
    exit_code: int = DONE


@dataclass
class CommandContext:
    """The environment of one command; a connection or a store is opened when it is first used."""

    json: bool = False
    out: Console = field(default_factory=screen)
    err: Console = field(default_factory=lambda: screen(stderr=True))
    runs: BatchRuns = field(default_factory=BatchRuns)

    @property
    def settings(self) -> Settings:
        """The settings from the environment."""
        return self.runs.connections.settings

    @property
    def store(self) -> Store:
        """The store that the workers share."""
        return self.runs.connections.store

    async def client(self) -> Client:
        """Connect to Temporal, once."""
        return await self.runs.connections.client()

    def say(self, text: str, *, style: str = "") -> None:
        """Print a line on standard error, as far as that can be written."""
        with suppress(OSError):
            self.err.print(text, style=style, markup=False, soft_wrap=True)

    def give(self, result: CommandResult) -> None:
        """Print the result on standard output, unless its reader has closed it, or the device is full."""
        try:
            if self.json:
                sys.stdout.write(as_json(_plain(result.document)) + "\n")
            elif result.shown is not None:
                self.out.print(result.shown, crop=False, soft_wrap=isinstance(result.shown, str))
            sys.stdout.flush()
        except BrokenPipeError:
            give_up_broken_streams()
        except OSError as error:
            # It has been carried out: its exit code tells that, and a script must not take it for failed.
            self.say(f"Done, but the output cannot be written: {error.strerror or error}", style="yellow")
            give_up_broken_streams()


def run_command(
    command: Callable[[CommandContext], Awaitable[CommandResult]], *, json: bool, debug: bool = False
) -> int:
    """Run a command, print its result or one line that says why it failed, and return the exit code."""
    tolerate_any_text()
    context = CommandContext(json=json)

    async def run() -> CommandResult:
        async with AsyncExitStack() as closing:
            if names_a_receiver():
                # The variables may be there for other programs: no command fails for the lack of traces.
                with suppress(TracingNotPossible):
                    if tracing := TracingInterceptor.begin("message-batches-starter", quiet=True):
                        context.runs.connections.interceptors = [tracing]
                        closing.push_async_callback(tracing.stop)
            return await command(context)

    if not debug:
        # The SDK's core writes warnings of its own into the output, such as of a connection that it retries.
        Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=None)), error_if_already_set=False)
    # Only with this handler does asyncio turn Ctrl-C into a cancellation that a command can handle.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = asyncio.run(run())
        context.give(result)
        return result.exit_code
    except (KeyboardInterrupt, asyncio.CancelledError):
        context.say("Interrupted")
        return INTERRUPTED
    except MessageBatchesError as error:
        return _failed(context, error)
    except RPCError as error:
        return _failed(context, context.runs.connections.error_of(error))
    except Exception as error:
        if debug:
            context.say(traceback.format_exc())
        kind = type(error).__name__
        more = "" if debug else f" ({next_steps.debug()})"
        message = f"Unexpected {kind}: {_first_line(error)}{more}"
        return _fail(context, ErrorDetails(type=kind, message=message), FAILED)
    finally:
        give_up_broken_streams()


def _failed(context: CommandContext, error: MessageBatchesError) -> int:
    return _fail(context, _details(error), FAILED if isinstance(error, NoAnswer | TemporalFailed) else REFUSED)


def _details(error: MessageBatchesError) -> ErrorDetails:
    kind, message = type(error).__name__, next_steps.error_text(error)
    if isinstance(error, InvalidRequests):
        return InvalidRequestsDetails(type=kind, message=message, problems=error.problems)
    if isinstance(error, CostLimitExceeded):
        return CostLimitDetails(type=kind, message=message, estimate=error.estimate, limit=error.limit)
    return ErrorDetails(type=kind, message=message)


def _fail(context: CommandContext, details: ErrorDetails, exit_code: int) -> int:
    context.say(details.message, style="red")
    if context.json:
        context.give(CommandResult(ErrorDocument(error=details)))
    return exit_code


def _plain(document: BaseModel | Sequence[BaseModel] | None) -> object:
    if isinstance(document, BaseModel):
        return document.model_dump(mode="json")
    return [each.model_dump(mode="json") for each in document or ()]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:300]
