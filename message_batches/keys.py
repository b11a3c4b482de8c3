"""What may be the name of a key; a key itself never is."""

import re

from message_batches.errors import UnknownKey

KEY_NAME = re.compile(r"(?!sk-)[a-z0-9-]{1,32}")


def may_be_a_key(text: str) -> bool:
    """Whether a text begins as the API's keys do."""
    return text.lstrip().startswith("sk-")


def no_key(text: str) -> str:
    """The text; `ValueError`, which does not repeat it, if it may be a key in the wrong place."""
    if may_be_a_key(text):
        raise ValueError("what begins with sk- may be a key, and does not belong here. If it is one, rotate it")
    return text


def check_key_name(name: str) -> None:
    """Raise `UnknownKey` unless the text can be a key's name; the text is not repeated, it may be a key."""
    if not KEY_NAME.fullmatch(name):
        raise UnknownKey(
            "apiKey must be the name of a key that the worker holds (lower-case letters, digits, '-', at most 32), "
            "never a key. If a key was passed, it is now readable in this run's start event: rotate it. "
            "Nothing was sent."
        )
