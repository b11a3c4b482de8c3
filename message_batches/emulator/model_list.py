"""The models that the emulator knows: the table of Claude models, and those added by option."""

from collections.abc import Iterable
from dataclasses import fields
from datetime import date
from typing import Any

from message_batches.claude_models import CLAUDE_MODELS, ClaudeModel, by_name
from message_batches.emulator.errors import ErrorReply

_LINES = ("haiku", "sonnet", "opus", "fable", "mythos")
_LIFECYCLES = ("active", "deprecated", "retired")
_SUPPORTED, _UNSUPPORTED = {"supported": True}, {"supported": False}

# Only `batch` differs by model here; the keys are those that the official client's type has.
_CAPABILITIES: dict[str, object] = {
    "citations": _SUPPORTED,
    "code_execution": _SUPPORTED,
    "context_management": _SUPPORTED,
    "effort": {**_SUPPORTED, **dict.fromkeys(("low", "medium", "high", "max"), _SUPPORTED)},
    "image_input": _SUPPORTED,
    "pdf_input": _SUPPORTED,
    "server_tools": {**_SUPPORTED, "code_execution": _SUPPORTED, "web_search": _SUPPORTED},
    "structured_outputs": _SUPPORTED,
    "thinking": {
        **_SUPPORTED,
        "types": dict.fromkeys(("adaptive", "between_tools", "disabled", "enabled"), _SUPPORTED),
    },
}


class ModelList:
    """The models by name; a model that is added replaces the one of its name."""

    def __init__(self, added: Iterable[str] = ()) -> None:
        extra = [read_model_flag(text) for text in added]
        names = by_name(extra)
        kept = [model for model in CLAUDE_MODELS if model.id not in names and model.alias not in names]
        self._models = [*extra, *kept]
        self._by_name = by_name(self._models)

    def get(self, name: str) -> ClaudeModel | None:
        """Return the model that can be called by this name; a retired one cannot."""
        model = self._by_name.get(name)
        return None if model is None or model.lifecycle == "retired" else model

    def find(self, name: str) -> ClaudeModel:
        """Return a model of the catalogue, retired ones too, or raise a 404."""
        try:
            return self._by_name[name]
        except KeyError:
            raise ErrorReply(404, f"model: {name}") from None

    def of_lifecycles(self, lifecycles: Iterable[str]) -> list[ClaudeModel]:
        """Return the models in these stages, the latest first; without any, all but the retired ones."""
        wanted = set(lifecycles) or {"active", "deprecated"}
        return [model for model in self._models if model.lifecycle in wanted]


def model_as_json(model: ClaudeModel) -> dict[str, object]:
    """Return a model as `GET /v1/models/{id}` shows it."""
    undated = (model.alias or model.id).split("-")
    words = [part for part in undated if not part.isdigit()]
    number = ".".join(part for part in undated if part.isdigit())
    return {
        "type": "model",
        "id": model.id,
        "display_name": " ".join([*map(str.title, words), number]).strip(),
        # The API shows the epoch for a model whose day of release it does not say.
        "created_at": _at(model.released or date(1970, 1, 1)),
        "max_input_tokens": model.max_input_tokens,
        "max_tokens": model.max_tokens,
        "line": next((line for line in _LINES if line in undated), None),
        "lifecycle": model.lifecycle,
        "deprecated_at": None,
        "retires_at": _at(model.retires_at) if model.retires_at else None,
        "capabilities": {"batch": _SUPPORTED if model.batches else _UNSUPPORTED, **_CAPABILITIES},
    }


def _at(day: date) -> str:
    return f"{day.isoformat()}T00:00:00Z"


def read_model_flag(text: str) -> ClaudeModel:
    """Convert `claude-new-7:max_tokens=32000,retires_at=2026-12-24,batches=false` to a model; raise ValueError."""
    name, _, rest = text.partition(":")
    if not name:
        raise ValueError("a model is ID, or ID:name=value,...")
    given: dict[str, Any] = {}
    exist = [field.name for field in fields(ClaudeModel) if field.name != "id"]
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or key not in exist:
            raise ValueError(f"{part!r} of model {name} is not name=value, with a name of {', '.join(exist)}")
        given[key] = _value_of(key, value)
    retires = given.get("retires_at")
    given.setdefault("lifecycle", "deprecated" if retires else "active")
    return ClaudeModel(id=name, **given)


def _value_of(key: str, value: str) -> object:
    match key:
        case "alias":
            return value
        case "released" | "retires_at":
            try:
                return date.fromisoformat(value)
            except ValueError:
                raise ValueError(f"{key} is a day such as 2026-12-24") from None
        case "batches" | "shows_thinking" if value in ("true", "false"):
            return value == "true"
        case "lifecycle" if value in _LIFECYCLES:
            return value
        case "max_tokens" | "max_input_tokens" if value.isdecimal() and int(value) >= 1:
            return int(value)
        case "batches" | "shows_thinking":
            raise ValueError(f"{key} is true or false")
        case "lifecycle":
            raise ValueError(f"lifecycle is one of {', '.join(_LIFECYCLES)}")
        case _:
            raise ValueError(f"{key} is a whole number of at least 1")
