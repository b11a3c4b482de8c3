"""The files of `arazzo/schemas`, and JSON compared with them."""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.harness.project import ARAZZO

SCHEMAS = ARAZZO / "schemas"


def schema_file(name: str) -> Path:
    """Return the file of a schema."""
    return SCHEMAS / f"{name}.schema.json"


def problems(name: str, value: Any) -> list[str]:
    """Return where a value does not match a schema, each with the place and the reason."""
    validator = Draft202012Validator(
        json.loads(schema_file(name).read_bytes()), format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]
