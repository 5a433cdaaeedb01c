"""A rule's page, made from what the rule's class says about itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from dockc.linter.rule import Rule

_TOOLS = {
    "hadolint": "hadolint",
    "buildkit": "BuildKit",
    "kics": "KICS",
    "checkov": "Checkov",
    "trivy": "Trivy",
    "sonar": "SonarQube",
    "dockle": "Dockle",
    "semgrep": "Semgrep",
    "tally": "tally",
}


def page(rule: type[Rule]) -> str:
    """The page in Markdown: what, why, examples, fix, options, equivalents."""
    out = [f"# {rule.code}: {rule.name}\n\n", f"{rule.summary}.\n\n", f"| | |\n|---|---|\n| code | `{rule.code}` |\n"]
    out.append(f"| severity | {severity(rule)} |\n")
    out.append(f"| fix | {_fix(rule)} |\n")
    if rule.equivalents:
        out.append(f"| the same elsewhere | {', '.join(map(_equivalent, rule.equivalents))} |\n")
    out.append(f"\n## What it does\n\n{inspect.cleandoc(rule.__doc__ or rule.summary)}\n\n")
    out.append(f"## Example\n\nReported:\n\n```dockerfile\n{rule.bad.rstrip()}\n```\n\nNot reported:\n\n```dockerfile\n{rule.good.rstrip()}\n```\n\n")
    if rule.fixed:
        out.append(f"The first after `dockc lint --fix{' --unsafe' if rule.fixable == 'unsafe' else ''}`:\n\n```dockerfile\n{rule.fixed.rstrip()}\n```\n\n")
    if rule.options:
        out.append("## Options\n\n" + "".join(f"- {option}\n" for option in rule.options) + "\n")
    out.append(f"## How to turn it off\n\nFor one instruction, in the comment above it: `# dockc ignore={rule.code} why`. Everywhere: `--ignore {rule.code}`, or `ignore` in the configuration.\n")
    return "".join(out)


def severity(rule: type[Rule]) -> str:
    """In dockc's own profile, in words."""
    return rule.severity.value if rule.severity else "off; `--extend` or a severity in the configuration turns it on"


def index(rules: Iterable[type[Rule]]) -> str:
    """The list of all rules."""
    out = ["# Lint rules\n\n", "| code | name | what it reports | severity | fix |\n|---|---|---|---|---|\n"]
    for rule in rules:
        level = rule.severity.value if rule.severity else "off"
        summary = rule.summary.replace("|", "\\|")
        out.append(f"| {rule.code} | [{rule.name}]({rule.name}.md) | {summary} | {level} | {rule.fixable or '-'} |\n")
    return "".join(out)


def _fix(rule: type[Rule]) -> str:
    if not rule.fixable:
        return "none"
    if rule.fixable == "unsafe":
        return "unsafe: with `--unsafe` only, because what is built changes"
    return f"safe; may change: {rule.changes}" if rule.changes else "safe: the file compiles to the same image"


def _equivalent(text: str) -> str:
    tool, _, code = text.partition(":")
    return f"{_TOOLS.get(tool, tool)} `{code}`"
