"""Every path in the store, and its builders; those of a job's folder are in `job_paths`, the parser in `groups`.

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
    manifests/<run>.json                                     the requests that a run or a job has read from a file
    jobs/<job>-<hash of the requests>/<wave>.plan            the manifests of a job's wave, one a line
    jobs/<job>-<hash of the requests>/<wave>-<n>.json        a landed shard of that wave
    jobs/<job>-<hash of the requests>/<attempt>.jsonl        merged results; <attempt>.shards the shards that are in it
    jobs/<job>-<hash of the requests>/<hash>.json            the publication: which attempt merged these shards
    any of them with #<n> after it                           an unfinished upload, in a directory

A batch is named by its account first, `<key>-<hash of where it is used>`: what the server of one key says of a batch id
is nothing to another key.
"""

import hashlib
import re
from collections.abc import Iterable
from urllib.parse import quote
from uuid import uuid4

SUBMISSIONS = "submissions"
JOBS = "jobs"
FOLDERS = (SUBMISSIONS, "claims", "results", "manifests", JOBS)
"""The folders of groups; in a directory, each may be a link to another disk."""

NAMESPACES = "namespaces"
ACCOUNTS = "accounts"
STORE_ID = "store.json"
UNVERIFIED = "unverified"
KEY, PLACE = "[a-z0-9-]{1,32}", "[0-9a-f]{12}"
"""The patterns of a key's name and of the hash of where it is used, as parts of a path."""

_ACCOUNT = re.compile(rf"{ACCOUNTS}/{KEY}-{PLACE}\.json")
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


def results_folder(account: str, batch_id: str) -> str:
    """Build the folder of a batch's results."""
    return f"results/{account}/{id_part(batch_id)}"


def new_results_path(account: str, batch_id: str, *, incomplete: bool = False) -> str:
    """Build a path for the result lines of a new attempt."""
    return f"{results_folder(account, batch_id)}/{'incomplete-' if incomplete else ''}{uuid4()}.jsonl"


def publication_path(account: str, batch_id: str, manifest_sha256: str | None) -> str:
    """Build the path of the publication of results that were checked against a manifest, or against none."""
    return f"{results_folder(account, batch_id)}/{manifest_sha256 or UNVERIFIED}.json"


def requests_path(sha256: str) -> str:
    """Build the path of a manifest's requests."""
    return f"manifests/{sha256}.jsonl"


def ids_path(sha256: str) -> str:
    """Build the path of a manifest's custom_ids."""
    return f"manifests/{sha256}.ids"


def first_read_path(workflow_id: str, first_run_id: str) -> str:
    """Build the path of the record of what a run or a job has read from its requests file."""
    return f"manifests/{run_part(workflow_id, first_run_id)}.json"


def namespace_path(namespace_id: str) -> str:
    """Build the path of the record of a Temporal namespace."""
    return f"{NAMESPACES}/{namespace_id}.json"


def namespace_id_of(path: str) -> str:
    """Return the namespace id in the path of a namespace's record."""
    return path.removeprefix(f"{NAMESPACES}/").removesuffix(".json")
