"""How deep values of JSON are nested: what one reader takes, the next may not."""

from typing import Any

MAX_INLINE_DEPTH = 100
"""Levels that travel in a payload: its readers refuse 200, and it may be an item of what a caller makes of it."""


def nested_deeper(value: Any, levels: int) -> bool:
    """Whether arrays and objects stand in each other more than so many times."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [inner for outer in layer for inner in _inside(outer)]
        if not layer:
            return False
    return True


def _inside(value: Any) -> list[Any]:
    """What is directly in an array or an object; of an empty one, something all the same."""
    if isinstance(value, dict):
        return list(value.values()) or [None]
    if isinstance(value, list):
        return value or [None]
    return []
