"""Types of labels in a schema: URL (RFC 3986), time (RFC 3339), SPDX licence, git hash, semantic version, mail address."""

from __future__ import annotations

import re

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[^\s<>\"{}|\\^`]*")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|[+-]\d\d:?\d\d)")
_HASH = re.compile(r"[0-9a-f]{7}|[0-9a-f]{40}")
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-]"
    r"[0-9A-Za-z-]*))*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_EMAIL = re.compile(
    r"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*|\"(?:[^\"\\]|\\.)*\")"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[^\]\s]+\])"
)


def is_url(text: str) -> bool:
    """An absolute URI."""
    return _URL.fullmatch(text) is not None and _PERCENT.search(text) is None and text.count("#") <= 1


def is_rfc3339(text: str) -> bool:
    """A date and time with an offset."""
    found = _RFC3339.fullmatch(text)
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
    from dockc.compiler.lint.spdx import IDENTIFIERS, UNKNOWN_TO_HADOLINT

    if parity:
        text = text.rstrip()
        return text in IDENTIFIERS and text not in UNKNOWN_TO_HADOLINT
    return text in IDENTIFIERS


def is_hash(text: str) -> bool:
    """A git hash, short (7) or long (40)."""
    return _HASH.fullmatch(text) is not None


def is_semver(text: str) -> bool:
    """A version as semver.org 2.0.0 has it; no leading v."""
    return _SEMVER.fullmatch(text) is not None


def is_email(text: str) -> bool:
    """A mail address (RFC 5322 addr-spec without comments)."""
    return _EMAIL.fullmatch(text) is not None
