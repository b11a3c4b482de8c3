"""The starter's output of texts from outside: only printable characters, and Rich's own styles."""

import io
import json

from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from message_batches.cli.screen import Screen, as_json
from tests.exhaustive.properties.lines import ODD

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202e\r\n\t\ud800"
ANY_TEXT = st.text() | st.lists(ODD | st.sampled_from(HOSTILE), max_size=20).map("".join)


def printed(shown: RenderableType, *, terminal: bool = False) -> str:
    file = io.StringIO()
    Screen(file=file, width=60, force_terminal=terminal, color_system="standard" if terminal else None).print(shown)
    return file.getvalue()


@given(text=ANY_TEXT)
@example(text=HOSTILE)
def test_no_control_sequence_is_printed_from_any_nesting_of_text(text: str) -> None:
    table = Table(title=text, caption=text)
    table.add_column(text, footer=text)
    table.add_row(Group(text, Text(text)))

    for shown in (text, Text(text, no_wrap=True, overflow="ignore"), table):
        assert all(each.isprintable() or each == "\n" for each in printed(shown))


def test_styles_stay_where_they_were() -> None:
    text = Text.assemble(("a\x1b", "red"), "b\x9b", ("c", "green"))

    assert printed(text, terminal=True) == "\x1b[31ma\\x1b\x1b[0mb\\x9b\x1b[32mc\x1b[0m\n"


@given(text=ANY_TEXT)
@example(text=HOSTILE)
def test_a_document_is_ascii_and_holds_the_text_as_it_was(text: str) -> None:
    document = as_json({text: [text]})

    assert all(" " <= each <= "~" or each == "\n" for each in document)
    assert json.loads(document) == {text: [text]}
