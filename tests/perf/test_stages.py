"""The scheduler's work grows with the stages of a Dockerfile, not with their square: calls of a real build are counted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_COUNT = """
import sys
from dockc.solver.core.advance import Advancing
count = 0
advance = Advancing._advance
def counted(self, edge):
    global count
    count += 1
    advance(self, edge)
Advancing._advance = counted
import os
end = os._exit
def told(status):
    print(count, flush=True)
    end(status)
os._exit = told
from dockc.__main__ import main
sys.argv = ["dockc", "build", "--progress", "quiet", "--output", "type=tar,dest=" + sys.argv[2], sys.argv[1]]
try:
    main()
except SystemExit as status:
    told(status.code or 0)
told(0)
"""


def advances(folder: Path, stages: int) -> int:
    context = folder / str(stages)
    context.mkdir()
    (context / "f").write_text("x")
    lines = [f"FROM scratch AS s{n}\nCOPY f /f{n}\n" for n in range(stages)]
    lines += ["FROM scratch\n", *(f"COPY --from=s{n} /f{n} /f{n}\n" for n in range(stages))]
    (context / "Dockerfile").write_text("".join(lines))
    command = [sys.executable, "-c", _COUNT, str(context), str(folder / "out.tar")]
    environment = {**os.environ, "DOCKC_STORE": str(folder / f"store-{stages}")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


def test_stages_are_linear(tmp_path: Path) -> None:
    small, large = advances(tmp_path, 20), advances(tmp_path, 60)
    assert large <= 4 * small, "three times as many, and some for the order in which results come; a square is nine times"
    assert large <= 40 * 60
