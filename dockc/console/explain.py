"""Explanations as text: pages of rules, instructions and passes, and what a line does."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dockc.base.record import Record, fields_of
from dockc.console.clean import clean_text

if TYPE_CHECKING:
    from dockc.compiler.explain.instructions import InstructionDoc
    from dockc.compiler.explain.line import Key, LineReport, Variable
    from dockc.linter.rule import Rule
    from dockc.solver.keydiff import Missed

_WIDTH = 100
_MANY = 12


# --- pages ----------------------------------------------------------------------------------------------


def rule_page(rule: type[Rule]) -> str:
    """A rule's page as text."""
    off = rule.severity is None
    facts = [("code", rule.code), ("name", rule.name), ("severity", "off by default" if off else _severity(rule))]
    if rule.hadolint_severity is not None:
        facts.append(("in hadolint", rule.hadolint_severity.value))
    if rule.equivalents:
        facts.append(("same as", ", ".join(e.replace(":", " ") for e in rule.equivalents)))
    facts.append(("fix", f"yes, {rule.fixable}" if rule.fixable else "none"))
    out = [f"{rule.code} {rule.name}\n", f"{rule.summary}\n", ""]
    out += [f"{name + ':':<13}{value}" for name, value in facts]
    out += ["", inspect.cleandoc(rule.__doc__ or "")]
    for option in rule.options:
        out.append(f"- {option}")
    for title, text in (("Bad", rule.bad), ("Good", rule.good), ("After the fix", rule.fixed)):
        if text:
            out += ["", f"## {title}", "", textwrap.indent(text.rstrip("\n"), "    ")]
    return "\n".join(out) + "\n"


def _severity(rule: type[Rule]) -> str:
    assert rule.severity is not None
    return rule.severity.value


def rule_list(rules: Sequence[type[Rule]]) -> str:
    """All rules, one a line."""
    from dockc.console.tables import table

    rows = [
        (r.code, r.name, "off" if r.severity is None else r.severity.value, r.fixable or "-", r.summary) for r in rules
    ]
    return table(("CODE", "NAME", "SEVERITY", "FIX", "SUMMARY"), rows)


def instruction_page(doc: InstructionDoc) -> str:
    """An instruction's page as text."""
    out = [
        f"{doc.keyword}\n",
        *(f"    {form}" for form in doc.syntax),
        "",
        *_wrapped(doc.summary),
        "",
        *_wrapped(doc.text),
    ]
    if doc.flags:
        width = max(map(len, doc.flags)) + 2
        out += ["", "Options:"]
        for flag, meaning in sorted(doc.flags.items()):
            lines = textwrap.wrap(meaning, _WIDTH - width - 2) or [""]
            out.append(f"  {flag:<{width}}{lines[0]}")
            out += [" " * (width + 2) + line for line in lines[1:]]
    out += ["", "Example:", f"    {doc.example}"]
    return "\n".join(out) + "\n"


def pass_page(name: str, page: str, levels: Sequence[str]) -> str:
    """A pass's page as text."""
    runs = f"runs at {', '.join(levels)}" if levels else "runs when asked for"
    return f"pass {name} ({runs})\n\n{inspect.cleandoc(page)}\n"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH)


# --- a line ---------------------------------------------------------------------------------------------


def line_text(report: LineReport, filename: str, files: Mapping[Key, Sequence[str]], made_up: bool) -> str:
    """What an instruction does.

    Args:
        report: the facts.
        filename: of the Dockerfile.
        files: for keys that are files of a local directory, those that are there now.
        made_up: nothing is known about base images; digests are not those of a real build.
    """
    first, last = report.lines
    where = f"{filename}:{first}" + (f"-{last}" if last > first else "")
    out = [f"{where}  {_line(report.text)}"]
    if report.stage:
        note = "" if report.needed else " (not needed for the target: it would not run)"
        out.append(f"stage {clean_text(report.stage)}{note}")
    if report.trigger:
        out.append("an ONBUILD trigger of the base image")
    if report.doc is not None:
        summary = (not report.stage and report.doc.outside) or report.doc.summary
        out += ["", *textwrap.wrap(summary, _WIDTH)]
        used = [flag for flag in report.doc.flags if f"{flag}=" in report.text or f"{flag} " in report.text]
        out += [f"  {flag}: {report.doc.flags[flag]}" for flag in used]
    out += _section("Values", [*_expansions(report), *_variables(report.variables)])
    out += _section("Depends on", [_line(one) for one in report.depends])
    out += _section("Cache key", list(_keys(report.keys, files)) or ["none of its own: it makes no step"])
    out += _section("Is part of the cache key of", [_line(one) for one in report.affects])
    out += _section("Adds to the image", list(_image(report)))
    out += _section("LLB", list(_vertices(report)) or ["no operation"])
    if made_up and report.vertices:
        out += ["", "Base images were made up: digests are those of a real build only with --online or --answers."]
    return "\n".join(out) + "\n"


def line_json(reports: Sequence[LineReport], filename: str, files: Mapping[Key, Sequence[str]], made_up: bool) -> str:
    """The same as JSON: a list of instructions, each with its values, keys, changes and operations."""
    instructions = []
    for report in reports:
        row = {name: _plain(getattr(report, name)) for name in fields_of(report) if name != "doc"}
        row["instruction"] = report.doc.keyword if report.doc is not None else ""
        for key, told in zip(report.keys, row["keys"], strict=True):
            told["files"] = list(files[key]) if key in files else None
        instructions.append(row)
    return _document({"file": filename, "made_up": made_up, "instructions": instructions})


def _plain(value: Any) -> Any:
    """Records and tuples as JSON has them."""
    if isinstance(value, Record):
        return {name: _plain(getattr(value, name)) for name in fields_of(value)}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def _document(value: object) -> str:
    # Words that were no UTF-8 come as replacement characters: JSON has no bytes.
    return json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n"


def _line(text: str) -> str:
    """Text of an instruction on one line, its indentation left out."""
    return " ".join(clean_text(text).split())


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"{title}:", *(f"  {line}" for line in lines)] if lines else []


def _expansions(report: LineReport) -> Iterator[str]:
    for text, value in report.expanded:
        yield f"{clean_text(text)} -> {clean_text(value) or '(empty)'}"


def _variables(variables: Sequence[Variable]) -> Iterator[str]:
    for one in variables:
        if one.origin is None:
            yield f"${one.name} is not set"
            continue
        match one.origin.kind:
            case "base":
                where = "from the base image"
            case "builder":
                where = "given by the builder"
            case "arg" if one.origin.given:
                where = f"ARG of line {one.origin.line}, given with --build-arg"
            case "arg" if one.origin.above:
                where = (
                    f"ARG of line {one.origin.line}, value of the ARG of line {one.origin.above}, before the first FROM"
                )
            case "arg" if one.origin.automatic:
                where = f"ARG of line {one.origin.line}, given by the builder"
            case kind:
                where = f"{kind.upper()} of line {one.origin.line}"
        value = "not set" if one.value is None else json.dumps(one.value, ensure_ascii=False)
        yield f"${one.name} = {clean_text(value)} ({where})"


def _keys(keys: Sequence[Key], files: Mapping[Key, Sequence[str]]) -> Iterator[str]:
    for key in keys:
        yield f"{key.what + ':':<11}{clean_text(key.detail)}"
        found = files.get(key)
        if found is None:
            continue
        if not found:
            yield f"{'':<11}no such file in {key.source} now"
        for name in found[:_MANY]:
            yield f"{'':<11}- {clean_text(name)}"
        if len(found) > _MANY:
            yield f"{'':<11}and {len(found) - _MANY} more"


def _image(report: LineReport) -> Iterator[str]:
    if report.history is None:
        if not report.changes:
            yield "nothing"
    else:
        yield f"history: {clean_text(report.history)}"
        yield "a layer" if report.layer else "no layer"
    for change in report.changes:
        if change.old is None:
            yield f"config: {change.field} = {_json(change.new)}"
        elif change.new is None:
            yield f"config: {change.field} is removed (was {_json(change.old)})"
        else:
            yield f"config: {change.field} = {_json(change.new)} (was {_json(change.old)})"


def _json(value: object) -> str:
    return clean_text(json.dumps(value, ensure_ascii=False))


def _vertices(report: LineReport) -> Iterator[str]:
    for vertex in report.vertices:
        yield f"{vertex.kind} {vertex.digest}"
        if vertex.name:
            yield f"  {_line(vertex.name)}"
        for line in vertex.detail:
            yield f"  {clean_text(line)}"


# --- a plan ---------------------------------------------------------------------------------------------


def plan_text(rows: Sequence[tuple[str, str, str, Sequence[str]]], counts: Mapping[str, int], filename: str) -> str:
    """A plan: one line a step with its place, and why it would run.

    Args:
        rows: word (`HIT`, `MISS`, `UNKNOWN`), name, line numbers as text or "", reasons.
        counts: steps by word.
        filename: of the Dockerfile.
    """
    width = max((len(f"{filename}:{line}") for _, _, line, _ in rows if line), default=0)
    out = []
    for word, name, line, reasons in rows:
        place = f"{filename}:{line}" if line else ""
        out.append(f"{word:<8} {place:<{width}}  {_line(name)}".rstrip())
        out += [f"{'':<8} {'':<{width}}    {_line(reason)}" for reason in reasons]
    parts = [f"{counts.get('HIT', 0)} cached", f"{counts.get('MISS', 0)} to run"]
    if counts.get("UNKNOWN"):
        parts.append(f"{counts['UNKNOWN']} depending on contents")
    return "\n".join([*out, ", ".join(parts)]) + "\n"


def plan_json(rows: Sequence[tuple[str, str, str, Sequence[str]]], counts: Mapping[str, int], filename: str) -> str:
    """The same as JSON."""
    steps = [
        {
            "state": word.lower(),
            "name": name,
            "lines": [int(n) for n in line.split("-")] if line else [],
            "why": list(reasons),
        }
        for word, name, line, reasons in rows
    ]
    return _document(
        {"file": filename, "counts": {word.lower(): count for word, count in counts.items()}, "steps": steps}
    )


# --- a build that was -----------------------------------------------------------------------------------


def misses_text(misses: Sequence[Missed], filename: str) -> str:
    """Why steps ran: a step with its place, and a line for each thing that is another; "" where none ran."""
    from dockc.console.why import why_lines

    out = []
    for one in misses:
        place = f"{filename}:{one.line}  " if one.line else ""
        out.append(f"{place}{_line(one.diff.name)}")
        out += [f"  {line}" for line in why_lines(one.diff)]
    return "".join(f"{line}\n" for line in out)


def misses_json(misses: Sequence[Missed], filename: str) -> str:
    """The same as JSON: a list of steps."""
    from dockc.console.why import why_lines

    return _document(
        [
            {
                "step": one.diff.vertex, "name": one.diff.name, "file": filename, "line": one.line or None,
                "first": one.first, "reason": str(one.diff.reason), "why": why_lines(one.diff),
                "changes": [{"what": c.path, "old": c.old, "new": c.new} for c in one.diff.changes],
                "files": [{"path": f.path, "what": f.what, "old": f.old, "new": f.new} for f in one.diff.files],
                "more_files": one.diff.more, "source": one.diff.source, "build": one.diff.ref, "at": one.diff.at or None,
            }
            for one in misses
        ]
    )  # fmt: skip


def duration_text(seconds: float) -> str:
    """`12ms`, `7.3s`, `3m 20s`."""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 100:
        return f"{seconds:.1f}s"
    return f"{int(seconds) // 60}m {int(seconds) % 60}s"
