"""A rule's page, made from what the rule's class says about itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence

from dockc.base.record import NamedTuple
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


class Rate(NamedTuple):
    """How often a rule fired on the corpus, and how many of the findings that were read were right, pedantic and
    wrong.
    """

    found: int
    true: int
    pedantic: int
    false: int

    @property
    def judged(self) -> int:
        """How many were read."""
        return self.true + self.pedantic + self.false


def page(rule: type[Rule], rate: Rate | None = None) -> str:
    """The page in Markdown: what, why, how often it was right, examples, fix, options, equivalents."""
    out = [f"# {rule.code}: {rule.name}\n\n", f"{rule.summary}.\n\n", f"| | |\n|---|---|\n| code | `{rule.code}` |\n"]
    out.append(f"| severity | {severity(rule)} |\n")
    out.append(f"| fix | {_fix(rule)} |\n")
    out.append(f"| status | {_status(rule)}, since {rule.since} |\n| family | {rule.family()} |\n")
    if rate is not None and rate.judged:
        out.append(f"| on real files | {rate.found} findings; of {rate.judged} that were read {_right(rate)} |\n")
    if rule.equivalents:
        out.append(f"| the same elsewhere | {', '.join(map(_equivalent, rule.equivalents))} |\n")
    out.append(f"\n## What it does\n\n{inspect.cleandoc(rule.__doc__ or rule.summary)}\n\n")
    out.append(
        f"## Example\n\nReported:\n\n```dockerfile\n{rule.bad.rstrip()}\n```\n\nNot "
        f"reported:\n\n```dockerfile\n{rule.good.rstrip()}\n```\n\n"
    )
    if rule.fixed:
        out.append(
            "The first after `dockc lint "
            f"--fix{' --unsafe' if rule.fixable == 'unsafe' else ''}`:\n\n```dockerfile\n{rule.fixed.rstrip()}\n```\n\n"
        )
    if rule.options:
        out.append("## Options\n\n" + "".join(f"- {option}\n" for option in rule.options) + "\n")
    out.append(
        f"## How to turn it off\n\nFor one instruction, in the comment above it: `# dockc ignore={rule.code} why`. "
        f"Everywhere: `--ignore {rule.code}`, or `ignore` in the configuration.\n"
    )
    return "".join(out)


def severity(rule: type[Rule]) -> str:
    """In dockc's own profile, in words."""
    return rule.severity.value if rule.severity else "off; `--extend` or a severity in the configuration turns it on"


def index(rules: Iterable[type[Rule]], rates: Mapping[str, Rate] | None = None, weighted: Sequence[float] = ()) -> str:
    """The list of all rules, by family; with rates, how often each was right on the corpus."""
    rates = rates or {}
    out = ["# Lint rules\n\n"]
    if weighted:
        right, pedantic, wrong = weighted
        out.append(
            "Findings of the default profile on 481 real files were drawn at random and read one by one "
            f"(`tools/judged`). Weighted by how often rules fire, {right:.0%} were "
            f"worth acting on, {pedantic:.0%} pedantic and {wrong:.0%} wrong. *Right* below is how many of those "
            "that were read were worth acting on.\n\n"
        )
    families: dict[str, list[type[Rule]]] = {}
    for rule in rules:
        families.setdefault(rule.family(), []).append(rule)
    for family, those in sorted(families.items()):
        out.append(
            f"## {family}\n\n| code | name | what it reports | severity | fix | status | right "
            "|\n|---|---|---|---|---|---|---|\n"
        )
        for rule in those:
            level = rule.severity.value if rule.severity else "off"
            summary = rule.summary.replace("|", "\\|")
            rate = rates.get(rule.code)
            right_of = f"{rate.true} of {rate.judged}" if rate is not None and rate.judged else "-"
            out.append(
                f"| {rule.code} | [{rule.name}]({rule.name}.md) | {summary} | {level} | {rule.fixable or '-'} | "
                f"{rule.status} | {right_of} |\n"
            )
        out.append("\n")
    others = sorted(code for code, rate in rates.items() if code.startswith("SC") and rate.judged)
    if others:
        out.append(
            "## ShellCheck\n\nShellCheck's findings come under their own codes; which of them the default profile "
            "keeps, and why, is in `dockc/linter/opinions.py`.\n\n"
        )
        out.append(
            "| code | right |\n|---|---|\n"
            + "".join(f"| {code} | {rates[code].true} of {rates[code].judged} |\n" for code in others)
            + "\n"
        )
    return "".join(out).rstrip("\n") + "\n"


def _status(rule: type[Rule]) -> str:
    if rule.status == "superseded":
        return "superseded: on in hadolint's profile; here a check of BuildKit's says the same"
    return {"preview": "preview: what it reports may still change"}.get(rule.status, rule.status)


def _right(rate: Rate) -> str:
    parts = [f"{rate.true} worth acting on", f"{rate.pedantic} pedantic", f"{rate.false} wrong"]
    return ", ".join(part for part, n in zip(parts, rate[1:], strict=True) if n)


def _fix(rule: type[Rule]) -> str:
    if not rule.fixable:
        return "none"
    if rule.fixable == "unsafe":
        return "unsafe: with `--unsafe` only, because what is built changes"
    return f"safe; may change: {rule.changes}" if rule.changes else "safe: the file compiles to the same image"


def _equivalent(text: str) -> str:
    tool, _, code = text.partition(":")
    return f"{_TOOLS.get(tool, tool)} `{code}`"
