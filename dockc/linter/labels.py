"""Types of labels in a schema: URL (RFC 3986), time (RFC 3339), SPDX licence, git hash, semantic version, mail
address.
"""

from __future__ import annotations

from dockc.base.pattern import pattern

_PCHAR = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})"
_HOST = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*"
_LITERAL = r"\[(?:(?P<address>[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)(?:%25(?:[A-Za-z0-9\-._~]|%[0-9A-Fa-f]{2})+)?|v[0-9A-Fa-f]\.[A-Za-z0-9\-._~!$&'()*+,;=]+)\]"
_USER = r"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=:]|%[0-9A-Fa-f]{2})*@)?"
_URL = pattern(
    rf"[A-Za-z][A-Za-z0-9+.\-]*:(?://{_USER}(?:{_LITERAL}|{_HOST})(?::[0-9]*)?(?:/{_PCHAR}*)*|/?(?:{_PCHAR}+(?:/{_PCHAR}*)*)?)"
    rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
)
_RFC3339 = pattern(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|[+-]\d\d:?\d\d)")
_PEER_TIME = pattern(r"(?:-\s*)?(\d{1,9})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.\d*)?(?:[Zz]|[+-]\d\d:?\d\d)")
_PEER_VERSION = pattern(r"\d+\.\d+\.\d+(?:-(?:{0})?)?(?:\+(?:{0})?)?".format(r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*\.?"))
_COMMENT = pattern(r"\([^()]*\)")
_GROUP = pattern(r"[0-9A-Fa-f]{1,4}")
_HASH = pattern(r"[0-9a-f]{7}|[0-9a-f]{40}")
_SEMVER = pattern(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-]"
    r"[0-9A-Za-z-]*))*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_EMAIL = pattern(rf"(?:{_ATOM}(?:\.{_ATOM})*|\"(?:[^\"\\]|\\.)*\")@(?:{_LABEL}(?:\.{_LABEL})*|\[[^\]\s]+\])")
_LOCAL = rf"\s*(?:{_ATOM}|\"(?:[^\"\\]|\\.)*\")\s*"
_PEER_EMAIL = pattern(rf"({_LOCAL}(?:\.{_LOCAL})*)@(\s*{_LABEL}\s*(?:\.\s*{_LABEL}\s*)*\.?\s*|\s*\[[^\[\]\\]*\]\s*)")


def is_url(text: str) -> bool:
    """An absolute URI."""
    found = _URL.fullmatch(text)
    return found is not None and (found["address"] is None or _is_address(found["address"]))


def _is_address(text: str) -> bool:
    """An IPv6 address."""
    before, gap, after = text.partition("::")
    head = before.split(":") if before else []
    tail = after.split(":") if after else []
    last = (tail if gap else head)[-1:]
    size = len(head) + len(tail)
    if last and "." in last[0]:
        if not all(part.isdigit() and int(part[:4]) < 256 for part in last[0].split(".")) or last[0].count(".") != 3:
            return False
        (tail if gap else head).pop()
        size += 1
    return (size < 8 if gap else size == 8) and all(_GROUP.fullmatch(part) for part in (*head, *tail))


def is_rfc3339(text: str, *, parity: bool = False) -> bool:
    """A date and time with an offset. hadolint (`parity`) also takes years of any length, a point without digits, and
    blanks around.
    """
    found = _PEER_TIME.fullmatch(text.strip()) if parity else _RFC3339.fullmatch(text)
    if found is None:
        return False
    year, month, day, hour, minute, second = (int(part) for part in found.groups())
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    return 1 <= month <= 12 and 1 <= day <= days[month - 1] and hour < 24 and minute < 60 and second <= 60


def is_spdx(text: str, *, parity: bool = False) -> bool:
    """One identifier of the SPDX licence list; expressions are none.

    Args:
        text: the label's value.
        parity: by the older list that hadolint 2.15.1 has, and with blanks behind it.
    """
    from dockc.linter.spdx import IDENTIFIERS, UNKNOWN_TO_HADOLINT

    if parity:
        text = text.rstrip()
        return text in IDENTIFIERS and text not in UNKNOWN_TO_HADOLINT
    return text in IDENTIFIERS


def is_hash(text: str) -> bool:
    """A git hash, short (7) or long (40)."""
    return _HASH.fullmatch(text) is not None


def is_semver(text: str, *, parity: bool = False) -> bool:
    """A version as semver.org 2.0.0 has it; no leading v. hadolint (`parity`) also takes leading zeros, empty suffixes
    and points behind them.
    """
    return (_PEER_VERSION if parity else _SEMVER).fullmatch(text) is not None


def is_email(text: str, *, parity: bool = False) -> bool:
    """A mail address (RFC 5322 addr-spec). hadolint (`parity`) takes it with comments and blanks, and with a point
    behind.
    """
    if not parity:
        return _EMAIL.fullmatch(text) is not None
    count = 1
    while count:
        text, count = _COMMENT.subn(" ", text)
    found = _PEER_EMAIL.fullmatch(text)
    if found is None:
        return False
    local, domain = ("".join(part.split()) for part in found.groups())
    return len(local) <= 64 and len(domain) < 254 and all(len(label) < 64 for label in domain.split("."))
