"""The groups of objects that a purge keeps or removes as a whole: the parser that finds the group of an object.

Objects belong together in groups: a run (its intents and outcomes, the record of its first read), a batch of a key (its
claim and results), a manifest, a job (its plans, the records of its shards, its merged results), and each unfinished
upload. The store's id, the namespaces and the accounts are in no group and never purged; every other object in the
store is foreign and never touched. The layout is in `paths`.
"""

import re
from enum import IntEnum, StrEnum
from typing import NamedTuple

from message_batches.storage.names import UPLOAD_SUFFIX, is_name
from message_batches.storage.paths import JOBS, KEY, PLACE, UNVERIFIED, id_part, run_part


class ObjectCategory(StrEnum):
    """The heading under which an operator sees an object."""

    REQUESTS = "requests"
    RECORDS = "records"
    RESULTS = "results"
    LEFTOVERS = "broken-off uploads"
    OTHER = "other files"


class PathKind(IntEnum):
    """The kind of an object, in the order in which a purge removes them: an interrupted purge must not mislead a run.

    The record of a first read goes first: a run without it reads its file again. Then a landed shard: its record would
    name results that are gone. Then the plan, whose shards it counts by their numbers, and before the requests that it
    names: a job without a plan makes it again. An intent goes before its outcome: without the outcome, it would count
    as undecided for ever. Both go before the results: a batch that is recorded and has none would be adopted again. The
    publication goes before the file that it names; the claim goes after them, since it shows that they are a batch's.
    Requests go before their ids: a run that has not sent them yet must notice before it submits.
    """

    FIRST_READ = 0
    SHARD = 1
    PLAN = 2
    INTENT = 3
    OUTCOME = 4
    PUBLICATION = 5
    RESULTS = 6
    CLAIM = 7
    REQUESTS = 8
    IDS = 9
    LEFTOVER = 10

    @property
    def category(self) -> ObjectCategory:
        """The category that it is counted in."""
        match self:
            case PathKind.FIRST_READ | PathKind.SHARD | PathKind.PLAN:
                return ObjectCategory.RECORDS
            case PathKind.INTENT | PathKind.OUTCOME | PathKind.CLAIM:
                return ObjectCategory.RECORDS
            case PathKind.PUBLICATION | PathKind.RESULTS:
                return ObjectCategory.RESULTS
            case PathKind.REQUESTS | PathKind.IDS:
                return ObjectCategory.REQUESTS
            case PathKind.LEFTOVER:
                return ObjectCategory.LEFTOVERS


class GroupKey(NamedTuple):
    """The name of a group of objects; `group` is `run`, `batch`, `manifest`, `job` or `leftover`."""

    group: str
    name: str

    @classmethod
    def of_run(cls, workflow_id: str, first_run_id: str) -> "GroupKey":
        """Return the key of a run, over its chain."""
        return cls("run", run_part(workflow_id, first_run_id))

    @classmethod
    def of_batch(cls, api_key: str, batch_id: str) -> "GroupKey":
        """Return the key of a batch of an API key, wherever that is used."""
        return cls("batch", f"{api_key}/{id_part(batch_id)}")

    @classmethod
    def of_job(cls, workflow_id: str) -> "GroupKey":
        """Return the key of a job, whatever its requests."""
        return cls("job", id_part(workflow_id))

    @classmethod
    def of_manifest(cls, sha256: str) -> "GroupKey":
        """Return the key of a manifest."""
        return cls("manifest", sha256)


class ParsedPath(NamedTuple):
    """The group of an object, its kind, and the manifest that a publication was checked against."""

    key: GroupKey
    kind: PathKind
    manifest: GroupKey | None = None


_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_SHA256 = "[0-9a-f]{64}"

_LAYOUT = re.compile(
    rf"submissions/[^/]+/\d+-{_SHA256}/(?P<run>[^/]+)-\d+(?P<outcome>\.outcome)?\.json"
    rf"|claims/(?P<claims_key>{KEY})-{PLACE}/(?P<claimed>[^/]+)\.json"
    rf"|results/(?P<results_key>{KEY})-(?P<results_place>{PLACE})/(?P<batch>[^/]+)"
    rf"/(?:(?:incomplete-)?{_UUID}\.jsonl|(?P<published>{_SHA256}|{UNVERIFIED})\.json)"
    rf"|manifests/(?P<reader>[^/]+-{_UUID})\.json"
    rf"|manifests/(?P<requests>{_SHA256})\.(?:jsonl|(?P<ids>ids))"
    rf"|{JOBS}/(?P<job>[^/]+)-[0-9a-f]{{16}}/(?:(?P<plan>\d+\.plan)|(?P<shard>\d+-\d+\.json)"
    rf"|(?P<merged>{_SHA256}\.json)|{_UUID}\.(?:jsonl|shards))"
)


def parse_path(path: str) -> ParsedPath | None:
    """Parse the path of an object; None if it is foreign, or not of any group."""
    whole = UPLOAD_SUFFIX.sub("", path)
    found = _LAYOUT.fullmatch(whole)
    if found is None or not is_name(whole):
        return None
    if whole != path:
        return ParsedPath(GroupKey("leftover", path), PathKind.LEFTOVER)
    if run := found["run"]:
        return ParsedPath(GroupKey("run", run), PathKind.OUTCOME if found["outcome"] else PathKind.INTENT)
    if reader := found["reader"]:
        return ParsedPath(GroupKey("run", reader), PathKind.FIRST_READ)
    if batch := found["claimed"]:
        return ParsedPath(GroupKey("batch", f"{found['claims_key']}/{batch}"), PathKind.CLAIM)
    if sha256 := found["requests"]:
        return ParsedPath(GroupKey.of_manifest(sha256), PathKind.IDS if found["ids"] else PathKind.REQUESTS)
    if job := found["job"]:
        return ParsedPath(GroupKey("job", job), _kind_of_job(found))
    key = GroupKey("batch", f"{found['results_key']}/{found['batch']}")
    if not (published := found["published"]):
        return ParsedPath(key, PathKind.RESULTS)
    checked_against = None if published == UNVERIFIED else GroupKey.of_manifest(published)
    return ParsedPath(key, PathKind.PUBLICATION, checked_against)


def _kind_of_job(found: re.Match[str]) -> PathKind:
    kinds = {"plan": PathKind.PLAN, "shard": PathKind.SHARD, "merged": PathKind.PUBLICATION}
    return next((kind for name, kind in kinds.items() if found[name]), PathKind.RESULTS)


def batch_of(key: GroupKey) -> GroupKey | None:
    """Return the batch that a key names, or that an unfinished upload was for."""
    if key.group == "leftover":
        upload = parse_path(UPLOAD_SUFFIX.sub("", key.name))
        return batch_of(upload.key) if upload else None
    return key if key.group == "batch" else None


def manifest_at(uri: str) -> GroupKey | None:
    """Return the manifest whose requests are at an address, None for any other address."""
    found = parse_path("/".join(uri.rsplit("/", 2)[-2:]))
    return found.key if found and found.kind is PathKind.REQUESTS else None


def batch_at(uri: str) -> GroupKey | None:
    """Return the batch whose results are at an address, None for any other address."""
    found = parse_path("/".join(uri.rsplit("/", 4)[-4:]))
    return found.key if found and found.kind is PathKind.RESULTS else None


def manifest_sha256_of(publication: str) -> str | None:
    """Return the sha256 of the manifest that the publication at a path was checked against."""
    found = parse_path(publication)
    return found.manifest.name if found and found.manifest else None


def claimed_results(claim: str) -> str | None:
    """Build the folder of the results of a batch from the path of the claim on it; None for any other path."""
    found = _LAYOUT.fullmatch(claim)
    return f"results/{claim.split('/')[1]}/{found['claimed']}" if found and found["claimed"] else None


def account_of_results(name: str) -> str | None:
    """Return the account in the name of an object with results; None for any other name."""
    found = _LAYOUT.fullmatch(name)
    return f"{found['results_key']}-{found['results_place']}" if found and found["batch"] else None
