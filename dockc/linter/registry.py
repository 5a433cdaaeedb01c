"""All rules in one table: code to the class that implements it, imported when it is needed.

Third parties add rules under the entry point group `dockc.rules`: the name is the code, the object the class.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module

from dockc.errors import UsageError
from dockc.linter.announced import ENTRY_POINTS, announced
from dockc.linter.rule import Rule
from dockc.linter.table import RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_PACKAGE = "dockc.linter.rules."


def codes() -> tuple[str, ...]:
    """Codes of all rules, third parties' last."""
    return (*RULES, *(entry.name for entry in _entry_points() if entry.name not in RULES))


@cache
def get_rule(code: str) -> type[Rule]:
    """The class of a rule, by code.

    Raises:
        UsageError: there is no such rule.
    """
    place = RULES.get(code)
    if place is not None:
        module, _, name = place.partition(":")
        found: type[Rule] = getattr(import_module(_PACKAGE + module), name)
        return found
    for entry in _entry_points():
        if entry.name == code:
            loaded: type[Rule] = entry.load()
            return loaded
    raise UsageError(f"unknown rule: {code}", hint=_near(code))


def find_rule(text: str) -> type[Rule]:
    """The class of a rule, by code in any case, or by name.

    Raises:
        UsageError: there is no such rule.
    """
    folded = text.casefold()
    for code in codes():
        if code.casefold() == folded:
            return get_rule(code)
    for code in codes():
        rule = get_rule(code)
        if rule.name.casefold() == folded or folded in (e.partition(":")[2].casefold() for e in rule.equivalents):
            return rule
    if folded.startswith("sc") and folded[2:].isdecimal():
        from dockc.linter.shellcheck import PAGES

        raise UsageError(f"{text.upper()} is ShellCheck's own", hint=f"{PAGES}{text.upper()}")
    raise UsageError(f"unknown rule: {text}", hint=_near(text))


def all_rules() -> tuple[type[Rule], ...]:
    """All rules, in the order of the table."""
    return tuple(get_rule(code) for code in codes())


@cache
def _entry_points() -> tuple[EntryPoint, ...]:
    if not announced(tuple(sys.path)):
        return ()
    from importlib.metadata import entry_points

    return tuple(entry_points(group=ENTRY_POINTS))


def _near(text: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(text.upper(), list(RULES), n=1)
    return f"Did you mean {near[0]}?" if near else "`dockc explain rules` lists them."
