import stat
from pathlib import Path

import pytest

from message_batches.temporal import dev_server as module
from message_batches.temporal.dev_server import dev_server, temporal_command


@pytest.mark.slow
async def test_a_server_that_does_not_come_up_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "started"
    command = tmp_path / "temporal"
    command.write_text(f'#!/bin/sh\n[ -e {started} ] && exec {temporal_command()} "$@"\ntouch {started}\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(module, "temporal_command", lambda: str(command))

    async with dev_server() as server:
        assert await server.client.service_client.check_health()
    assert started.exists()
