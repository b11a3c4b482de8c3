"""Every path in the store: its builders, and the parser that finds the group of an object.

    store.json                                               the store's own id
    namespaces/<namespace id>.json                           a Temporal namespace whose workers use this store
    submissions/<key>/<count>-<hash>/<run>-<n>.json          an intent to POST; the hash is of the sorted custom_ids
    submissions/<key>/<count>-<hash>/<run>-<n>.outcome.json  the outcome of that POST
    accounts/<account>.json                                  a key's name, and where the key is used
    claims/<account>/<batch>.json                            the run that owns a batch
    results/<account>/<batch>/<attempt>.jsonl                result lines, in the order of the requests
    results/<account>/<batch>/incomplete-<attempt>.jsonl     the lines that did arrive of incomplete results
    results/<account>/<batch>/<sha256 of manifest>.json      the publication: which attempt holds the results
    results/<account>/<batch>/unverified.json                the publication where the requests are not known
    manifests/<sha256>.jsonl, <sha256>.ids                   requests, and their custom_ids
    any of them with #<n> after it                           an unfinished upload, in a directory

A batch is named by its account first, `<key>-<hash of where it is used>`: what the server of one key says of a batch id
is nothing to another key.

Objects belong together in groups, which are purged as a whole: a run (its intents and outcomes), a batch of a key (its
claim and results), a manifest, and each unfinished upload. The store's id, the namespaces and the accounts are in no
group and never purged; every other object in the store is foreign and never touched.
"""

import hashlib
import re
from collections.abc import Iterable
from enum import IntEnum, StrEnum
from typing import NamedTuple
from urllib.parse import quote
from uuid import uuid4

from message_batches.storage.names import UPLOAD_SUFFIX, is_name

SUBMISSIONS = "submissions"
FOLDERS = (SUBMISSIONS, "claims", "results", "manifests")
"""The folders of groups; in a directory, each may be a link to another disk."""

NAMESPACES = "namespaces"
ACCOUNTS = "accounts"
STORE_ID = "store.json"
_UNVERIFIED = "unverified"
_PLAIN_BYTES = 100
"""The longest id that is a part of a path as it is."""


def id_part(identity: str) -> str:
    """Encode the id of a workflow or a batch as part of a path: longer than 100 or with other characters, as a hash."""
    encoded = quote(identity, safe="")
    if encoded == identity and len(encoded) <= _PLAIN_BYTES:
        return encoded
    return f"{encoded[:60].replace('%', '_')}-{hashlib.sha256(identity.encode()).hexdigest()}"


def run_part(workflow_id: str, first_run_id: str) -> str:
    """Build the part of a path that names a run over its resets, retries and continue-as-new."""
    return f"{id_part(workflow_id)}-{first_run_id}"


def submissions_folder(api_key: str, count: int, ids_sha256: str) -> str:
    """Build the folder of all POSTs of the same custom_ids under one key."""
    return f"{SUBMISSIONS}/{api_key}/{count}-{ids_sha256}"


def intent_path(folder: str, run: str, number: int) -> str:
    """Build the path of an intent to POST from its folder and its `run_part`."""
    return f"{folder}/{run}-{number}.json"


def outcome_path(intent: str) -> str:
    """Build the path of an outcome from that of its intent."""
    return f"{intent.removesuffix('.json')}.outcome.json"


def intents_among(paths: Iterable[str], workflow_ids: Iterable[str] | None = None) -> list[str]:
    """Select the intents among the paths of records; with workflow ids, those that may be of one of them."""
    starts = ("",) if workflow_ids is None else tuple(f"{id_part(workflow_id)}-" for workflow_id in workflow_ids)
    intents = (path for path in paths if path.endswith(".json") and not path.endswith(".outcome.json"))
    return [path for path in intents if path.rsplit("/", 1)[-1].startswith(starts)]


def key_of_intent(path: str) -> str:
    """Return the name of the key in the path of an intent."""
    return path.split("/")[1]


def account_path(account: str) -> str:
    """Build the path of the record of an account."""
    return f"{ACCOUNTS}/{account}.json"


def accounts_among(paths: Iterable[str]) -> list[str]:
    """Return the paths of the records of accounts, sorted; others there are foreign."""
    return sorted(path for path in paths if _ACCOUNT.fullmatch(path))


def key_of(account: str) -> str:
    """Return the name of the key in the part of a path that names an account."""
    return account.rpartition("-")[0]


def claims_folder(account: str) -> str:
    """Build the folder of the claims on an account's batches."""
    return f"claims/{account}"


def claim_path(account: str, batch_id: str) -> str:
    """Build the path of the claim on a batch."""
    return f"{claims_folder(account)}/{id_part(batch_id)}.json"


def claimed_batch(path: str) -> str:
    """Return the batch in the path of a claim: its id, unless that is so long that the path has a hash."""
    return path.rsplit("/", 1)[-1].removesuffix(".json")


def claimed_results(claim: str) -> str | None:
    """Build the folder of the results of a batch from the path of the claim on it; None for any other path."""
    found = _LAYOUT.fullmatch(claim)
    return f"results/{claim.split('/')[1]}/{found['claimed']}" if found and found["claimed"] else None


def results_folder(account: str, batch_id: str) -> str:
    """Build the folder of a batch's results."""
    return f"results/{account}/{id_part(batch_id)}"


def account_of_results(name: str) -> str | None:
    """Return the account in the name of an object with results; None for any other name."""
    found = _LAYOUT.fullmatch(name)
    return f"{found['results_key']}-{found['results_place']}" if found and found["batch"] else None


def new_results_path(account: str, batch_id: str, *, incomplete: bool = False) -> str:
    """Build a path for the result lines of a new attempt."""
    return f"{results_folder(account, batch_id)}/{'incomplete-' if incomplete else ''}{uuid4()}.jsonl"


def publication_path(account: str, batch_id: str, manifest_sha256: str | None) -> str:
    """Build the path of the publication of results that were checked against a manifest, or against none."""
    return f"{results_folder(account, batch_id)}/{manifest_sha256 or _UNVERIFIED}.json"


def requests_path(sha256: str) -> str:
    """Build the path of a manifest's requests."""
    return f"manifests/{sha256}.jsonl"


def ids_path(sha256: str) -> str:
    """Build the path of a manifest's custom_ids."""
    return f"manifests/{sha256}.ids"


def namespace_path(namespace_id: str) -> str:
    """Build the path of the record of a Temporal namespace."""
    return f"{NAMESPACES}/{namespace_id}.json"


def namespace_id_of(path: str) -> str:
    """Return the namespace id in the path of a namespace's record."""
    return path.removeprefix(f"{NAMESPACES}/").removesuffix(".json")


class ObjectCategory(StrEnum):
    """The heading under which an operator sees an object."""

    REQUESTS = "requests"
    RECORDS = "records"
    RESULTS = "results"
    LEFTOVERS = "broken-off uploads"
    OTHER = "other files"


class PathKind(IntEnum):
    """The kind of an object, in the order in which a purge removes them: an interrupted purge must not mislead a run.

    An intent goes before its outcome: without the outcome, it would count as undecided for ever. Both go before the
    results: a batch that is recorded and has none would be adopted again. The publication goes before the file that it
    names; the claim goes after them, since it shows that they are a batch's. Requests go before their ids: a run that
    has not sent them yet must notice before it submits.
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
    def category(self) -> ObjectCategory:
        """The category that it is counted in."""
        match self:
            case PathKind.INTENT | PathKind.OUTCOME | PathKind.CLAIM:
                return ObjectCategory.RECORDS
            case PathKind.PUBLICATION | PathKind.RESULTS:
                return ObjectCategory.RESULTS
            case PathKind.REQUESTS | PathKind.IDS:
                return ObjectCategory.REQUESTS
            case PathKind.LEFTOVER:
                return ObjectCategory.LEFTOVERS


class GroupKey(NamedTuple):
    """The name of a group of objects; `group` is `run`, `batch`, `manifest` or `leftover`."""

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

_KEY, _PLACE = "[a-z0-9-]{1,32}", "[0-9a-f]{12}"

_ACCOUNT = re.compile(rf"{ACCOUNTS}/{_KEY}-{_PLACE}\.json")

_LAYOUT = re.compile(
    rf"submissions/[^/]+/\d+-{_SHA256}/(?P<run>[^/]+)-\d+(?P<outcome>\.outcome)?\.json"
    rf"|claims/(?P<claims_key>{_KEY})-{_PLACE}/(?P<claimed>[^/]+)\.json"
    rf"|results/(?P<results_key>{_KEY})-(?P<results_place>{_PLACE})/(?P<batch>[^/]+)"
    rf"/(?:(?:incomplete-)?{_UUID}\.jsonl|(?P<published>{_SHA256}|{_UNVERIFIED})\.json)"
    rf"|manifests/(?P<requests>{_SHA256})\.(?:jsonl|(?P<ids>ids))"
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
    if batch := found["claimed"]:
        return ParsedPath(GroupKey("batch", f"{found['claims_key']}/{batch}"), PathKind.CLAIM)
    if sha256 := found["requests"]:
        return ParsedPath(GroupKey.of_manifest(sha256), PathKind.IDS if found["ids"] else PathKind.REQUESTS)
    key = GroupKey("batch", f"{found['results_key']}/{found['batch']}")
    if not (published := found["published"]):
        return ParsedPath(key, PathKind.RESULTS)
    checked_against = None if published == _UNVERIFIED else GroupKey.of_manifest(published)
    return ParsedPath(key, PathKind.PUBLICATION, checked_against)


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


def manifest_sha256_of(publication: str) -> str | None:
    """Return the sha256 of the manifest that the publication at a path was checked against."""
    found = parse_path(publication)
    return found.manifest.name if found and found.manifest else None
