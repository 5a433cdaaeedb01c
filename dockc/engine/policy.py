"""Rules over sources: which may be used, and what stands in their place.

Within a policy the last rule that matches decides, and a conversion counts at once: everything is then judged anew as
what it has become. Source: BuildKit, sourcepolicy (engine, matcher, mutate).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dockc.base.record import Record, made
from dockc.errors import DockcError
from dockc.golang.text import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ALLOW, DENY, CONVERT = "ALLOW", "DENY", "CONVERT"
EXACT, WILDCARD, REGEX = "EXACT", "WILDCARD", "REGEX"
EQUAL, NOTEQUAL, MATCHES = "EQUAL", "NOTEQUAL", "MATCHES"
_MOST = 20
_REFERENCE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})")


class Rule(Record, kw_only=True):
    """One rule.

    Attributes:
        action: `ALLOW`, `DENY` or `CONVERT`.
        identifier: what sources it is about; a text, a text with `*`, or a regular expression, as `match` says.
        match: `WILDCARD`, `EXACT` or `REGEX`.
        constraints: name of an attribute, value, and `EQUAL`, `NOTEQUAL` or `MATCHES`: all must hold.
        becomes: identifier of what a conversion gives, with `$1` for what the first `*` or group stands for; "" to keep
            it.
        attrs: attributes that a conversion sets; None for a rule that says nothing to convert to.
    """

    action: str
    identifier: str
    match: str = WILDCARD
    constraints: tuple[tuple[str, str, str], ...] = ()
    becomes: str = ""
    attrs: Mapping[str, str] | None = None


class Policy(Record):
    """Rules, in order."""

    rules: tuple[Rule, ...] = made(tuple)


class Denied(DockcError):
    """A policy forbids a source."""


def judged(policies: Sequence[Policy], identifier: str, attrs: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """What a source becomes.

    Raises:
        Denied: it may not be used.
        DockcError: a rule that cannot be understood, or conversions without an end.
    """
    now = dict(attrs)
    for _ in range(_MOST + 1):
        for policy in policies:
            changed = _once(policy, identifier, now)
            if changed is not None:
                identifier, now = changed
                break
        else:
            return identifier, now
    raise DockcError("too many mutations on a single source: too many operations")


def _once(policy: Policy, identifier: str, attrs: dict[str, str]) -> tuple[str, dict[str, str]] | None:
    """The source as the first conversion makes it, None where nothing changes."""
    denied = False
    for rule in policy.rules:
        if not _holds(rule, attrs):
            continue
        found = _match(rule, identifier)
        if found is None and rule.identifier != identifier:
            continue
        match rule.action:
            case "ALLOW":
                denied = False
            case "DENY":
                denied = True
            case "CONVERT":
                if rule.attrs is None:
                    raise DockcError("error mutating source policy: missing destination for convert rule")
                dest = _formatted(rule, found, identifier, rule.becomes or rule.identifier) or identifier
                changed = {**attrs, **rule.attrs}
                if (dest, changed) != (identifier, attrs):
                    return dest, changed
            case other:
                raise DockcError(f"source policy: rule {other} {rule.identifier}: unknown type {quote(identifier)}")
    if denied:
        raise Denied(f"source {quote(identifier)} denied by policy: source denied by policy")
    return None


def _holds(rule: Rule, attrs: Mapping[str, str]) -> bool:
    for key, value, condition in rule.constraints:
        own = attrs.get(key, "")
        match condition:
            case "EQUAL":
                good = own == value
            case "NOTEQUAL":
                good = own != value
            case "MATCHES":
                good = _compiled(value).search(own) is not None
            case other:
                raise DockcError(f"unknown attr condition: {other}")
        if not good:
            return False
    return True


def _match(rule: Rule, identifier: str) -> re.Match[str] | None:
    match rule.match:
        case "EXACT":
            return None
        case "REGEX":
            return _compiled(rule.identifier).search(identifier)
        case "WILDCARD":
            if "**" in rule.identifier:
                raise DockcError('invalid wildcard: "**"')
            return re.fullmatch(re.escape(rule.identifier).replace(r"\*", "(.*)"), identifier)
        case other:
            raise DockcError(f"unknown match type: {other}")


def _compiled(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise DockcError(f"invalid regex {quote(text)}: {error}") from None


def _formatted(rule: Rule, found: re.Match[str] | None, identifier: str, text: str) -> str:
    if rule.match == EXACT:
        return text
    if found is None:
        return identifier
    if rule.match == REGEX:  # every place that matches is replaced
        return _compiled(rule.identifier).sub(lambda here: _expanded(here, text), identifier)
    return _expanded(found, text)


def _expanded(found: re.Match[str], text: str) -> str:
    """A text with `$1` and `${name}` replaced by what was found; what there is not is nothing, as in Go."""

    def put(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        if name is None:
            return "$"
        try:
            return found[int(name) if name.isdigit() else name] or ""
        except IndexError:
            return ""

    return _REFERENCE.sub(put, text)
