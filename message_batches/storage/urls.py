"""The URLs of stores and of their proxies."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from message_batches.errors import MessageBatchesError

SCHEMES = ("file", "s3", "gs", "az")
_CREDENTIALS = "set the credentials of an object store in AWS_*, GOOGLE_* or AZURE_* variables"


class InvalidStoreUrl(MessageBatchesError, ValueError):
    """A URL is not that of a store; it is not repeated if a secret may be in it."""


def directory_of(url: str) -> Path | None:
    """Return the directory of a store's URL, None for a bucket; `InvalidStoreUrl` for any other URL."""
    try:
        split = urlsplit(url)
    except ValueError as error:
        raise InvalidStoreUrl("MESSAGE_BATCHES_STORE is not valid: expected a URL") from error
    if split.scheme not in SCHEMES or split.query or split.fragment:
        raise InvalidStoreUrl(
            "MESSAGE_BATCHES_STORE is not valid: expected file:///path, s3://bucket/prefix, gs://bucket/prefix or "
            f"az://container/prefix, without ? and #; {_CREDENTIALS}"
        )
    if split.scheme != "file":
        # A secret may contain a slash, so that its end looks like a path.
        if re.search("[@:]", split.netloc):
            raise InvalidStoreUrl(
                f"MESSAGE_BATCHES_STORE is not valid: expected no user and no secret before the bucket; {_CREDENTIALS}"
            )
        return None
    folder = Path(unquote(split.path))
    if split.netloc not in ("", "localhost") or not folder.is_absolute() or ".." in folder.parts:
        raise InvalidStoreUrl(
            "MESSAGE_BATCHES_STORE is not valid: expected a directory as file:///path, with three slashes"
        )
    return folder


def shown_proxy(client_options: Mapping[str, Any]) -> str:
    """Return the proxy of a bucket without its password; empty without one."""
    if client_options.get("proxy_excludes", "").startswith("*"):
        return ""
    return re.sub(r"(?<=//)[^/]*@", "", client_options.get("proxy_url", ""))
