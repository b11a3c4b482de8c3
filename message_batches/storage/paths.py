"""Where the objects of a run are in a store, by their names.

    a run        its intents and outcomes   submissions/<key>/<count>-<hash>/<run>-<n>.json, ....outcome.json
    a batch      its claim and results      claims/<batch>.json, results/<batch>/...
    requests     a manifest                 manifests/<sha256>.jsonl, <sha256>.ids
    a leftover   a broken-off upload        any of these names with #<n> behind it, in a directory

Everything else in the store is somebody else's.
"""

import re
from enum import IntEnum, StrEnum
from typing import NamedTuple
from urllib.parse import unquote

from message_batches.storage.names import STAGED, is_name
from message_batches.storage.submission_records import file_part, run_part


class Kind(StrEnum):
    """What an object is to a person."""

    REQUESTS = "requests"
    RECORDS = "records"
    RESULTS = "results"
    LEFTOVERS = "broken-off uploads"
    OTHER = "other files"


class Step(IntEnum):
    """What an object is to its run, in the order in which they go: a purge that breaks off must not mislead.

    An intent goes before its outcome: without it, it would count as undecided for ever. Both go before the results: a
    batch that is known and has none would be taken over again. The publication goes before the file that it names; the
    claim after them, since it tells that they are a batch's. Requests go before their ids: a run that has yet to send
    them shall notice before it buys.
    """

    INTENT = 0
    OUTCOME = 1
    PUBLICATION = 2
    RESULTS = 3
    CLAIM = 4
    REQUESTS = 5
    IDS = 6
    LEFTOVER = 7

    @property
    def kind(self) -> Kind:
        """Under what it is counted."""
        match self:
            case Step.INTENT | Step.OUTCOME | Step.CLAIM:
                return Kind.RECORDS
            case Step.PUBLICATION | Step.RESULTS:
                return Kind.RESULTS
            case Step.REQUESTS | Step.IDS:
                return Kind.REQUESTS
            case Step.LEFTOVER:
                return Kind.LEFTOVERS


class Key(NamedTuple):
    """What names a `run`, a `batch`, a `manifest` or a `leftover`."""

    what: str
    name: str

    @classmethod
    def of_run(cls, workflow_id: str, first_run_id: str) -> "Key":
        """A run, over its chain."""
        return cls("run", run_part(workflow_id, first_run_id))

    @classmethod
    def of_batch(cls, batch_id: str) -> "Key":
        """A batch."""
        return cls("batch", file_part(batch_id))

    @classmethod
    def of_manifest(cls, sha256: str) -> "Key":
        """Requests."""
        return cls("manifest", sha256)


class Place(NamedTuple):
    """To what an object belongs, and as what; `manifest` is what results say that they were checked against."""

    key: Key
    step: Step
    manifest: Key | None = None


_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

_SHA256 = "[0-9a-f]{64}"

_LAYOUT = re.compile(
    rf"submissions/[^/]+/\d+-{_SHA256}/(?P<run>[^/]+)-\d+(?P<outcome>\.outcome)?\.json"
    r"|claims/(?P<claimed>[^/]+)\.json"
    rf"|results/(?P<batch>[^/]+)/(?:(?:incomplete-)?{_UUID}\.jsonl|(?P<published>{_SHA256}|unverified)\.json)"
    rf"|manifests/(?P<requests>{_SHA256})\.(?:jsonl|(?P<ids>ids))"
)


def place(name: str) -> Place | None:
    """Where an object belongs; None if it is somebody else's."""
    whole = STAGED.sub("", name)
    found = _LAYOUT.fullmatch(whole)
    if found is None or not is_name(whole):
        return None
    if whole != name:
        return Place(Key("leftover", name), Step.LEFTOVER)
    if run := found["run"]:
        return Place(Key("run", run), Step.OUTCOME if found["outcome"] else Step.INTENT)
    if batch := found["claimed"]:
        return Place(Key("batch", batch), Step.CLAIM)
    if sha256 := found["requests"]:
        return Place(Key.of_manifest(sha256), Step.IDS if found["ids"] else Step.REQUESTS)
    batch_key = Key.of_batch(unquote(found["batch"]))
    if not name.endswith(".json"):
        return Place(batch_key, Step.RESULTS)
    published = found["published"]
    return Place(batch_key, Step.PUBLICATION, Key.of_manifest(published) if len(published) == 64 else None)


def batch_of(key: Key) -> Key | None:
    """The batch that it is, or that a broken-off upload was for."""
    if key.what == "leftover":
        upload = place(STAGED.sub("", key.name))
        return batch_of(upload.key) if upload else None
    return key if key.what == "batch" else None


def manifest_at(uri: str) -> Key | None:
    """The manifest that is at an address, if that is of one."""
    found = place("/".join(uri.rsplit("/", 2)[-2:]))
    return found.key if found and found.step is Step.REQUESTS else None
