"""Lines as users and models write them: with every character that some reader takes for a line end, and worse."""

import json
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

# Characters that line splitters and decoders get wrong: Unicode's line separators, a BOM, NUL, half a surrogate pair.
ODD = st.sampled_from(
    ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r\n", "\r", "\n", "\ufeff", "\0", '"', "\\"]
)
TEXT = st.lists(ODD | st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=4).map("".join)
SURROGATES = st.sampled_from([r"\ud83d", r"\ude00x", r"\ud83d\ud83d"])

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(10**400)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
IDS = st.text("abzABZ019_-", min_size=1, max_size=64)
BLANKS = st.sampled_from([b"", b" ", b"\t", b"\r", b" \r"])


@st.composite
def requests(draw: st.DrawFn, custom_id: str) -> dict[str, Any]:
    """Generate a request with anything in its params."""
    return {"custom_id": custom_id, "params": draw(st.dictionaries(TEXT, VALUES, max_size=3))}


@st.composite
def results(draw: st.DrawFn, custom_id: str) -> bytes:
    """Generate a result line of any kind, spaced and escaped in any way, without its newline."""
    text = json.dumps(draw(TEXT), ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 4)) == 0:
        text = f'"{draw(SURROGATES)}"'
    deep = draw(st.sampled_from([0, 0, 0, 3, 150, 300, 1500]))
    content = "[" * deep + text + "]" * deep
    tokens = draw(st.integers(0, 10**6))
    result = draw(
        st.sampled_from(
            [
                f'{{"type":"succeeded","message":{{"model":"m","content":{content},"usage":{{"output_tokens":{tokens}}}}}}}',
                f'{{"type":"errored","error":{{"type":"error","error":{{"type":"api_error","message":{text}}}}}}}',
                '{"type":"canceled"}',
                f'{{"type":"expired","x":{content}}}',
                f'{{"type":{text}}}',
            ]
        )
    )
    space = draw(st.sampled_from(["", " ", "\t", "\r"]))
    members = [f'"custom_id"{space}:{json.dumps(custom_id)}', f'"result":{space}{result}']
    line = "{" + f"{space},".join(draw(st.permutations(members))) + "}" + space
    return line.encode()


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Cut the bytes anywhere; some pieces are empty."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[start:end] for start, end in pairwise([0, *places, len(data)])]
