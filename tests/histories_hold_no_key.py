"""What every run of the suite is held against: no key in its history."""

from temporalio.client import Client

from tests.rig import KEYS


async def histories_with_a_key(client: Client) -> list[str]:
    """The runs in whose events, payloads included, the text of a key stands."""
    keys = [secret.get_secret_value().encode() for secret in KEYS.values()]
    found = []
    async for run in client.list_workflows():
        async for event in client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history_events():
            content = event.SerializeToString()
            if any(key in content for key in keys):
                found.append(f"{run.id}: {event}"[:500])
    return found
