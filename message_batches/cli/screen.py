"""What the starter prints goes through here: a terminal is given nothing that it would obey, whoever wrote it."""

import json
import os
import sys
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Span, Text

from message_batches.formatting import visible
from message_batches.settings import command_in_use

_NOT_A_TERMINAL_WIDTH = 120


class Screen(Console):
    """A console that spells out what is not printable in texts; Rich drops five of these and lets ESC pass.

    Ids are their callers', messages the API's, answers the models'. Line ends stay, and so do Rich's own codes.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of whatever is printed, and in turn of what is in it: in the end it is all text."""
        text = self.render_str(renderable) if isinstance(renderable, str) else renderable
        return super().render(_spelled_out(text) if isinstance(text, Text) else text, options)


def screen(*, stderr: bool = False) -> Screen:
    """A console; away from a terminal its lines are as long as they are."""
    console = Screen(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _NOT_A_TERMINAL_WIDTH
    return console


def as_json(document: Any) -> str:
    """One JSON document, as it goes to standard output: in ASCII, all else escaped."""
    return json.dumps(document, indent=2, default=str)


def _spelled_out(text: Text) -> Text:
    spelled = [each if each == "\n" else visible(each) for each in text.plain]
    begins = [0, *accumulate(map(len, spelled))]
    shown = text.blank_copy("".join(spelled))
    shown.spans = [Span(begins[span.start], begins[span.end], span.style) for span in text.spans]
    return shown


def called() -> str:
    """The words before a command's name, fit to be pasted into the same shell."""
    interpreter = min(sys.executable, os.path.relpath(sys.executable), key=len)
    return command_in_use() or f"{interpreter} {sys.argv[0]}"
