"""The names that an object in a store may have: relative paths such as `manifests/ab12.jsonl`."""

import re

MAX_PART_BYTES = 240
"""A file system allows 255 bytes; an unfinished upload adds a few."""

UPLOAD_SUFFIX = re.compile(r"#\d+$")
"""The end of the name of an unfinished upload to a directory, as obstore writes it too."""


def checked_name(name: str) -> str:
    """Return the name; `ValueError` unless it is a valid one.

    A valid name has parts between single slashes, none of them `.`, `..` or too long for a file system.
    """
    for part in name.split("/"):
        if part in ("", ".", "..") or len(part.encode(errors="replace")) > MAX_PART_BYTES or not part.isprintable():
            raise ValueError(f"not a name in the store: {name!r}")
        if "\\" in part or UPLOAD_SUFFIX.search(part):
            raise ValueError(f"not a name in the store: {name!r} (a part has a backslash, or ends in # and a number)")
    return name


def is_name(name: str) -> bool:
    """Return whether an object may have that name."""
    try:
        return bool(checked_name(name))
    except ValueError:
        return False
