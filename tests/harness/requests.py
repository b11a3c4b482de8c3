"""Requests of batches."""

from typing import Any
from uuid import uuid4

TOO_LARGE = [
    {"custom_id": f"r-{n}", "params": {"model": "claude-sonnet-5", "max_tokens": 1, "messages": [], "x": "y" * 600}}
    for n in range(1000)
]
"""More than fits into the input of a workflow."""


def request(custom_id: str, text: str = "Say hello", **params: Any) -> dict[str, Any]:
    """Return one request that succeeds."""
    asked = {"model": "claude-sonnet-5", "max_tokens": 256, "messages": [{"role": "user", "content": text}]}
    return {"custom_id": custom_id, "params": asked | params}


def requests(count: int = 3, text: str = "Say hello") -> list[dict[str, Any]]:
    """Return requests that succeed; the same arguments give the same content, which is the same run."""
    return [request(f"request-{number:04}", f"{text} {number}") for number in range(count)]


def fresh(count: int = 3) -> list[dict[str, Any]]:
    """Return requests that succeed, with a content that no other test has."""
    return requests(count, f"Say hello to {uuid4()}")


def mixed() -> list[dict[str, Any]]:
    """Return four requests; one has an unknown model, one lacks its messages."""
    made = fresh(4)
    made[1]["params"]["model"] = "claude-does-not-exist-9"
    del made[2]["params"]["messages"]
    return made
