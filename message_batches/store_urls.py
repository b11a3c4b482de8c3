"""What may be the URL of a store: it is shown, and goes into histories, so no secret may be in it."""

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
