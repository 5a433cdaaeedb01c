"""`dockc run`: signals, exit statuses, standard input and terminals, with every executor, as root and as an ordinary user."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import Dockc, MakeContext
from tests.tools import need

PLACES = ("root embedded", "root crun", "root runc", "user embedded")
PROGRAM = """#!/bin/sh
for name in TERM HUP INT QUIT USR1 USR2 WINCH; do trap "echo got $name; exit 3" $name; done
echo ready
while :; do sleep 0.1; done
"""
SECONDS = 60


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> tuple[Dockc, str]:
    """dockc, and an executor for it."""
    who, executor = request.param.split()
    if executor != "embedded":
        need(executor)
    return request.getfixturevalue(who), executor


@pytest.fixture
def image(place: tuple[Dockc, str], context: MakeContext, with_base: tuple[str, str]) -> Dockc:
    """dockc with the image `program` in its store."""
    dockc, _ = place
    folder = context("FROM base\nCOPY --chmod=755 program /program\nCMD [\"/program\"]\n", program=PROGRAM)
    dockc.run("build", folder, "-q", "-t", "program", *with_base)
    return dockc


def _not_ignored() -> None:
    """What a test run in the background is made to ignore, dockc would leave ignored."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_signals_are_the_program_s(image: Dockc, place: tuple[Dockc, str]) -> None:
    every = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
    for number in every if place[1] == "embedded" else (signal.SIGTERM, signal.SIGWINCH):
        process = image.start("run", "--executor", place[1], "program", preexec_fn=_not_ignored)
        assert _line(process) == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=SECONDS)
        assert (out, process.returncode) == (f"got {number.name[3:]}\n", 3), (number, err)


@pytest.mark.parametrize("place", ["user embedded"], indirect=True)
def test_a_third_signal_ends_a_program_that_will_not(image: Dockc) -> None:
    process = image.start("run", "program", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    assert _line(process) == "ready\n"
    assert process.stderr is not None
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)  # two of a kind that wait are one to the kernel
    _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (143, "dockc: told 3 times to end: the program is killed\n")


def test_statuses_and_standard_input(image: Dockc, place: tuple[Dockc, str]) -> None:
    options = ("run", "--executor", place[1])
    assert image.run(*options, "program", "sh", "-c", "exit 9", status=9).stdout == ""
    image.run(*options, "program", "sh", "-c", "kill -KILL $$; exit 1", status=1)  # pid 1 does not die of its own signal
    image.run(*options, "program", "sh", "-c", "sh -c 'kill -KILL $$'; exit $?", status=137)
    assert image.run(*options, "-i", "program", "cat", input="to be\ncontinued").stdout == "to be\ncontinued"
    assert image.run(*options, "program", "cat", input="unseen").stdout == ""


@pytest.mark.parametrize("place", ["user embedded"], indirect=True)
def test_another_program_than_the_entrypoint(image: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    folder = context('FROM base\nENTRYPOINT ["sh", "-c", "echo entry $0"]\nCMD ["cmd"]\n')
    image.run("build", folder, "-q", "-t", "entry", *with_base)
    assert image.run("run", "--rm", "entry").stdout == "entry cmd\n"
    assert image.run("run", "entry", "words").stdout == "entry words\n"
    assert image.run("run", "--rm", "--entrypoint", "sh", "entry", "-c", "echo $0").stdout == "sh\n", "its CMD goes with the ENTRYPOINT"
    assert image.run("run", "--entrypoint", "", "entry", "sh", "-c", "echo bare").stdout == "bare\n"
    assert "neither ENTRYPOINT nor CMD" in image.run("run", "--entrypoint", "", "entry", status=1).stderr


@pytest.mark.parametrize("place", ["user embedded"], indirect=True)
def test_a_status_is_right_where_the_caller_ignores_children(image: Dockc) -> None:
    command = image.argv("run", "program", "sh", "-c", "exit 9")
    done = subprocess.run(
        command, env=image.environ(), cwd=image.home, preexec_fn=lambda: (signal.signal(signal.SIGCHLD, signal.SIG_IGN), None)[1], check=False
    )
    assert done.returncode == 9


@pytest.mark.parametrize("place", ["user embedded"], indirect=True)
def test_a_terminal_needs_one(image: Dockc) -> None:
    assert "the input device is not a terminal" in image.run("run", "-it", "program", "cat", input="", status=2).stderr


@dataclass
class Screen:
    """A process on a terminal of its own."""

    pid: int
    master: int
    seen: bytes = b""

    def wait_for(self, text: bytes) -> None:
        until = time.monotonic() + SECONDS
        while text not in self.seen:
            assert time.monotonic() < until, self.seen
            if select.select([self.master], [], [], 0.2)[0]:
                self.seen += os.read(self.master, 4096)
        self.seen = self.seen.partition(text)[2]

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def status(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def on_screen() -> Iterator[list[Screen]]:
    screens: list[Screen] = []
    yield screens
    for screen in screens:
        os.close(screen.master)


def _start(dockc: Dockc, *args: str) -> Screen:
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(dockc.home)
        command = dockc.argv(*args)
        os.execve(command[0], command, dockc.environ())
    return Screen(pid, master)


def test_a_terminal(image: Dockc, place: tuple[Dockc, str], on_screen: list[Screen]) -> None:
    screen = _start(image, "run", "--executor", place[1], "-it", "program", "sh")
    on_screen.append(screen)
    screen.resize(101, 33)
    screen.type(b"ls -l /proc/self/fd/; test -c /dev/console && echo con''sole; echo $TERM\n")
    screen.wait_for(b"-> /dev/pts/")
    screen.wait_for(b"console")
    screen.wait_for(b"xterm")
    screen.type(b"trap 'echo win''dow' WINCH\n")
    screen.type(b"echo set''tled\n")
    screen.wait_for(b"settled")
    screen.resize(102, 34)
    time.sleep(0.5)
    screen.type(b"true\n")  # a shell that waits for a line sees to its traps after it
    screen.wait_for(b"window")
    screen.type(b"read word; echo go''t $word\n")
    screen.type(b"keys\n")
    screen.wait_for(b"got keys")
    screen.type(b"trap 'echo broken o''ff' INT; echo sleep''ing; sleep 60\n")
    screen.wait_for(b"sleeping")
    time.sleep(0.5)
    screen.type(b"\x03")  # to the program in front, not to dockc
    screen.wait_for(b"broken off")
    screen.type(b"exit 5\n")
    assert screen.status() == 5


@pytest.mark.parametrize("place", ["user embedded"], indirect=True)
def test_output_of_a_terminal_into_a_file(image: Dockc, tmp_path: Path) -> None:
    """`-t` alone: the program sees a terminal, whatever dockc's own streams are."""
    done = image.run("run", "-t", "program", "sh", "-c", "test -t 1 && echo terminal")
    assert done.stdout == "terminal\n"
