"""The failures that a run may have after what was done to it: those whose type names the reason."""

from collections.abc import Mapping

from tests.exhaustive.chaos.evidence import Evidence, RunSeen

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

_LOST_POSTS = 3


def may_fail_as(evidence: Evidence, run: RunSeen) -> set[str]:
    """Return the types of failure that the applied faults may have caused in this run."""
    types: set[str] = set()
    for fault in evidence.plan.all_faults:
        kind, operation = str(fault["fault"]), str(fault["operation"])
        if not evidence.applied(kind, operation):
            continue
        if kind in AT_ONCE:
            types.add(AT_ONCE[kind])
            if operation == "list" and run.posts:
                # The outcome of a POST is unknown, and the list that could resolve it is refused.
                types.add("SubmissionUnknown")
        if "times" in fault:
            continue
        if kind in LASTING and (operation != "create" or kind == "429"):
            types.add(LASTING[kind])
        if kind in DAMAGED_RESULTS and operation == "results":
            types.add("ResultsIncomplete")
    if run.posts >= _LOST_POSTS:
        types.add("SubmissionUnknown")
    return types
