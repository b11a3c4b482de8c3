"""The lines of a batch's results: plausible Messages, generated fast enough to benchmark clients."""

import base64
import json
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final

from message_batches.emulator.batches import Batch, BatchEnd, ResultType
from message_batches.emulator.errors import compact
from message_batches.emulator.identifiers import encode
from message_batches.emulator.prompt_parsing import CHARACTERS_PER_TOKEN, Prompt
from message_batches.emulator.schema_instances import instance_of

_OPENINGS = (
    "In short, it depends on what you weigh most.",
    "There are three things to look at here.",
    "The answer is easier to see with an example.",
    "It helps to start from what is known.",
    "Two readings are possible, and the first is the likelier.",
    "The evidence points one way, with a reservation.",
    "Taken step by step, this comes out clearly.",
)

# Nothing in these sentences needs escaping in JSON: any slice of them can be written as it is.
_SENTENCES = (
    "The first point carries most of the weight, and the others follow from it.",
    "What matters is less the number itself than how it changes from month to month.",
    "A small sample can mislead, so the figure should be read together with its range.",
    "Where both are possible, the simpler one is easier to explain and to maintain.",
    "This holds in most cases; the exceptions are listed at the end.",
    "Compared with the year before, the difference is modest but consistent.",
    "Before acting on it, it would be wise to check the two assumptions named above.",
    "The wording is friendly throughout, with one complaint about the delivery.",
    "None of this is new, but it has rarely been put so plainly.",
    "If time is short, the second option gives most of the benefit for half the effort.",
    "The costs fall early and the gains come late, which is why it looks worse than it is.",
)

_FILLER: Final = " ".join(_SENTENCES * 2)
_STARTS: Final = tuple(accumulate((len(sentence) + 1 for sentence in _SENTENCES * 2), initial=0))
_TAIL: Final = '"result":{"type":"'


class ReplyWriter:
    """A generator of the result lines of one batch that has ended, each the same at each call."""

    def __init__(self, batch: Batch, end: BatchEnd, reply_bytes: int = 0) -> None:
        self._batch = batch
        self._end = end
        self._reply_bytes = reply_bytes
        self._filler = _FILLER
        while len(self._filler) < reply_bytes + len(_FILLER):
            self._filler += " " + _FILLER
        self._quotes: dict[str, str] = {}

    def line(self, rank: int) -> str:
        """Return the line at a position in the batch's order, with its line feed."""
        batch = self._batch
        number = batch.order[rank]
        outcome = batch.outcome(rank, self._end)
        start = f'{{"custom_id":"{batch.requests[number].custom_id}",{_TAIL}{outcome}"'
        if outcome == ResultType.SUCCEEDED:
            return f'{start},"message":{self._message(number)}}}}}\n'
        if outcome == ResultType.ERRORED:
            return f'{start},"error":{self._error(number)}}}}}\n'
        return f"{start}}}}}\n"

    def _error(self, number: int) -> str:
        refusal = self._batch.refusal(number)
        error: dict[str, object] = {"type": refusal.type, "message": refusal.message}
        if not refusal.at_work:
            error["details"] = {"error_visibility": "user_facing"}
        request_id = f"workerreq_{self._id(number)}" if refusal.at_work else None
        return compact({"type": "error", "error": error, "request_id": request_id}).decode()

    def _message(self, number: int) -> str:
        request = self._batch.requests[number]
        prompt = request.prompt
        sequence, cited, category = None, None, None
        if prompt.tool is not None:
            content, length, stop = self._tool_use(number)
        else:
            text, length, stop = self._text(number) if prompt.schema is None else self._json(number)
            if prompt.stops and (stopped := _stopped(text, prompt.stops)):
                (text, length, sequence), stop = stopped, "stop_sequence"
            cited = prompt.citation if prompt.schema is None else None
            content = _text_blocks(text, 1, cited)
        ordered = self._batch.ordered(number)
        if ordered is not None:
            stop = ordered.stop_reason or stop
            sequence = sequence if stop == "stop_sequence" else None
            if stop == "refusal":
                content, length, category = "", 0, ordered.category
            elif prompt.tool is None:
                content = _text_blocks(text, ordered.blocks, cited)
        tokens, thinking_tokens, details = -(-length // CHARACTERS_PER_TOKEN), self._thinking_tokens(number), ""
        if thinking_tokens and stop != "refusal":
            content = ",".join(filter(None, (_json_text(self._thinking(number)), content)))
            tokens += thinking_tokens
            details = f'"output_tokens_details":{{"thinking_tokens":{thinking_tokens}}},'
        five, hour = (prompt.cache_written, 0) if prompt.cache_lifetime == "5m" else (0, prompt.cache_written)
        return (
            f'{{"model":{self._quoted(request.model)},"id":"msg_{self._id(number)}","type":"message","role":"assistant",'
            f'"content":[{content}],"stop_reason":{self._quoted(stop)},"stop_sequence":{json.dumps(sequence)},'
            f"{_stop_details(stop, category)}"
            f'"usage":{{"input_tokens":{prompt.input_tokens},"cache_creation_input_tokens":{prompt.cache_written},'
            f'"cache_read_input_tokens":{prompt.cache_read},'
            f'"cache_creation":{{"ephemeral_5m_input_tokens":{five},"ephemeral_1h_input_tokens":{hour}}},'
            f'"output_tokens":{tokens},{details}{_server_tools(prompt)}"service_tier":"batch",'
            f'"inference_geo":{self._quoted(prompt.inference_geo)}}}}}'
        )

    def _quoted(self, text: str) -> str:
        """Return a text of which there are few, as JSON."""
        found = self._quotes.get(text)
        if found is None:
            found = self._quotes[text] = json.dumps(text)
        return found

    def _room(self, number: int) -> int:
        """Return how many characters the answer may have after its thinking."""
        return (self._batch.requests[number].max_tokens - self._thinking_tokens(number)) * CHARACTERS_PER_TOKEN

    def _thinking_tokens(self, number: int) -> int:
        """Return the tokens of the thinking before the answer; a model does not think where little room is left."""
        request = self._batch.requests[number]
        if request.prompt.thinking is None:
            return 0
        tokens = -(-len(self._thoughts(number)) // CHARACTERS_PER_TOKEN)
        return tokens if 2 * tokens <= request.max_tokens else 0

    def _thoughts(self, number: int) -> str:
        prompt = self._batch.requests[number].prompt
        return f'The question is "{prompt.excerpt}". {_SENTENCES[prompt.digest // 32 % len(_SENTENCES)]}'

    def _thinking(self, number: int) -> dict[str, str]:
        """Return the block of thinking; what only the API can read has the look of its encrypted texts."""
        form = self._batch.requests[number].prompt.thinking
        sealed = base64.b64encode(f"thinking of {self._id(number)}, which the emulator made up".encode()).decode()
        if form == "redacted":
            return {"type": "redacted_thinking", "data": sealed}
        thoughts = self._thoughts(number) if form == "summarized" else ""
        return {"type": "thinking", "thinking": thoughts, "signature": sealed}

    def _tool_use(self, number: int) -> tuple[str, int, str]:
        """Return the block of a forced tool, its length in characters, and the stop reason."""
        request = self._batch.requests[number]
        answer = self._instance(number)
        room = self._room(number)
        fits = answer if isinstance(answer, dict) else {}
        whole = len(fits)
        # Out of tokens, the API returns the fields that were complete.
        while fits and len(_json_text(fits)) > room:
            fits.popitem()
        block = {"type": "tool_use", "id": f"toolu_{self._id(number)}", "name": request.prompt.tool, "input": fits}
        cut = len(fits) < whole
        return _json_text(block), room if cut else len(_json_text(fits)), "max_tokens" if cut else "tool_use"

    def _json(self, number: int) -> tuple[str, int, str]:
        """Return a reply that follows the schema asked for, as JSON within JSON."""
        text = _json_text(self._instance(number))
        room = self._room(number)
        kept = text[:room]
        return json.dumps(kept, ensure_ascii=False)[1:-1], len(kept), "end_turn" if kept == text else "max_tokens"

    def _instance(self, number: int) -> object:
        prompt = self._batch.requests[number].prompt
        about = f"{prompt.excerpt} ({prompt.digest:016x})"
        return instance_of(json.loads(prompt.schema or "{}"), self._batch.seed ^ prompt.digest, about)

    def _text(self, number: int) -> tuple[str, int, str]:
        """Return the reply's text as JSON, its length in characters, and its stop reason."""
        request = self._batch.requests[number]
        digest = request.prompt.digest
        opening = _OPENINGS[digest % len(_OPENINGS)]
        head = f'On "{request.prompt.excerpt}" (reference {digest:016x}): {opening} '
        place = digest // 16 % len(_SENTENCES)
        begin = _STARTS[place]
        if self._reply_bytes:
            wanted = max(0, self._reply_bytes - len(head))
        else:
            wanted = _STARTS[place + 2 + digest // 256 % 3] - 1 - begin
        room = self._room(number)
        length = len(head) + wanted
        if length <= room:
            return json.dumps(head, ensure_ascii=False)[1:-1] + self._filler[begin : begin + wanted], length, "end_turn"
        head = head[:room]
        rest = self._filler[begin : begin + room - len(head)]
        return json.dumps(head, ensure_ascii=False)[1:-1] + rest, room, "max_tokens"

    def _id(self, number: int) -> str:
        # Any odd factor spreads neighbours over all digits, and keeps them distinct.
        return encode((self._batch.seed << 64 | number) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)


def _stopped(text: str, stops: Sequence[str]) -> tuple[str, int, str] | None:
    """Return a text that is JSON already up to the first stop sequence, its length, and the sequence."""
    written = json.loads(f'"{text}"')
    found = [(place, stop) for stop in stops if (place := written.find(stop)) >= 0]
    if not found:
        return None
    place, stop = min(found)
    return json.dumps(written[:place], ensure_ascii=False)[1:-1], place, stop


def _text_blocks(text: str, number: int, cited: str | None = None) -> str:
    """Split a text that is JSON already into adjacent blocks; a sentence is split anywhere but within an escape.

    The last one has the citation: there are two at least where there is one.
    """
    if not text:
        return ""
    if cited is not None:
        return f'{_text_blocks(text, max(2, number))[:-1]},"citations":[{cited}]}}'
    if number == 1:
        return f'{{"type":"text","text":"{text}"}}'
    places = [len(text) * place // number for place in range(1, number)]
    cuts = [0, *(place for place in places if "\\" not in text[max(0, place - 6) : place]), len(text)]
    return ",".join(f'{{"type":"text","text":"{text[start:end]}"}}' for start, end in pairwise(cuts))


def _stop_details(stop: str, category: str | None) -> str:
    details = {"type": "refusal", "category": category, "explanation": None}
    return f'"stop_details":{_json_text(details)},' if stop == "refusal" else ""


def _server_tools(prompt: Prompt) -> str:
    calls = {"web_search_requests": prompt.searches, "web_fetch_requests": prompt.fetches}
    return f'"server_tool_use":{_json_text(calls)},' if any(calls.values()) else ""


def _json_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
