"""What an object in a store may be called: relative paths such as `manifests/ab12.jsonl`."""

import re

FOLDERS = ("submissions", "claims", "results", "manifests")
"""What we put things into; of a directory, each may be a link to another disk."""

MAX_PART_BYTES = 240
"""A file system takes 255; a local upload adds a few."""

STAGED = re.compile(r"#\d+$")
"""How obstore ends the name of a local file while it is being written."""


def checked_name(name: str) -> str:
    """The name, if it is one: parts between single slashes, none of them `.` or `..` or too long for a file system."""
    for part in name.split("/"):
        if part in ("", ".", "..") or len(part.encode(errors="replace")) > MAX_PART_BYTES or not part.isprintable():
            raise ValueError(f"not a name in the store: {name!r}")
        if "\\" in part or STAGED.search(part):
            raise ValueError(f"not a name in the store: {name!r} (no backslash, and no #1 at the end of a part)")
    return name


def is_name(name: str) -> bool:
    """Whether an object may have that name."""
    try:
        return bool(checked_name(name))
    except ValueError:
        return False
