"""Rules over sources: which may be used, and what stands in their place.

Within a policy the last rule that matches decides, and a conversion counts at once: everything is then judged anew as
what it has become. Source: BuildKit, sourcepolicy (engine, matcher, mutate).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dockc.base.record import Record, made
from dockc.errors import DockcError
from dockc.golang.regex import BadExpression, Expression, Finder
from dockc.golang.text import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ALLOW, DENY, CONVERT = "ALLOW", "DENY", "CONVERT"
EXACT, WILDCARD, REGEX = "EXACT", "WILDCARD", "REGEX"
EQUAL, NOTEQUAL, MATCHES = "EQUAL", "NOTEQUAL", "MATCHES"
_MOST = 20
_REFERENCE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})", re.ASCII)
_PARTS = 2000
"""Of one regular expression. Rules come from clients and frontends."""
_LONGEST = 64 << 10
"""Characters of an identifier that a conversion may make."""


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
        if not _matches(rule, identifier):
            continue
        match rule.action:
            case "ALLOW":
                denied = False
            case "DENY":
                denied = True
            case "CONVERT":
                if rule.attrs is None:
                    raise DockcError("error mutating source policy: missing destination for convert rule")
                dest = _formatted(rule, identifier, rule.becomes or rule.identifier) or identifier
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
                good = _compiled(value).match(own)
            case other:
                raise DockcError(f"unknown attr condition: {other}")
        if not good:
            return False
    return True


def _matches(rule: Rule, identifier: str) -> bool:
    if rule.identifier == identifier:
        return True
    match rule.match:
        case "EXACT":
            return False
        case "REGEX":
            return _compiled(rule.identifier).match(identifier)
        case "WILDCARD":
            return _stars(rule.identifier, identifier) is not None
        case other:
            raise DockcError(f"unknown match type: {other}")


def _stars(wildcard: str, text: str) -> tuple[str, ...] | None:
    """What each `*` of a wildcard stands for in a text, the first ones for as much as can be; None if it does not match.

    Raises:
        DockcError: it is no wildcard.
    """
    if "**" in wildcard:
        raise DockcError('invalid wildcard: "**"')
    first, *pieces = wildcard.split("*")
    if not pieces:
        return () if wildcard == text else None
    if len(text) < len(first) + len(pieces[-1]) or not text.startswith(first) or not text.endswith(pieces[-1]):
        return None
    found: list[str] = []
    end = len(text) - len(pieces[-1])
    for piece in reversed(pieces[:-1]):
        at = text.rfind(piece, len(first), end)
        if at < 0:
            return None
        found.append(text[at + len(piece) : end])
        end = at
    found.append(text[len(first) : end])
    return None if any("\n" in one for one in found) else tuple(reversed(found))


def _compiled(text: str) -> Expression:
    try:
        return Expression(text, _PARTS)
    except BadExpression as error:
        raise DockcError(f"invalid regex {quote(text)}: {error}") from None


def _formatted(rule: Rule, identifier: str, text: str) -> str:
    if rule.match == EXACT:
        return text
    if rule.match == REGEX:  # every place that matches is replaced
        finder = Finder(rule.identifier, _PARTS)
        made = finder.replaced(identifier, lambda groups: _expanded(groups, finder.names, text))
    else:
        stars = _stars(rule.identifier, identifier)
        made = identifier if stars is None else _expanded((identifier, *stars), (), text)
    if len(made) > _LONGEST:
        raise DockcError(f"source policy: a conversion makes an identifier of {len(made)} characters")
    return made


def _expanded(groups: Sequence[str], names: Sequence[str], text: str) -> str:
    """A text with `$1` and `${name}` replaced by what was found; what there is not is nothing, as in Go."""

    def put(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        if name is None:
            return "$"
        if name.isdigit():
            return groups[int(name)] if len(name) < 9 and int(name) < len(groups) else ""
        return "".join(group for group, known in zip(groups, names, strict=False) if known == name)

    return _REFERENCE.sub(put, text)
