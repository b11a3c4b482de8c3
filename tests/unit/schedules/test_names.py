"""The names of schedules, with which the workflow ids of their runs begin."""

import pytest

from message_batches.runs.control import Refused
from message_batches.schedules.create import check_name


@pytest.mark.parametrize(
    "name", ["", "a b", "-a", "attach-x", "msgbatch_0123456789", "x" * 101, "a/b", "ä", "sk-ant-1"]
)
def test_a_name_whose_runs_would_be_taken_for_others_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        check_name(name)


@pytest.mark.parametrize("name", ["nightly", "a", "batch-1", "team-a.reviews_2", "x" * 100])
def test_other_names_are_taken(name: str) -> None:
    check_name(name)
