"""How this command line was called, for the commands that it suggests."""

import os
import sys

from message_batches.settings import command_in_use


def called() -> str:
    """The words before a command's name, fit to be pasted into the same shell."""
    interpreter = min(sys.executable, os.path.relpath(sys.executable), key=len)
    return command_in_use() or f"{interpreter} {sys.argv[0]}"
