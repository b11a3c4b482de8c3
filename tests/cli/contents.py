"""Requests of which no other test has the like: the same content is the same run, for all who share a server."""

from typing import Any
from uuid import uuid4

from tests.rig import requests


def fresh(count: int = 3) -> list[dict[str, Any]]:
    """Requests that succeed."""
    return requests(count, f"Say hello to {uuid4()}")


def mixed() -> list[dict[str, Any]]:
    """Four requests; one has an unknown model, one lacks its messages."""
    made = fresh(4)
    made[1]["params"]["model"] = "claude-does-not-exist-9"
    del made[2]["params"]["messages"]
    return made
