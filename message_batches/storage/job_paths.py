"""The paths of a job in the store: its plans, its landed shards, and its merged results; their layout is in `paths`."""

import re
from uuid import uuid4

from message_batches.storage.paths import JOBS, id_part

_HASH_DIGITS = 16
_PLAN_OF_ALL = re.compile(rf"({JOBS}/[^/]+)/0\.plan")


def job_folder(workflow_id: str, content_sha256: str) -> str:
    """Build the folder of a job: of one workflow id and one content, so that other requests get another one."""
    return f"{JOBS}/{id_part(workflow_id)}-{content_sha256[:_HASH_DIGITS]}"


def folder_like(folder: str, workflow_id: str) -> str:
    """Build the folder of a job of another workflow id, with the requests of a folder."""
    return job_folder(workflow_id, folder[-_HASH_DIGITS:])


def plan_path(folder: str, wave: int) -> str:
    """Build the path of the plan of a wave."""
    return f"{folder}/{wave}.plan"


def folder_of_plan(path: str) -> str | None:
    """Return the folder of a job from the path of the plan of its first wave; None for any other path."""
    found = _PLAN_OF_ALL.fullmatch(path)
    return found[1] if found else None


def is_folder_of(folder: str, workflow_id: str) -> bool:
    """Return whether a folder is that of a job of this workflow id, whatever its requests."""
    return folder.rpartition("-")[0] == f"{JOBS}/{id_part(workflow_id)}"


def shard_path(folder: str, wave: int, number: int) -> str:
    """Build the path of the record of a landed shard."""
    return f"{folder}/{wave}-{number}.json"


def new_merged_path(folder: str) -> str:
    """Build a path for the merged results of a new attempt; the list of their shards is beside it."""
    return f"{folder}/{uuid4()}.jsonl"


def shard_list_path(merged: str) -> str:
    """Build the path of the list of shards from that of the merged results."""
    return f"{merged.removesuffix('.jsonl')}.shards"


def merged_publication_path(folder: str, sha256: str) -> str:
    """Build the path of the publication of merged results; the hash is of the shards that were merged."""
    return f"{folder}/{sha256}.json"
