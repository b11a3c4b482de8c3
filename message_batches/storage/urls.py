"""The addresses of stores, and what a store's failure says."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from message_batches.errors import MessageBatchesError

SCHEMES = ("file", "s3", "gs", "az")

_CREDENTIALS = "what an object store asks for goes into AWS_*, GOOGLE_* or AZURE_* variables"


class BadStoreUrl(MessageBatchesError, ValueError):
    """A URL that names no store; it is not repeated where a secret may be in it."""


def folder_at(url: str) -> Path | None:
    """The directory that a store's URL names, None for a bucket; `BadStoreUrl` if it names neither."""
    try:
        split = urlsplit(url)
    except ValueError as error:
        raise BadStoreUrl("MESSAGE_BATCHES_STORE is no store: it is no URL") from error
    if split.scheme not in SCHEMES or split.query or split.fragment:
        raise BadStoreUrl(
            "MESSAGE_BATCHES_STORE is no store: file:///path, s3://bucket/prefix, gs://bucket/prefix or "
            f"az://container/prefix is expected, without ? and #; {_CREDENTIALS}"
        )
    if split.scheme != "file":
        # A secret may have a slash in it, and end in what looks like a path.
        if re.search("[@:]", split.netloc):
            raise BadStoreUrl(
                f"MESSAGE_BATCHES_STORE is no store: no user and no secret stand before the bucket; {_CREDENTIALS}"
            )
        return None
    folder = Path(unquote(split.path))
    if split.netloc not in ("", "localhost") or not folder.is_absolute() or ".." in folder.parts:
        raise BadStoreUrl("MESSAGE_BATCHES_STORE is no store: a directory is written file:///path, with three slashes")
    return folder


_FULL = re.compile(r"(?:os error |Errno )(?:28|122)\b|StorageFull|QuotaExceeded")


def store_failure(doing: str, uri: str, text: str) -> str:
    """The sentence for a call that failed with this text."""
    if _FULL.search(text):
        return f"The store is full, cannot {doing} {uri}: free space there ({first_line(text)})"
    return f"The store does not answer, cannot {doing} {uri}: check its address and credentials ({first_line(text)})"


def first_line(text: str) -> str:
    """The first line of an error's text, at most 300 characters."""
    # A signed address carries its secret in the query, that of an endpoint or a proxy before the host.
    return re.sub(r"\?\S*|(?<=//)[^\s/]*@", "", text.split("\n", 1)[0])[:300]
