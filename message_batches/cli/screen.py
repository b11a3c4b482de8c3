"""The consoles of the command line: no text from elsewhere reaches a terminal as a control sequence."""

import json
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Span, Text

from message_batches.formatting import escape_unprintable

_NOT_A_TERMINAL_WIDTH = 120


class Screen(Console):
    """A console that spells out unprintable characters in texts; Rich drops five of these and lets ESC pass.

    Ids are from callers, messages from the API, replies from models. Line ends stay, and so do Rich's own codes.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object, and in turn the objects in it: in the end all of it is text."""
        text = self.render_str(renderable) if isinstance(renderable, str) else renderable
        return super().render(_spelled_out(text) if isinstance(text, Text) else text, options)

    def on_broken_pipe(self) -> None:
        """Print no more, since the reader has closed the output; Rich's own would end the program as failed."""
        self.quiet = True


def screen(*, stderr: bool = False) -> Screen:
    """Return a console; without a terminal its lines are not cut."""
    console = Screen(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _NOT_A_TERMINAL_WIDTH
    return console


def as_json(document: Any) -> str:
    """Return one JSON document for standard output: in ASCII, all else escaped."""
    return json.dumps(document, indent=2, default=str)


def _spelled_out(text: Text) -> Text:
    spelled = [each if each == "\n" else escape_unprintable(each) for each in text.plain]
    begins = [0, *accumulate(map(len, spelled))]
    shown = text.blank_copy("".join(spelled))
    shown.spans = [Span(begins[span.start], begins[span.end], span.style) for span in text.spans]
    return shown
