"""The command line: `python -m message_batches.emulator`."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import NoReturn, TypeVar

from message_batches.emulator.fault_kinds import FAULT_KINDS
from message_batches.emulator.faults import read_fault_flag
from message_batches.emulator.model_list import read_model_flag
from message_batches.emulator.options import EmulatorOptions, UndocumentedBehaviour, parse_duration
from message_batches.emulator.server import Emulator
from message_batches.listener import CannotListen, set_process_limits

_T = TypeVar("_T")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def _checked(read: Callable[[str], _T]) -> Callable[[str], _T]:
    """Report a ValueError of ours to the user in its own words."""

    def convert(text: str) -> _T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def _fault(text: str) -> str:
    read_fault_flag(text)
    return text


def _model(text: str) -> str:
    read_model_flag(text)
    return text


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the arguments, with the defaults of `EmulatorOptions`."""
    given = EmulatorOptions()
    duration = _checked(parse_duration)
    parser = _Parser(
        prog="python -m message_batches.emulator",
        description="A local Message Batches API with faults on demand.",
        epilog=f"Faults: {', '.join(FAULT_KINDS)}. Without times or probability a fault holds until it is cleared. "
        "At run time: POST, GET and DELETE /_emulator/faults; GET /_emulator/calls and /_emulator/batches; "
        'POST /_emulator/clock {"advance": SECONDS}.',
    )
    add = parser.add_argument
    add("--host", default=given.host, help="address to listen on (%(default)s)")
    add("--port", type=int, default=8080, help="0 picks a free one (%(default)s)")
    add("--public-url", metavar="URL", help="what results_url begins with (the Host of each call)")
    add("--time-scale", type=float, default=given.time_scale, metavar="X", help="virtual seconds in a real one")
    add("--processing-time", type=duration, default=given.processing_time, metavar="10s", help="virtual, per batch")
    add("--jitter", type=float, default=given.jitter, metavar="0.2", help="share it varies by")
    add("--cancel-time", type=duration, default=given.cancel_time, metavar="2s", help="time spent canceling")
    add(
        "--ends-after-polls",
        type=int,
        metavar="N",
        help="batches end at the Nth retrieve, or list that they are in, not by time",
    )
    add("--live-counts", action="store_true", help="move request_counts before the end")
    add("--seed", type=int, help="makes ids, orders and outcomes repeat")
    add("--reply-bytes", type=int, default=given.reply_bytes, metavar="N", help="length of a reply's text")
    add("--error-rate", type=float, default=given.error_rate, metavar="0.01", help="chance of a request to fail")
    add(
        "--model",
        type=_checked(_model),
        action="append",
        default=[],
        metavar="ID[:max_tokens=N,...]",
        help="one more model, or a known one changed (repeatable)",
    )
    add(
        "--api-key",
        action="append",
        default=[],
        metavar="KEY[=wrkspc_ID]",
        help="accept only these (repeatable), each with a workspace of its own unless it names one",
    )
    add("--requests-per-minute", type=int, default=0, metavar="N", help="0 is no limit")
    add("--queue-limit", type=int, default=0, metavar="N", help="requests in processing; 0 is no limit")
    add("--max-bytes", type=int, default=given.max_bytes, metavar="N", help="largest body (%(default)s)")
    add("--max-requests", type=int, default=given.max_requests, metavar="N", help="most requests (%(default)s)")
    add("--fault", type=_checked(_fault), action="append", default=[], metavar="NAME[:operation=O,times=N,...]")
    undocumented = parser.add_argument_group("what the real API answers here is not published; the status to answer")
    for unknown in fields(UndocumentedBehaviour):
        choices = UndocumentedBehaviour.CHOICES[unknown.name]
        flag = "--" + unknown.name.replace("_", "-")
        undocumented.add_argument(flag, type=int, choices=choices, default=unknown.default, help="(%(default)s)")
    return parser


def read_options(arguments: Sequence[str] | None = None) -> EmulatorOptions:
    """Read options from a command line; exit with one line if it is wrong."""
    parser = build_parser()
    said = vars(parser.parse_args(arguments))
    undocumented = UndocumentedBehaviour(
        **{unknown.name: said.pop(unknown.name) for unknown in fields(UndocumentedBehaviour)}
    )
    for name in ("api_key", "fault", "model"):
        said[f"{name}s"] = tuple(said.pop(name))
    try:
        return EmulatorOptions(**said, undocumented=undocumented)
    except ValueError as error:
        parser.error(str(error))


async def serve(options: EmulatorOptions) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Emulator(options) as emulator:
        print(f"Message Batches emulator listening on {emulator.url}", flush=True)
        await stop.wait()


def main() -> None:
    """Run the emulator as a process of its own."""
    options = read_options()
    set_process_limits()
    try:
        asyncio.run(serve(options))
    except CannotListen as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
