"""The emulator as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

COMMAND = [sys.executable, "-m", "message_batches.emulator"]


@contextmanager
def running_emulator(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start one on a free port; yield the process and the URL that it printed."""
    command = [*COMMAND, "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().removeprefix("Message Batches emulator listening on ").strip()
        finally:
            process.kill()
