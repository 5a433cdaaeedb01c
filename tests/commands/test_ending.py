"""Told to end, a process ends in time, whatever it waits for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_process_that_waits_for_a_fifo_ends(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    script = "import sys; from dockc.commands.ending import Deadline; Deadline().start(143, 'terminated', 0.05); open(sys.argv[1])"
    done = run(script, str(tmp_path / "f"))
    assert (done.returncode, done.stderr) == (143, "error: terminated\n")


def test_a_process_that_has_ended_its_work_is_left_alone() -> None:
    script = (
        "import threading\nfrom dockc.commands.ending import Deadline\ndeadline = Deadline()\ndeadline.start(143, 'x', 0.2)\n"
        "timers = [t for t in threading.enumerate() if isinstance(t, threading.Timer)]\ndeadline.start(1, 'y', 0)\n"
        "deadline.stop()\n[t.join() for t in timers]\nprint(len(timers))"
    )
    done = run(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_what_was_written_is_there_also_where_another_thread_still_runs() -> None:
    script = (
        "import sys, threading\nfrom dockc.line import main, process\nprocess.begin()\n"
        "threading.Thread(target=threading.Event().wait, args=(0.2,)).start()\nsys.stdout.write('result')\nmain._end(0)"
    )
    done = run(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "result", "")
