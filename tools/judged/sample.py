"""How often lint's default profile is right on real files: a sample of its findings, read and judged one by one.

    python tools/judged/sample.py draw ../shared/corpus       what is to be judged: of each rule at most ten, drawn by a seed, and all errors
    python tools/judged/sample.py check ../shared/corpus      whether what was judged true is still found, and what was judged false is not
    python tools/judged/sample.py rates                       the rates, by rule and weighted by how often rules fire

`verdicts.tsv` beside this file has a line a finding: file, line, rule, verdict and the reason. The verdicts:

    true        worth acting on: a fault, a risk or waste that the author would mend if they saw it
    pedantic    right as far as it goes, and hardly worth it in this place
    false       wrong: what it says does not hold, or what it proposes would break something

`counts.tsv` has how often each rule fires over all files, which is what the rates are weighted by.
"""

from __future__ import annotations

import random
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
VERDICTS = ("true", "pedantic", "false")
SEED = "judged"
MOST = 10


class Judged(NamedTuple):
    """One verdict. `rule` may be `build-error` or one of ShellCheck's."""

    file: str
    line: int
    rule: str
    verdict: str
    reason: str


class Found(NamedTuple):
    """One finding of the default profile."""

    file: str
    line: int
    rule: str
    level: str
    message: str


def files(corpus: Path) -> list[Path]:
    """The Dockerfiles of a corpus, in order."""
    return sorted(p for folder in corpus.iterdir() if folder.is_dir() and not folder.name.startswith("expected") for p in folder.iterdir() if p.is_file())


def findings(corpus: Path) -> list[Found]:
    """All findings of the default profile, ShellCheck's included; configuration lying about does not count."""
    from dockc.commands.lint.shellcheck import with_checker
    from dockc.grammar.source import Source
    from dockc.linter.options import LintOptions
    from dockc.linter.runner import lint_source

    options = with_checker(LintOptions(shellcheck=True))
    found = []
    for path in files(corpus):
        name = path.relative_to(corpus).as_posix()
        report = lint_source(Source(name, path.read_bytes()), options)
        found += [Found(name, f.line, f.code, f.severity.value, f.message) for f in report.findings]
    return found


def drawn(found: list[Found]) -> list[Found]:
    """The sample: all errors, and of each rule at most ten."""
    by_rule: dict[str, list[Found]] = defaultdict(list)
    for one in found:
        by_rule[one.rule].append(one)
    chosen = {one for one in found if one.level == "error"}
    for rule, those in sorted(by_rule.items()):
        chosen.update(random.Random(f"{SEED} {rule}").sample(those, min(MOST, len(those))))  # noqa: S311
    return sorted(chosen, key=lambda f: (f.rule, f.file, f.line))


def verdicts() -> list[Judged]:
    """What was judged."""
    rows = []
    for number, text in enumerate((HERE / "verdicts.tsv").read_text().splitlines(), 1):
        if text and not text.startswith("#"):
            file, line, rule, verdict, reason = text.split("\t")
            if verdict not in VERDICTS or not reason:
                raise SystemExit(f"verdicts.tsv:{number}: no verdict and reason")
            rows.append(Judged(file, int(line), rule, verdict, reason))
    return rows


def counts() -> dict[str, int]:
    """How often each rule fires over the corpus."""
    return {rule: int(n) for rule, n in (line.split("\t") for line in (HERE / "counts.tsv").read_text().splitlines() if not line.startswith("#"))}


class Rate(NamedTuple):
    """Of one rule: its findings over all files, and how many of them were judged how. What it no longer reports does not count."""

    found: int
    true: int
    pedantic: int
    false: int

    @property
    def judged(self) -> int:
        """How many were read."""
        return self.true + self.pedantic + self.false


def rates() -> dict[str, Rate]:
    """By rule. A finding that was judged false and is reported no more is not one of the profile's."""
    fired = counts()
    gone = {(j.file, j.line, j.rule) for j in verdicts() if j.reason.startswith("gone: ")}
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for one in verdicts():
        if (one.file, one.line, one.rule) not in gone:
            table[one.rule][one.verdict] += 1
    return {rule: Rate(n, *(table[rule][v] for v in VERDICTS)) for rule, n in fired.items()}


def weighted() -> tuple[float, float, float]:
    """Shares of true, pedantic and false findings of the default profile."""
    shares = [0.0, 0.0, 0.0]
    known = {rule: rate for rule, rate in rates().items() if rate.judged}
    total = sum(rate.found for rate in known.values())
    for rate in known.values():
        for index, n in enumerate(rate[1:]):
            shares[index] += rate.found * n / rate.judged / total
    return shares[0], shares[1], shares[2]


def faults(found: list[Found]) -> list[str]:
    """What the verdicts and the findings of today disagree about."""
    present = {(f.file, f.line, f.rule) for f in found}
    wrong = []
    for one in verdicts():
        here = (one.file, one.line, one.rule) in present
        place = f"{one.file}:{one.line} {one.rule}"
        if one.verdict == "true" and not here:
            wrong.append(f"{place} is lost: {one.reason}")
        elif one.verdict == "false" and here and one.reason.startswith("gone: "):
            wrong.append(f"{place} is back: {one.reason}")
    return wrong


def main(arguments: list[str]) -> int:
    """The three commands."""
    match arguments:
        case ["draw", corpus]:
            found = findings(Path(corpus))
            known = {(j.file, j.line, j.rule): j for j in verdicts()} if (HERE / "verdicts.tsv").exists() else {}
            for one in drawn(found):
                verdict = known.get((one.file, one.line, one.rule))
                print(one.file, one.line, one.rule, verdict.verdict if verdict else "?", verdict.reason if verdict else one.message, sep="\t")
            fired = Counter(f.rule for f in found)
            (HERE / "counts.tsv").write_text("# rule and its findings over the corpus\n" + "".join(f"{rule}\t{n}\n" for rule, n in sorted(fired.items())))
        case ["check", corpus]:
            wrong = faults(findings(Path(corpus)))
            print("\n".join(wrong) or "all verdicts hold")
            return bool(wrong)
        case ["rates"]:
            for rule, rate in sorted(rates().items()):
                print(f"{rule:34}{rate.found:5} found {rate.judged:3} judged: {rate.true} true, {rate.pedantic} pedantic, {rate.false} false")
            print("weighted: {:.1%} true, {:.1%} pedantic, {:.1%} false".format(*weighted()))
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
