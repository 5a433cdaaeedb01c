"""Answers to questions about a file that build nothing: its outline (what can be set) and its targets.

The JSON forms are those of BuildKit's `frontend.outline` and `frontend.targets` requests.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from dockc.compiler.lower.stages import StageState
    from dockc.compiler.notes import ArgInfo, Needed
    from dockc.compiler.syntax.ast import Dockerfile

    Lines = tuple[int, int]


def outline(target: StageState) -> dict[str, Any]:
    """The outline of a target stage: name, description, ARGs, secrets and ssh agents, by line."""
    args: dict[str, ArgInfo] = {}
    secrets: dict[str, Needed] = {}
    ssh: dict[str, Needed] = {}
    for stage in _with_dependencies(target):
        for info in stage.outline.used_args():
            args.setdefault(info.name, info)
        for name, need in stage.outline.secrets.items():
            secrets.setdefault(name, need)
        for name, need in stage.outline.ssh.items():
            ssh.setdefault(name, need)
    out: dict[str, Any] = {}
    if target.name:
        out["name"] = target.name
    if target.description:
        out["description"] = target.description
    if args:
        ordered = sorted(args.values(), key=lambda info: info.lines[0])
        out["args"] = [_arg_json(info) for info in ordered]
    for key, needs in (("secrets", secrets), ("ssh", ssh)):
        if needs:
            listed = sorted(needs.items(), key=lambda item: item[1].lines[0])
            out[key] = [_need_json(name, need) for name, need in listed]
    return out


def _with_dependencies(target: StageState) -> list[StageState]:
    """The stage, its base and the stages it reads, and so on; each once, in that order."""
    order = []
    seen = set()
    stack = [target]
    while stack:
        stage = stack.pop()
        if stage in seen:
            continue
        seen.add(stage)
        order.append(stage)
        following = [] if stage.base is None else [stage.base]
        following += stage.depends
        stack.extend(reversed(following))
    return order


def _arg_json(info: ArgInfo) -> dict[str, Any]:
    out: dict[str, Any] = {"name": info.name}
    if info.description:
        out["description"] = info.description
    if info.value:
        out["value"] = info.value
    return out | _location_json(info.lines)


def _need_json(name: str, need: Needed) -> dict[str, Any]:
    out: dict[str, Any] = {"name": name}
    if need.required:
        out["required"] = True
    return out | _location_json(need.lines)


def _location_json(lines: Lines) -> dict[str, Any]:
    ranges = line_ranges(lines)
    return {"location": {"ranges": ranges}} if ranges else {}


def line_ranges(lines: Lines) -> list[dict[str, dict[str, int]]]:
    """Each line as a range in the wire form, which leaves zeros out."""
    first, last = lines
    if not first:
        return []
    return [{"start": {"line": n}, "end": {"line": n}} for n in range(first, max(first, last) + 1)]


def targets(dockerfile: Dockerfile) -> list[dict[str, Any]] | None:
    """All stages that can be built, the default one marked; None for a file without stages."""
    found: list[dict[str, Any]] = []
    last = len(dockerfile.stages) - 1
    for index, stage in enumerate(dockerfile.stages):
        pairs: tuple[tuple[str, Any], ...] = (
            ("name", stage.name),
            ("default", index == last),
            ("description", stage.doc_comment),
            ("base", stage.base.text),
            ("platform", stage.platform.text),
        )
        found.append({key: value for key, value in pairs if value} | _location_json(stage.lines))
    return found or None


# --- as text for people -------------------------------------------------------------------------------


def outline_text(found: dict[str, Any]) -> str:
    """The outline as tables."""
    parts = []
    if found.get("name") or found.get("description"):
        rows = [("TARGET:", found.get("name") or "(default)")]
        if found.get("description"):
            rows.append(("DESCRIPTION:", found["description"]))
        parts.append(_table(rows, 1))
    if found.get("args"):
        rows_ = [("BUILD ARG", "VALUE", "DESCRIPTION")]
        rows_ += [(arg["name"], arg.get("value", ""), arg.get("description", "")) for arg in found["args"]]
        parts.append(_table(rows_, 3))
    for key, title in (("secrets", "SECRET"), ("ssh", "SSH")):
        if found.get(key):
            rows = [(title, "REQUIRED")]
            rows += [(need["name"], "true" if need.get("required") else "") for need in found[key]]
            parts.append(_table(rows, 3))
    return "".join(f"{part}\n" for part in parts)


def targets_text(found: list[dict[str, Any]] | None) -> str:
    """The targets as a table."""
    rows = [("TARGET", "DESCRIPTION")]
    for target in found or ():
        name = target.get("name", "")
        if target.get("default"):
            name = f"{name} (default)" if name else "(default)"
        rows.append((name, target.get("description", "")))
    return _table(rows, 1)


def _table(rows: Sequence[Iterable[str]], gap: int) -> str:
    """Columns padded to the same width, all but the last."""
    cells = [list(row) for row in rows]
    widths = [max(len(row[i]) for row in cells) + gap for i in range(len(cells[0]) - 1)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)) + "\n" for row in cells
    )
