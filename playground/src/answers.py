"""What the worker answers: one request (JSON) to one reply (JSON), with nothing of dockc's but its public names.

Runs in Pyodide, inside the page's worker. Places are offsets in UTF-16 code units, as the editor counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import dockc
from dockc.errors import CompileError, DockcError

PLATFORM = "linux/amd64"

class Page:
    """The state of the page that was sent."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        # Half of a surrogate pair, which an editor may hold for a moment, is no text: it counts as one unknown character.
        self.text = request["text"].encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        self.line: int = request.get("line", 1)
        self.level: int = request.get("level", 2)
        ignored: str = request.get("ignore", "")
        self.ignore_file = ignored.encode("utf-8", "replace") if ignored.strip() else None
        files = [name.strip().lstrip("/") for name in request.get("files", "").split("\n")]
        self.files = tuple(name for name in files if name and not name.startswith("#"))
        self.attrs = {"platform": request.get("platform") or PLATFORM}
        if request.get("target"):
            self.attrs["target"] = request["target"]
        for row in request.get("args", "").split("\n"):
            name, equals, value = row.strip().partition("=")
            if name and equals:
                self.attrs[f"build-arg:{name}"] = value
        self.known: dict[str, Any] = {"attrs": self.attrs, "answers": "made-up", "ignore_file": self.ignore_file}
        # Offsets only differ where the text has characters outside the basic plane.
        self.plain = all(ord(character) < 0x10000 for character in self.text)

    def at(self, offset: int) -> int:
        """An offset in code points as one in UTF-16 code units."""
        return offset if self.plain else len(self.text[:offset].encode("utf-16-le", "surrogatepass")) // 2


def answer(raw: str) -> str:
    """Findings, stages and the pane that is looked at; what goes wrong is part of the reply."""
    request = json.loads(raw)
    page = Page(request)
    reply: dict[str, Any] = {"id": request["id"], "findings": [], "stages": [], "error": None, "pane": None}
    _try(reply, "error", lambda: reply.update(findings=_findings(page)))
    _try(reply, "parse", lambda: reply.update(stages=_stages(page)))
    pane = _PANES.get(request.get("pane", ""))
    if pane is not None:
        _try(reply, "error", lambda: reply.update(pane=pane(page)))
    return json.dumps(reply)


def fix(raw: str) -> str:
    """The text with all safe fixes applied, each proven; and which were."""
    request = json.loads(raw)
    page = Page(request)
    fixed = dockc.fix(page.text, options=_lint_options(page))
    return json.dumps({"id": request["id"], "text": fixed.text, "applied": [finding.code for finding in fixed.applied]})


def _try(reply: dict[str, Any], key: str, action: Callable[[], object]) -> None:
    try:
        action()
    except DockcError as error:
        lines = getattr(error, "locations", ())
        reply[key] = {"message": error.message, "hint": error.hint, "line": lines[0][0][0] if lines and lines[0] else 0}
    except RecursionError:
        reply[key] = {"message": "the file is nested too deeply", "hint": "", "line": 0}


def _lint_options(page: Page) -> Any:
    from dockc import LintOptions

    return LintOptions(attrs=page.attrs, ignore_file=page.ignore_file, shellcheck=False)


def _findings(page: Page) -> list[dict[str, Any]]:
    found = [_finding(page, finding) for finding in dockc.lint(page.text, options=_lint_options(page))]
    return sorted([*found, *_missing(page)], key=lambda one: (one["line"], one["column"]))


def _finding(page: Page, finding: Any) -> dict[str, Any]:
    fixes = None
    if finding.fix is not None:
        edits = [{"from": page.at(e.span[0]), "to": page.at(e.span[1]), "insert": e.text} for e in finding.fix.edits]
        fixes = {"title": finding.fix.title, "edits": edits, "safe": finding.fix.applicability.value == "safe"}
    return {
        "code": finding.code, "severity": finding.severity.value, "message": finding.message, "help": finding.help, "line": finding.line,
        "column": finding.column, "from": page.at(finding.span[0]), "to": page.at(finding.span[1]), "fix": fixes, "about": finding.description,
    }  # fmt: skip


def _missing(page: Page) -> Iterable[dict[str, Any]]:
    """Sources of COPY and ADD that no file of the context answers to; nothing where no file is listed."""
    if not page.files:
        return
    try:
        copied = dockc.copies(page.text, page.files, **page.known)
    except DockcError:
        return  # it is told elsewhere
    starts = [0]
    for row in page.text.split("\n"):
        starts.append(starts[-1] + len(row) + 1)
    for one in copied:
        if not one.files and one.line:
            start, end = starts[one.line - 1], starts[one.line] - 1
            yield {
                "code": "context", "severity": "error", "message": f"no file of the context is {', '.join(one.paths)}", "line": one.line,
                "help": "It is not listed, or .dockerignore leaves it out.", "column": 1, "from": page.at(start), "to": page.at(end), "fix": None,
                "about": "The files of the context are those that you list.",
            }  # fmt: skip


def _stages(page: Page) -> list[dict[str, Any]]:
    return [{"name": stage.name, "line": stage.lines[0]} for stage in dockc.parse(page.text).stages]


# --- panes ----------------------------------------------------------------------------------------------


def _formatted(page: Page) -> Any:
    return {"before": page.text, "after": dockc.format(page.text)}


def _graph(page: Page) -> Any:
    drawn = dockc.graph(page.text, **page.known).render("svg")
    return {"svg": drawn[drawn.index("<svg") :]}


def _explain(page: Page) -> Any:
    said = str(dockc.explain(page.text, page.line, context=page.files or None, **page.known))
    if said:
        return {"text": said, "line": page.line}
    note = f"Line {page.line} holds no instruction."
    file = dockc.parse(page.text)
    starts = [one.lines[0] for one in file.meta_args]
    for stage in file.stages:
        starts += [stage.lines[0], *(one.lines[0] for one in stage.instructions)]
    following = min((start for start in starts if start > page.line), default=0)
    if following:
        said = str(dockc.explain(page.text, following, context=page.files or None, **page.known))
        note += " The next one:\n\n"
    return {"text": note + said, "line": following or page.line}


def _ir(page: Page) -> Any:
    compiled = dockc.compile(page.text, **page.known)
    return {"before": dockc.emit(compiled, "ir"), "after": dockc.emit(dockc.optimize(compiled, level=page.level), "ir")}


def _llb(page: Page) -> Any:
    return {"text": dockc.emit(dockc.compile(page.text, **page.known), "llb")}


def _image(page: Page) -> Any:
    written = dockc.emit(dockc.compile(page.text, **page.known), "image")
    try:
        written = json.dumps(json.loads(written), indent=2, ensure_ascii=False)
    except CompileError:
        pass
    return {"text": written}


_PANES: Mapping[str, Callable[[Page], Any]] = {
    "formatted": _formatted, "graph": _graph, "explain": _explain, "ir": _ir, "llb": _llb, "image": _image,
}  # fmt: skip
