"""Applies the fixes of findings, and proves the safe ones.

    findings -> fixes that do not touch -> edited text -> proof -> lint again, until nothing is left to fix

A fix is atomic. Those that overlap wait for a later round. A safe fix is believed only when every stage compiles to the
same operations
and the same image config before and after, or differs in just what its rule declares (`Rule.changes`); otherwise it is
refused, and the
result says so. Where a base image is named by a build argument without default, both are compiled with a made-up value
of it. Unsafe fixes are applied on demand; they must leave a file that parses as well as before.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dockc.base.record import Record, replace
from dockc.compiler.compile import Front, compiling, read
from dockc.compiler.equivalence import same_tree
from dockc.compiler.imagine import PLATFORM, made_up
from dockc.compiler.options import CompileOptions
from dockc.compiler.questions import Memory, converse
from dockc.compiler.syntax.ast import Dockerfile
from dockc.errors import CompileError
from dockc.grammar.diagnostic import Applicability
from dockc.grammar.edits import apply, with_line_ends
from dockc.grammar.source import Source
from dockc.linter.finding import FileReport, Finding
from dockc.linter.options import LintOptions
from dockc.linter.registry import codes, get_rule
from dockc.linter.runner import lint_source
from dockc.llb import ops as llb
from dockc.oci.platform import Platform, normalize, parse

_ROUNDS = 100
#: A second platform, for files that ask for one in FROM.
_OTHER = "linux/arm64"


class Refused(Record):
    """A fix that was not applied, and why."""

    finding: Finding
    reason: str


class Fixed(Record):
    """What became of a file.

    Attributes:
        text: the file after all fixes.
        applied: findings that were fixed, in the order of rounds.
        refused: fixes that were not believed.
        report: what lint says about the new text.
    """

    text: str
    applied: tuple[Finding, ...]
    refused: tuple[Refused, ...]
    report: FileReport


def fix_source(source: Source, options: LintOptions | None = None, *, unsafe: bool = False, path: str = "") -> Fixed:
    """Fix what can be fixed: safe fixes first, unsafe ones (on demand) when no safe one is left.

    Args:
        source: the file.
        options: how to lint it.
        unsafe: apply unsafe fixes too.
        path: what the report calls the file.
    """
    state = _State(read(source), options or LintOptions(), path or source.name)
    for _ in range(_ROUNDS):
        if state.round(Applicability.SAFE):
            continue
        if not (unsafe and state.round(Applicability.UNSAFE)):
            break
    return Fixed(state.front.source.text, tuple(state.applied), tuple(state.refused.values()), state.report)


class _State:
    """A file between rounds."""

    def __init__(self, front: Front, options: LintOptions, path: str) -> None:
        self.front = front
        self.options = options
        self.path = path
        self.applied: list[Finding] = []
        self.refused: dict[tuple[str, str, str], Refused] = {}
        self.seen = {front.source.text}
        self.report = lint_source(front, options, path=path)

    def round(self, kind: Applicability) -> bool:
        """Apply what fits together; False when nothing could be applied."""
        chosen = self.candidates(kind)
        if not chosen:
            return False
        whole = self.edited(chosen)
        if whole is not None and self.believed(chosen, whole, kind):
            return self.take(chosen, whole)
        for finding in chosen:
            alone = self.edited([finding])
            if alone is not None and self.believed([finding], alone, kind):
                return self.take([finding], alone)
            reason = (
                "the file before and after does not compile to the same image"
                if kind is Applicability.SAFE
                else "the file would not parse"
            )
            if alone is not None and comments(self.front.source.text) - comments(alone.source.text):
                reason = "a comment would be lost"
            self.refused[self.key(finding)] = Refused(finding, reason)
        return True  # what was refused is known now; others may have been hidden by it

    def candidates(self, kind: Applicability) -> list[Finding]:
        """Findings with fixes that do not touch each other, in order of place."""
        found = [
            f for f in self.report.findings if f.fix and f.fix.applicability is kind and self.key(f) not in self.refused
        ]
        found.sort(key=lambda f: min((e.span for e in f.fix.edits), default=f.span) if f.fix else f.span)
        taken: list[tuple[int, int]] = []
        chosen = []
        for finding in found:
            edits = finding.fix.edits if finding.fix else ()
            if not edits or any(_touch((e.span.start, e.span.end), other) for e in edits for other in taken):
                continue
            taken += [(e.span.start, e.span.end) for e in edits]
            chosen.append(finding)
        return chosen

    def key(self, finding: Finding) -> tuple[str, str, str]:
        return (finding.code, finding.message, self.front.source.slice(finding.span))

    def edited(self, chosen: Sequence[Finding]) -> Front | None:
        """The file after some fixes; None where it was like that before, so that fixes never go in circles."""
        before = self.front.source.text
        text = apply(before, with_line_ends([e for f in chosen if f.fix for e in f.fix.edits], before)).text
        return None if text in self.seen else read(Source.from_text(text, self.front.source.name))

    def believed(self, chosen: Sequence[Finding], after: Front, kind: Applicability) -> bool:
        if not {f.code for f in chosen} & _ABOUT_COMMENTS and comments(self.front.source.text) - comments(
            after.source.text
        ):
            return False
        if kind is Applicability.SAFE:
            return proven(self.front, after, {declared(f.code) for f in chosen})
        return after.result.dockerfile is not None or self.front.result.dockerfile is None

    def take(self, chosen: Sequence[Finding], after: Front) -> bool:
        self.applied += chosen
        self.front = after
        self.seen.add(after.source.text)
        self.report = lint_source(after, self.options, path=self.path)
        return True


#: Rules about comments themselves.
_ABOUT_COMMENTS = frozenset(["DK0001", "DK0002"])


def comments(text: str) -> Counter[str]:
    """Comment lines of a file, those within instructions included, each with how often it is there. Lines of heredocs
    that look so count, too.
    """
    return Counter(line.strip() for line in text.split("\n") if line.lstrip(" \t\ufeff").startswith("#"))


def _touch(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two edits share characters, or insert at one place."""
    return one == other or (one[0] < other[1] and other[0] < one[1])


# --- proof


def declared(code: str) -> str:
    """What a rule's safe fix may change."""
    return get_rule(code).changes if code in codes() else ""


def proven(before: Front, after: Front, changes: Iterable[str] = ("",)) -> bool:
    """Whether two files mean the same but for what `changes` names.

    A file that does not compile proves nothing, unless both trees are equal: then they fail alike.
    """
    one, two = before.result.dockerfile, after.result.dockerfile
    if one is None or two is None:
        return False
    if same_tree(one, two):
        return True
    if len(one.stages) != len(two.stages):
        return False
    names = {name for name in changes if name}
    if not names <= CHANGES.keys():
        return False
    platforms = [PLATFORM, _OTHER] if "--platform" in before.source.text.lower() else [PLATFORM]
    memory = Memory()
    for platform in map(parse, platforms):
        for index in range(len(one.stages)):
            first, second = (_product(front, index, platform, memory) for front in (before, after))
            if isinstance(first, str) and isinstance(second, str) and (wanted := _demanded(one)):
                first, second = (_product(front, index, platform, memory, wanted) for front in (before, after))
            if isinstance(first, str) or isinstance(second, str):
                return False
            if not _alike(first, second, names):
                return False
    return True


class _Product(Record):
    """What one stage compiles to.

    Attributes:
        marshalled: operations in order, with their digests.
        config: the image config without its history.
        history: of the image config.
        digests: of the operations.
    """

    marshalled: tuple[tuple[str, bytes], ...]
    config: dict[str, Any]
    history: list[dict[str, Any]]
    digests: tuple[str, ...]

    def ops(self) -> tuple[llb.Op, ...]:
        """The operations, inputs as positions."""
        return _positional(self.marshalled)


def _targeted(front: Front, index: int) -> tuple[Front, str]:
    """A file and target that build a stage: by name, or as the last one of the file, cut off behind it where it has no
    name.
    """
    assert front.result.dockerfile is not None
    stages = front.result.dockerfile.stages
    if index == len(stages) - 1:
        return front, ""
    name = stages[index].name
    if name and name not in {stage.name for stage in stages[index + 1 :]}:
        return front, name
    text = front.source.text[: stages[index + 1].span.start]
    return read(Source.from_text(text, front.source.name)), ""


def _demanded(dockerfile: Dockerfile) -> dict[str, str]:
    """Values for build arguments without which no base image has a name: those before the first FROM that have no
    default.
    """
    names = [pair.key.text for arg in dockerfile.meta_args for pair in arg.pairs if pair.value is None]
    known = {"platform": PLATFORM, "os": "linux", "arch": "amd64"}
    return {name: next((value for end, value in known.items() if name.lower().endswith(end)), "any") for name in names}


def _product(
    front: Front, index: int, platform: Platform, memory: Memory, build_args: Mapping[str, str] = MappingProxyType({})
) -> _Product | str:
    """What a stage compiles to with made-up base images, or why it does not."""
    front, target = _targeted(front, index)
    options = CompileOptions(target=target, build_platforms=(normalize(platform),), build_args=build_args)
    try:
        compiled = converse(memory.heard(compiling(front, options, memory.answers)), made_up)
        definition = compiled.definition
    except CompileError as error:
        return error.message
    config = json.loads(compiled.image_json)
    history = config.pop("history", None) or []
    return _Product(tuple(definition.ops), config, history, definition.digests)


def _positional(marshalled: Iterable[tuple[str, bytes]]) -> tuple[llb.Op, ...]:
    """Operations whose inputs name positions in the list instead of digests, so that one change does not show in all
    that follow.
    """
    places: dict[str, str] = {}
    out: list[llb.Op] = []
    for digest, data in marshalled:
        op = llb.parse(data)
        inputs = tuple(llb.Input(places.get(i.digest, i.digest), i.index) for i in op.inputs)
        places[digest] = str(len(out))
        out.append(replace(op, inputs=inputs))
    return tuple(out)


def _alike(one: _Product, two: _Product, names: set[str]) -> bool:
    if one.config != two.config:
        return False
    if one.digests != two.digests:
        if len(one.marshalled) != len(two.marshalled):
            return False
        for left, right in zip(one.ops(), two.ops(), strict=True):
            if left != right and not any(CHANGES[name].ops(left, right) for name in names):
                return False
    return one.history == two.history or any(CHANGES[name].history(one.history, two.history) for name in names)


# --- what a fix may change


class Change(Record):
    """A difference that a rule may declare.

    Attributes:
        title: for people.
        ops: whether two operations differ in just this.
        history: whether two histories differ in just this.
    """

    title: str
    ops: Callable[[llb.Op, llb.Op], bool]
    history: Callable[[list[dict[str, Any]], list[dict[str, Any]]], bool]


def _never(_one: object, _two: object) -> bool:
    return False


def _more_words(one: llb.Op, two: llb.Op) -> bool:
    """The command of an exec has words that it did not have, and all that it had in the same order."""
    if (
        not isinstance(one.op, llb.ExecOp)
        or not isinstance(two.op, llb.ExecOp)
        or one.op.meta is None
        or two.op.meta is None
    ):
        return False
    old, new = one.op.meta.args, two.op.meta.args
    same = replace(two, op=replace(two.op, meta=replace(two.op.meta, args=old)))
    return same == one and _within(" ".join(old).split(), " ".join(new).split())


def _within(few: list[str], many: list[str]) -> bool:
    """Whether `few` is a subsequence of `many`."""
    rest = iter(many)
    return all(word in rest for word in few)


def _run_history(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> bool:
    return _without_text(one, "RUN ") == _without_text(two, "RUN ")


def _copy_history(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> bool:
    return _without_text(one, "ADD ", "COPY ") == _without_text(two, "ADD ", "COPY ")


def _without_text(history: list[dict[str, Any]], *keywords: str) -> list[dict[str, Any]]:
    return [h | {"created_by": ""} if str(h.get("created_by", "")).startswith(keywords) else h for h in history]


def _same_layers(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> bool:
    """Entries that stand for a layer are the same; those that stand for none may differ."""
    return [h for h in one if not h.get("empty_layer")] == [h for h in two if not h.get("empty_layer")]


def _more_slash(one: llb.Op, two: llb.Op) -> bool:
    """Copies that differ in the slash at the end of their destination, which only the second has."""
    if (
        not isinstance(one.op, llb.FileOp)
        or not isinstance(two.op, llb.FileOp)
        or len(one.op.actions) != len(two.op.actions)
    ):
        return False
    actions = []
    for old, new in zip(one.op.actions, two.op.actions, strict=True):
        if (
            isinstance(old.action, llb.Copy)
            and isinstance(new.action, llb.Copy)
            and new.action.dest == f"{old.action.dest}/"
        ):
            new = replace(new, action=replace(new.action, dest=old.action.dest))
        actions.append(new)
    return replace(two, op=llb.FileOp(tuple(actions))) == one


def _no_unpacking(one: llb.Op, two: llb.Op) -> bool:
    """Copies that differ in whether archives are unpacked."""
    return isinstance(one.op, llb.FileOp) and isinstance(two.op, llb.FileOp) and _packed(one) == _packed(two)


def _packed(op: llb.Op) -> llb.Op:
    if not isinstance(op.op, llb.FileOp):
        return op
    actions = tuple(
        replace(a, action=replace(a.action, unpack=False)) if isinstance(a.action, llb.Copy) else a
        for a in op.op.actions
    )
    return replace(op, op=llb.FileOp(actions))


CHANGES = {
    "more words in RUN": Change("The command of the RUN gains words; nothing else differs.", _more_words, _run_history),
    "COPY for ADD": Change("Archives are not unpacked; nothing else differs.", _no_unpacking, _copy_history),
    "history": Change(
        "Entries of the image's history that stand for no layer; operations and config are the same.",
        _never,
        _same_layers,
    ),
    "destination gains a slash": Change(
        "Destinations of COPY end with a slash; nothing else differs.", _more_slash, _copy_history
    ),
}
