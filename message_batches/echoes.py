"""A key in what answers a call: some gateways repeat it, and what an answer says goes into histories and logs."""

import re

INSTEAD = b"[API key]"
SHORTEST = 8
"""Characters of a key; fewer are no secret, and stand in words that an answer must keep."""


def without(key: str, answer: bytes) -> bytes:
    """The answer with another text in the place of the key, also where JSON escapes some of its characters."""
    if len(key) < SHORTEST:
        return answer
    spelled = "".join(rf"(?:{re.escape(each)}|\\u(?i:{ord(each):04x})|\\{re.escape(each)})" for each in key)
    return re.sub(spelled.encode(), INSTEAD, answer)
