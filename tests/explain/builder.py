"""Builds and plans in one process, as asked for on standard input, a JSON object a line: `builder.py STORE`.

    {"context": DIR, "attrs": {...}, "contexts": {...}, "cache_from": [...], "plan": true}

Answers each with a JSON object: what the view showed, what was planned for each step, and what became of it.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from dockc.commands.build import build_and_show
from dockc.commands.explain import _planned, look
from dockc.engine import history
from dockc.engine.missed import misses
from dockc.engine.request import Asked, CompileRequest
from dockc.runtime.exporter.options import Output


def answer(store: Path, asked: dict[str, Any]) -> dict[str, Any]:
    request = CompileRequest(asked["context"], attrs=asked.get("attrs"), contexts=asked.get("contexts"), store=store)
    planned = None
    if asked.get("plan"):
        looked = look(request, online=True, filename="Dockerfile")
        planned = {one.planned.vertex.digest: [one.planned.state.value, _reason(one.why)] for one in _planned(looked, insecure=False)}
    shown = io.StringIO()
    with redirect_stderr(shown):
        build_and_show(Asked(compile=request, outputs=(Output("cacheonly"),)), mode="plain", metadata_file=None, iidfile=None)
    record = history.find(store, "last")
    told = history.told_of(record)
    why = {one.diff.vertex: _reason(one.diff) for one in misses(store, "last").misses}
    steps = {
        digest: {"name": step.key.name, "ran": step.ran, "cached": one.step.cached, "why": why.get(digest, ""), "one": why_of(store, digest)}
        for one in history.steps_of(record)
        if (digest := one.step.digest) in told.steps and not (step := told.steps[digest]).is_local
    }
    return {"shown": shown.getvalue(), "plan": planned, "steps": steps}


def why_of(store: Path, digest: str) -> list[str]:
    """What is said when one step is asked about."""
    return [str(one.diff.reason) for one in misses(store, "last", step=digest).misses]


def _reason(diff: Any) -> str:
    return "" if diff is None else str(diff.reason)


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(Path(sys.argv[1]), json.loads(line))), flush=True)
