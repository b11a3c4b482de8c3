"""A run from requests to checked results, on a real server against the emulator."""

from tests.rig import Rig, requests


async def test_three_requests_are_submitted_polled_and_landed(live: Rig) -> None:
    output = await live.run(requests(3))

    assert output.request_counts.succeeded == 3
    assert output.verified
    assert output.results is not None
    assert [line["custom_id"] for line in output.results] == ["request-0000", "request-0001", "request-0002"]
    assert live.operations()[0] == "create"
    assert live.operations()[-1] == "results"
