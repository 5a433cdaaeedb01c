"""Codes as people write them: which there are, and what is said about those there are not."""

from __future__ import annotations

from dockc.linter.config import Config
from dockc.linter.options import STRICT

UNREADABLE = "unreadable"
FAILED = "lint-failed"


def check_codes(config: Config) -> None:
    """Refuse a rule's code that there is not; ShellCheck's are not listed here, so any of its form will do.

    Raises:
        UsageError: unknown code.
    """
    wanted = [
        *config.select,
        *config.extend,
        *config.ignore,
        *config.severities,
        *(code for code, _ in config.overrides),
    ]
    if not wanted:
        return
    from dockc.linter.registry import codes, get_rule
    from dockc.linter.runner import SYNTAX

    known = {*codes(), SYNTAX, UNREADABLE, FAILED, "build-error"}
    wanted = [code for code in wanted if code != STRICT]
    for code in wanted:
        prefix = code.isalpha() and any(k.startswith(code) for k in (*known, "SC"))
        if code not in known and not prefix and not (code.startswith("SC") and code[2:].isdigit()):
            get_rule(code)
