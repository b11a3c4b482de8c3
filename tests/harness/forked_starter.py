"""`python starter.py` without a second of imports: forked from a process that has done them once.

Everything else is as in a process started anew: its arguments, environment, working directory, streams and exit code.
"""

import asyncio
import gc
import multiprocessing
import os
import pkgutil
import runpy
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir
from multiprocessing import forkserver
from pathlib import Path
from tempfile import TemporaryDirectory

import message_batches.cli

_commands = [module.name for module in pkgutil.walk_packages(message_batches.cli.__path__, "message_batches.cli.")]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["__main__", __name__, "worker", "message_batches.emulator", *_commands])


async def run(
    starter: Path, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, stdin: str = ""
) -> tuple[int, str, str]:
    """Run a command of `starter.py` to its end; return its exit code, standard output and standard error."""
    with chdir(starter.parent):  # The forked process imports modules from here.
        forkserver.ensure_running()
    with TemporaryDirectory() as place:
        streams = [Path(place, name) for name in ("stdin", "stdout", "stderr")]
        for stream in streams:
            stream.write_text(stdin if stream.name == "stdin" else "", encoding="utf-8")
        process = _context.Process(target=_begin, args=(starter, arguments, environment, folder, streams), daemon=True)
        process.start()
        try:
            code = await _end(process.sentinel, process)
        finally:
            process.kill()
            process.join()
            process.close()
        _, out, err = (stream.read_text(encoding="utf-8") for stream in streams)
    return code, out, err


async def _end(sentinel: int, process: multiprocessing.process.BaseProcess) -> int:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(sentinel)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _begin(
    starter: Path, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, streams: Sequence[Path]
) -> None:
    """Act as `python starter.py` in the forked process."""
    gc.freeze()  # What is loaded stays; to look through it would copy the memory that it shares.
    for number, stream in enumerate(streams):
        os.dup2(os.open(stream, os.O_RDONLY if number == 0 else os.O_WRONLY), number)
    sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115 as long as the process
    sys.stdout = open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115 as long as the process
    sys.stderr = open(2, "w", buffering=1, closefd=False, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 as long as the process
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [str(starter), *arguments]
    runpy.run_path(str(starter), run_name="__main__")
