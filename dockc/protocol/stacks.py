"""Where an error was raised, as a detail of its status: what BuildKit's clients print with `--debug`.

Source: BuildKit's `util/stack` (type and fields); the innermost frame and the first cause come first.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType

from dockc.base.version import VERSION

STACK = "github.com/moby/buildkit/stack.Stack+json"
_STACKS = 4
_FRAMES = 24


def stacks_of(error: BaseException) -> list[bytes]:
    """Values of details of type `STACK`: of the error and what it came from, as far as they were raised here.

    They tell functions, files (relative to where modules are found) and lines, and nothing of what was worked on; of the
    command line only the program.
    """
    made = []
    for one in reversed(list(islice(_chain(error), _STACKS))):
        frames = list(_frames(one.__traceback__))[-_FRAMES:][::-1]
        if frames:
            told = {
                "frames": frames,
                "cmdline": [Path(sys.argv[0]).name],
                "pid": os.getpid(),
                "version": VERSION,
            }
            made.append(json.dumps(told, separators=(",", ":")).encode())
    return made


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)


def _frames(trace: TracebackType | None) -> Iterator[dict[str, str | int]]:
    while trace is not None:
        code = trace.tb_frame.f_code
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        yield {"Name": f"{module}.{code.co_qualname}", "File": _shown(code.co_filename), "Line": trace.tb_lineno}
        trace = trace.tb_next


def _shown(path: str) -> str:
    found = [folder for folder in sys.path if folder and path.startswith(folder + os.sep)]
    return path[len(max(found, key=len)) + 1 :] if found else Path(path).name
