"""Who may come in: the key, the workspace and the version of a call, in the order the API checks them."""

from collections.abc import Collection

from message_batches.emulator.errors import ApiError, invalid
from message_batches.emulator.exchange import Exchange
from message_batches.emulator.identifiers import workspace_of
from message_batches.emulator.params import NEW_VERSION

VERSIONS = ("2023-06-01", NEW_VERSION)


class Gate:
    """Lets calls in, or says why not; no message of it repeats a key."""

    def __init__(self, api_keys: Collection[str]) -> None:
        self._api_keys = frozenset(api_keys)

    def admit(self, exchange: Exchange) -> None:
        """Fill in the workspace, the version and the betas of a call; raise 401, 403 or 400."""
        headers = exchange.request.headers
        exchange.workspace = workspace_of(self._key(headers.get("x-api-key"), headers.get("authorization")))
        exchange.call.workspace = exchange.workspace
        asked = headers.get("anthropic-workspace-id")
        if asked and asked != exchange.workspace:
            raise ApiError(403, "anthropic-workspace-id: the credential does not belong to this workspace")
        version = headers.get("anthropic-version")
        if not version:
            raise invalid("anthropic-version: header is required")
        if version not in VERSIONS:
            raise invalid(f"anthropic-version: not a valid version; the versions are {', '.join(VERSIONS)}")
        exchange.version = version
        if "anthropic-beta" in headers:
            named = ",".join(headers.getall("anthropic-beta")).split(",")
            exchange.betas = frozenset(map(str.strip, named))

    def _key(self, api_key: str | None, authorization: str | None) -> str:
        if not api_key:
            if not authorization:
                raise ApiError(401, "x-api-key header is required")
            scheme, _, api_key = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise ApiError(401, "API key is invalid.")
        api_key = api_key.strip()
        known = api_key in self._api_keys if self._api_keys else bool(api_key)
        if not known or api_key.startswith("sk-invalid"):
            raise ApiError(401, "API key is invalid.")
        return api_key
