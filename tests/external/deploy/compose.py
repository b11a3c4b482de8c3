"""docker-compose.yml as Compose reads it: interpolated with an env file, its anchors and merges resolved."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.harness.project import ROOT

FILE = ROOT / "docker-compose.yml"
DEMO = ROOT / "deploy" / "demo" / "demo.env"

# The text may hold further ones, such as `${A:+...${B:-...}}`.
_VARIABLE = re.compile(r"\$(?:\{(?P<name>\w+)(?::(?P<how>[-?+])(?P<text>(?:[^{}]|\{[^{}]*\})*))?\}|(?P<plain>\w+))")


class MissingVariable(Exception):
    """The message of `${NAME:?message}` if the variable is not set."""


def env_file(path: Path) -> dict[str, str]:
    """Read the variables of a file such as `.env`."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def project(variables: Mapping[str, str]) -> dict[str, Any]:
    """Read the whole file, with the services of all profiles."""

    def value(match: re.Match[str]) -> str:
        name, how, text = match["name"] or match["plain"], match["how"], match["text"]
        if how == "?" and not variables.get(name):
            raise MissingVariable(f"{name}: {text}")
        if how == "+":
            return _VARIABLE.sub(value, text) if variables.get(name) else ""
        return variables.get(name) or (text if how == "-" else "")

    def interpolated(node: Any) -> Any:
        match node:
            case dict():
                return {key: interpolated(item) for key, item in node.items()}
            case list():
                return [interpolated(item) for item in node]
            case str():
                return _VARIABLE.sub(value, node)
        return node

    read: dict[str, Any] = interpolated(yaml.safe_load(FILE.read_text()))
    return read


def words(command: str | list[str]) -> list[str]:
    """Split a command, which is a list or one text."""
    return shlex.split(command) if isinstance(command, str) else command


def seconds(duration: str) -> int:
    """Return the seconds of a duration such as `30s`."""
    assert duration.endswith("s")
    return int(duration[:-1])
