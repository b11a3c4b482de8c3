"""What a store that fails is said to lack."""

import re

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
