"""The failures that a run may have after what was done to it: those whose type names the reason."""

from collections.abc import Mapping

from tests.exhaustive.chaos.evidence import TERMINATED, Evidence, RunSeen
from tests.exhaustive.chaos.fault_coverage import AIMED
from tests.exhaustive.chaos.plan import Act

AT_ONCE: Mapping[str, str] = {"html-413": "RequestRefused", "spend-limit": "SpendLimitReached"}
"""Faults that fail a run the first time: a retry does not help."""

LASTING: Mapping[str, str] = {
    "429": "RateLimited",
    "500": "ApiUnavailable",
    "503": "ApiUnavailable",
    "529": "ApiUnavailable",
    "refuse-then-5xx": "ApiUnavailable",
    "accept-then-5xx": "ApiUnavailable",
    "accept-then-drop": "ReplyLost",
    "cut": "ReplyLost",
}
"""Faults that fail a run once the retries are used up."""

DAMAGED_RESULTS = ("missing-line", "duplicate-line", "foreign-line", "cut")

SETTLED_BY_JOB = {"SpendLimitReached", "RateLimited", "ApiUnavailable", "ReplyLost"}
"""The failures after which a job takes a shard up again."""

NOT_SENT = ("CancelledError", "DeadlinePassed")
"""The ends of a shard that was stopped before it was sent."""

_LOST_POSTS = 3


def may_fail_as(evidence: Evidence, run: RunSeen) -> set[str]:
    """Return the types of failure that the applied faults may have caused in this run."""
    types: set[str] = set()
    if evidence.applied("spend-limit", "create") and any(harm.act is Act.SPEND for harm in evidence.harms):
        types.add("SpendLimitReached")
    if run.shard and any(harm.act is Act.STRIKE_OUT for harm in evidence.harms):
        types.add(TERMINATED)
    if run.shard and evidence.cut_short:
        types |= {*NOT_SENT}
    lasting = {
        str(fault["operation"])
        for fault in evidence.plan.all_faults
        if "times" not in fault
        and fault["fault"] not in AIMED
        and evidence.applied(str(fault["fault"]), str(fault["operation"]))
    }
    for fault in evidence.plan.all_faults:
        kind, operation = str(fault["fault"]), str(fault["operation"])
        if not evidence.applied(kind, operation):
            continue
        if kind in AT_ONCE:
            types.add(AT_ONCE[kind])
            if operation == "list" and run.posts:
                # The outcome of a POST is unknown, and the list that could resolve it is refused.
                types.add("SubmissionUnknown")
        # One that strikes a few times may be the last of the errors, once another has used up the retries.
        if "times" in fault and operation not in lasting:
            continue
        if kind in LASTING and (operation != "create" or kind == "429"):
            types.add(LASTING[kind])
        if kind in DAMAGED_RESULTS and operation == "results":
            types.add("ResultsIncomplete")
    if run.posts >= _LOST_POSTS:
        types.add("SubmissionUnknown")
    # A job that was stopped takes none up again.
    return types - SETTLED_BY_JOB if run.shard and not evidence.cut_short else types
