"""Pages of a list, newest first, with the API's cursors."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from message_batches.emulator.errors import ErrorReply, invalid
from message_batches.emulator.options import UndocumentedBehaviour

_PAGE, _MOST = 20, 1_000
_T = TypeVar("_T")


def page(
    listed: Sequence[_T],
    id_of: Callable[[_T], str],
    query: Mapping[str, str],
    undocumented: UndocumentedBehaviour,
    *,
    kind: str,
) -> tuple[Sequence[_T], dict[str, object]]:
    """Return the items of the page that a query asks for, and the fields that go with them."""
    limit = _limit(query.get("limit"), undocumented)
    items, has_more = _cut(listed, id_of, limit, query, undocumented, kind)
    return items, {
        "has_more": has_more,
        "first_id": id_of(items[0]) if items else None,
        "last_id": id_of(items[-1]) if items else None,
    }


def _cut(
    listed: Sequence[_T],
    id_of: Callable[[_T], str],
    limit: int,
    query: Mapping[str, str],
    undocumented: UndocumentedBehaviour,
    kind: str,
) -> tuple[Sequence[_T], bool]:
    after_id, before_id = query.get("after_id"), query.get("before_id")
    if after_id and before_id and undocumented.both_cursors != 200:
        raise ErrorReply(undocumented.both_cursors, "before_id: only one of after_id and before_id may be given")
    cursor = after_id or before_id
    if not cursor:
        return listed[:limit], len(listed) > limit
    place = next((place for place, item in enumerate(listed) if id_of(item) == cursor), None)
    if place is None:
        if undocumented.unknown_cursor != 200:
            name = "after_id" if after_id else "before_id"
            raise ErrorReply(undocumented.unknown_cursor, f"{name}: {kind} {cursor} not found.")
        return [], False
    rest = listed[place + 1 :] if after_id else listed[:place]
    # The page right before the cursor has the last of those before it.
    return rest[:limit] if after_id else rest[-limit:], len(rest) > limit


def _limit(given: str | None, undocumented: UndocumentedBehaviour) -> int:
    if given is None:
        return _PAGE
    try:
        limit = int(given)
    except ValueError:
        raise invalid("limit: Input should be a valid integer, unable to parse string as an integer") from None
    if not 1 <= limit <= _MOST and undocumented.limit_out_of_range != 200:
        bound = "greater than or equal to 1" if limit < 1 else f"less than or equal to {_MOST}"
        raise ErrorReply(undocumented.limit_out_of_range, f"limit: Input should be {bound}")
    return min(max(limit, 1), _MOST)
