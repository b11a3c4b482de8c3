"""A store's failures in our words: a library's repeat answers, and some servers repeat what they were sent."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import AlreadyExistsError, BaseError

_FULL = re.compile(r"(?:os error |Errno )(?:28|122)\b|StorageFull|QuotaExceeded")


def failure_message(doing: str, uri: str, reason: str) -> str:
    """Describe a call that failed for this reason, and what to do."""
    if _FULL.search(reason):
        return f"The store is full and cannot {doing} {uri}: free space there ({first_line(reason)})"
    return f"The store cannot {doing} {uri}: check its address and credentials ({first_line(reason)})"


_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|specified (?:bucket|container) does not exist")
# At the beginning, where no answer's text can be.
_SERVER = re.compile(
    r"Generic \w+ error: (?:Error performing list request: )?Error performing [A-Z]+ (https?://)(?:[^\s/?#]*@)?([^\s/?#@]+)"
)
_STATUS = re.compile(r"status code: (\d{3})\b")
# With a small letter, as in AccessDenied: no id of a key is like that.
_CODE = re.compile(r"<Code>([A-Z]+[a-z][A-Za-z]{1,60})</Code>")
_OS_ERROR = re.compile(r"\bOs \{\s*code: (\d{1,3}),")
_KNOWN = {
    "dns error": "its host name is not known",
    "kind: Timeout": "no answer in time",
    "IncompleteMessage": "the connection ended without an answer",
    "ertificate": "its certificate is not trusted",
    "InvalidContentType": "it does not speak TLS",
    "redirect": "it redirects: check the region",
    "redential": "the credentials cannot be used",
}
"""Words in a library's error, and ours for it."""


@contextmanager
def bucket_errors() -> Iterator[None]:
    """Raise errors of obstore as an `OSError` in our words, without its own as the cause, which logs would show."""
    try:
        yield
    except AlreadyExistsError:
        raise FileExistsError from None
    except FileNotFoundError as error:
        kind = OSError if _NO_BUCKET.search(str(error)) else FileNotFoundError
        raise kind(_reason(error)) from None
    except BaseError as error:
        raise OSError(_reason(error)) from None
    except BaseException as error:
        # A panic is no `Exception`: an answer or a setting that causes one would end the process.
        if type(error).__name__ != "PanicException":
            raise
        raise OSError("the address, the credentials or an answer cannot be used") from None


def _reason(error: Exception) -> str:
    """Return the status and the code of an answer, or how the connection ended."""
    text = str(error)
    server = _SERVER.match(text)
    status = _STATUS.search(text)
    if status:
        code = _CODE.search(text, status.end())
        reason = f"{status[1]} {code[1]}" if code else status[1]
    elif number := _OS_ERROR.search(text):
        reason = os.strerror(int(number[1]))
    else:
        known = (ours for theirs, ours in _KNOWN.items() if theirs in text)
        reason = next(known, f"an answer that cannot be read, {type(error).__name__}")
    return f"{reason}, from {server[1]}{server[2]}" if server else reason


def first_line(text: str) -> str:
    """Return the first line of an error's text, without any secrets in URLs, at most 300 characters."""
    # A signed URL has its secret in the query, that of an endpoint or a proxy before the host.
    return re.sub(r"\?\S*|(?<=//)[^\s/]*@", "", text.split("\n", 1)[0])[:300]
