"""The cause of an error of the API, by code, type and message: the one place that decides what may be sent again."""

import re
from enum import StrEnum


class ErrorCause(StrEnum):
    """The cause of an error of the API, which decides whether the same request may be sent again."""

    REQUEST = "request"
    """The request itself: it gets the same answer until it is corrected."""
    PASSING = "passing"
    """A condition that passes by itself: the request may be sent again as it is."""
    MONEY = "money"
    """Credit or a spend limit: the request may be sent again as it is, once that is settled."""
    ACCESS = "access"
    """The key, the workspace or the organization: the request may be sent again as it is, once that is settled."""
    UNKNOWN = "unknown"
    """A type that is not known here: a result's request may be sent again as it is, a call goes by its status."""


# The `details.error_code` of the API's errors, as the official client 2.14 lists them with their meaning.
_CAUSE_BY_CODE = {
    "enforced_spend_limit_reached": ErrorCause.MONEY,
    "contract_spend_limit_reached": ErrorCause.MONEY,
    "linked_organization_spend_limit_reached": ErrorCause.MONEY,
    "linked_organization_billing_unavailable": ErrorCause.MONEY,
    "organization_on_hold": ErrorCause.ACCESS,
    "organization_type_not_supported": ErrorCause.ACCESS,
    "claude_code_key_creator_not_member": ErrorCause.ACCESS,
    "cmek_key_disabled": ErrorCause.ACCESS,
    "cmek_key_network_blocked": ErrorCause.ACCESS,
    "workspace_human_review_disabled": ErrorCause.ACCESS,
    "cmek_context_unavailable": ErrorCause.PASSING,
    "cmek_key_unreachable": ErrorCause.PASSING,
    "ramp_limit_exceeded": ErrorCause.PASSING,
}

# The types that say all by themselves, by the API's page on errors. The guide on batches has only two types that are to
# be corrected, `invalid_request_error` and the `not_found_error` of a model; but what is too large stays too large.
_CAUSE_BY_TYPE = {
    "request_too_large": ErrorCause.REQUEST,
    "billing_error": ErrorCause.MONEY,
    "authentication_error": ErrorCause.ACCESS,
    "permission_error": ErrorCause.ACCESS,
    "api_error": ErrorCause.PASSING,
    "overloaded_error": ErrorCause.PASSING,
    "timeout_error": ErrorCause.PASSING,
    "rate_limit_error": ErrorCause.PASSING,
}

# The types that are also given to what is no fault of the request, so that the message decides: some words of it,
# since the API's wording changes.
_TYPES_TO_READ_ON = ("invalid_request_error", "not_found_error")
_MONEY = re.compile(
    # 400 "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or
    # purchase credits.": anthropics/claude-code#66314, and more.
    r"\bcredit balance too low\b|\bplans? (?:&|and) billing\b|\bbilling details\b"
    # The same in other words, as its wording changes: there is none, one is to get some, or it has come to an end.
    r"|\b(?:insufficient|not enough|out of|purchase|buy|add|no|zero|more)"
    r"(?: (?:api|available|more|prepaid|remaining|sufficient|usage))* (?:credit|fund|balance)s?\b"
    r"|\b(?:credit|fund|balance|(?<!task )(?<!thinking )(?<!token )budget)s?"
    r"(?: (?:is|are|was|were|has|have|been|already|now|fully))*"
    r" (?:insufficient|too low|negative|empty|exhausted|used up|depleted|expired|spent|exceeded|reached|r[ua]n out)\b"
    r"|\bnegative (?:account |credit )?balance\b"
    r"|\b(?:exceed(?:s|ed)?|reached|hit) [^.]{0,60}(?<!task )(?<!thinking )(?<!token )\bbudget\b"
    r"|\bpayment (?:(?:is|was|has) )?(?:been )?(?:required|failed|declined|overdue|past due)\b"
    # 400 "You have reached your specified API usage limits. You will regain access on ...", or "... workspace API usage
    # limits ...": anthropics/claude-code#38035. By the API's page on errors it is the spend limit that a user has set.
    # 429 "This request would exceed your organization's monthly spend limit.": the API's page on rate limits.
    r"|\b(?:exceed(?:s|ed)?|reached|hit) [^.]{0,60}"
    r"\b(?:usage|spend|spending|billing|credit) (?:limit|cap|threshold)s?\b"
    r"|\b(?:usage|spend|spending|billing|credit) (?:limit|cap|threshold)s? (?:[^.]{0,60} )?(?:exceeded|reached|hit)\b"
)
_AMOUNT = re.compile(r" ?\(?[$€£]\S*|(?<=\bbalance) \([^)]{0,40}\)")
_ACCESS = re.compile(
    # 400 "This organization has been disabled.": anthropics/claude-code#72457.
    r"\b(?:organization|workspace|account) (?:is|was|has been) (?:on hold|disabled|suspended|deactivated|archived)\b"
)
# A sentence that has one of these, and says nothing else: each of its words is one of `_WORDS`.
_PASSING = re.compile(
    # "Unable to download the file. Please verify the URL and try again." and its kin for images and documents, after a
    # source that did not answer in time: the reference of batches has fetches that fail when the request is processed.
    r"\b(?:unable to|could not|couldn't|cannot|failed to|fail(?:ed|ure|s)?|error|timed out|timeout)"
    r"(?: while| when| in)? (?:be )?(?:download|fetch|retriev|reach|connect|resolv)"
    r"|\b(?:download|fetch|retriev|connecti)\w* (?:[\w ]{0,200} )?"
    r"(?:failed|failure|error|timed out|timeout|refused|reset)\b"
    r"|\burl could not be accessed\b"
    r"|\b(?:dns|host|hostname|name) (?:lookup|resolution)? ?(?:failed|failure|error|timed out|timeout)\b"
    # The messages of `overloaded_error` and `api_error` under another type: anthropics/claude-code#4151 has both.
    r"|^overloaded\W*$|\b(?:is|are|temporarily|currently) overloaded\b"
    r"|\b(?:unexpected )?internal (?:server |service )?(?:error|failure)\b|\binternal to anthropic"
    # The messages of 429, 503 and 504, by the API's pages on errors and on rate limits.
    r"|\b(?:exceed(?:s|ed)?|reached|hit) [^.]{0,60}\brate limits?\b|\btoo many requests\b"
    r"|\b(?:high|higher|heavy|elevated|increased|peak|unusual) (?:demand|load|traffic|volume|error)\b"
    r"|\bat (?:full |its |maximum )*capacity\b|\b(?:is|are|too|very|currently|temporarily) (?:busy|down)\b"
    r"|\btemporarily unable\b|\bunder(?:going)? maintenance\b"
    r"|\btry again (?:later|in\b)|\b(?:temporarily|service) unavailable\b|\brequest (?:timed out|timeout)\b"
)
_KNOWN = (
    # What failed, and how, of the sentences above.
    "accessed connect connecting connection download downloaded downloading error exceed exceeded exceeds fail failed "
    "fails failure fetch fetched fetching hit internal overloaded reach reached refused reset retrieve retrieved "
    "retrieving retry timed timeout unable unavailable unexpected out resolve resolved resolving resolution lookup "
    "handshake busy down demand load traffic volume maintenance reason "
    # What it was done to, and by whom.
    "anthropic api attachment capacity content data document file files host image images input limit limits media "
    "minute minutes model number of organization output pdf per rate remote request requests resource second seconds "
    "dns hostname name peer ssl tls server servers service source system systems times tokens too many upstream url "
    "urls website workspace "
    # Between them.
    "a after again an and anthropic's at be been by cannot concurrent could couldn't currently due during for from had "
    "has have hour in is it's its later many moment moments not occurred on organization's our please processing "
    "provided s specified temporarily that the this to try trying verify was we were when while with would your you "
    "are day few hourly daily experiencing full heavy high higher elevated increased maximum need peak process "
    "shortly under undergoing unusual unusually very we're http https status code response returned responded "
    "answered received got rates"
)
_WORDS = frozenset(_KNOWN.split())
_OF_PARAMS = re.compile(
    r"(?:requests?[.\[\d\]]*\.)?(?:params\.)?(?:container|max_tokens|messages|metadata|model|output_config|service_tier"
    r"|stop_sequences|stream|system|temperature|thinking|tool_choice|tools|top_[kp])(?:[.\[][\w.\[\]-]*)?:"
)
"""A field of `params` before a message: it is about what stands there, and not about the account."""

_PLACE = re.compile(r"(?:[\w.\[\]-]+: +)+")
"""The field that an error is about, which comes first."""

_VARIABLE = re.compile(
    r"\b[a-z+]+://\S+|\b(?:host(?:name)?:?|for|from|at) [\w-]+\.[\w.-]+|\S*[\d_]\S*"
    r"|'[^']{0,100}'|`[^`]{0,100}`|\"[^\"]{0,100}\""
)
"""Parts of a sentence that are another each time: addresses, hosts, ids, numbers, what is quoted."""

_NOT_A_MODEL = re.compile(
    r"^(?!(?:the |requested |resource )*model\b).*?\b(?:file|image|document|container|skill|resource|url)s?(?:\b|_)"
)
_READ = 500
"""Characters of a message that are read: a search in them takes no time, whatever they are."""


def cause_of(kind: str, message: str, code: str | None = None) -> ErrorCause:
    """Return the cause of an error that the API gives, whole calls and results of a batch alike.

    Args:
        kind: the error's type.
        message: its message.
        code: its `details.error_code`, which goes first; None if it has none.
    """
    if code in _CAUSE_BY_CODE:
        return _CAUSE_BY_CODE[code]
    text = message[:_READ].casefold().strip()
    of_account = not _OF_PARAMS.match(text)
    if of_account and _MONEY.search(_AMOUNT.sub("", text)):
        return ErrorCause.MONEY
    if kind not in _TYPES_TO_READ_ON:
        return _CAUSE_BY_TYPE.get(kind, ErrorCause.UNKNOWN)
    if of_account and _ACCESS.search(text):
        return ErrorCause.ACCESS
    if any(map(_is_passing, re.split(r"[.!;]+(?: |$)", _without_place(text)))):
        return ErrorCause.PASSING
    if kind == "not_found_error" and _NOT_A_MODEL.search(text):
        return ErrorCause.UNKNOWN
    return ErrorCause.REQUEST


def _is_passing(sentence: str) -> bool:
    plain = _VARIABLE.sub(" ", sentence)
    said = " ".join(plain.split())
    return bool(_PASSING.search(said)) and _WORDS.issuperset(re.findall(r"[^\W\d]+(?:'\w+)?", said))


def _without_place(text: str) -> str:
    place = _PLACE.match(text)
    return text[place.end() :] if place else text
