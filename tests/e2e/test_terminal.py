"""What a terminal is given: colours, links and lines of its width, and what is said where nothing was found or done."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
MANY = "FROM debian\nMAINTAINER x\nENV A b\n" + "".join(f"RUN cd /x{i} && apt-get install -y p{i} && pip install q{i}\n" for i in range(4)) + "ADD a /b\n"
SEQUENCE = re.compile(r"\x1b\[[\d;]*m|\x1b\]8;;[^\x1b]*\x1b\\")
PAINTED = "\x1b["


def environment(folder: Path, more: Mapping[str, str] | None) -> dict[str, str]:
    unset = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_HYPERLINK", "COLUMNS", "CI", "TERM_PROGRAM", "VTE_VERSION", "WT_SESSION")
    kept = {k: v for k, v in os.environ.items() if k not in unset and not k.startswith(("DOCKC_", "KITTY", "KONSOLE", "WEZTERM", "GHOSTTY"))}
    return kept | {"PYTHONPATH": str(REPO), "TERM": "xterm-256color", "XDG_CACHE_HOME": str(folder / ".cache"), "DOCKC_STORE": str(folder / ".store")} | dict(more or {})


def piped(folder: Path, *words: object, status: int | None = None, env: Mapping[str, str] | None = None) -> tuple[str, str]:
    argv = [sys.executable, "-m", "dockc", *map(str, words)]
    done = subprocess.run(argv, cwd=folder, env=environment(folder, env), text=True, capture_output=True, check=False, timeout=120)
    assert status is None or done.returncode == status, done.stderr
    return done.stdout, done.stderr


def shown(folder: Path, *words: object, env: Mapping[str, str] | None = None) -> str:
    """What a terminal gets."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    argv = [sys.executable, "-m", "dockc", *map(str, words)]
    with subprocess.Popen(argv, cwd=folder, env=environment(folder, env), stdin=slave, stdout=slave, stderr=slave):
        os.close(slave)
        data = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            data += part
    os.close(master)
    return data.decode().replace("\r\n", "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(MANY)
    (tmp_path / "few.Dockerfile").write_text("FROM debian\nADD a /b\n")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_twenty_findings_fit_one_screen(folder: Path) -> None:
    text = shown(folder, "lint", "--no-shellcheck", "Dockerfile")
    lines = SEQUENCE.sub("", text).splitlines()
    assert all(len(line) <= 80 for line in lines)
    found = [line for line in lines if line.startswith("Dockerfile:")]
    assert len(found) == 20
    assert len(lines) <= 24
    assert "Dockerfile:8:1: warning[DL3020] [*] Use COPY instead of ADD for files and folde…" in found
    assert any(line.endswith("…") for line in found)
    assert "`--format=full` shows the lines" in " ".join(lines[-2:])
    words, _ = piped(folder, "lint", "--no-shellcheck", "Dockerfile")
    assert len(words.splitlines()) == 22, "a pipe has lines of any length"
    assert "…" not in words


def test_few_findings_have_their_lines(folder: Path) -> None:
    few, _ = piped(folder, "lint", "--no-shellcheck", "few.Dockerfile")
    assert " --> few.Dockerfile:1:6\n" in few
    assert few == piped(folder, "lint", "--no-shellcheck", "--format=full", "few.Dockerfile")[0]
    concise, _ = piped(folder, "lint", "--no-shellcheck", "--format=concise", "few.Dockerfile")
    assert concise.splitlines()[:2] == [
        "few.Dockerfile:1:6: warning[DL3006] Always tag the version of an image explicitly",
        "few.Dockerfile:2:1: warning[DL3020] [*] Use COPY instead of ADD for files and folders",
    ]
    full, _ = piped(folder, "lint", "--no-shellcheck", "--format=full", "Dockerfile")
    assert full.count("\n --> Dockerfile:") == 20


def test_colours_change_no_word(folder: Path) -> None:
    for words in (
        ["lint", "--no-shellcheck", "few.Dockerfile"],
        ["lint", "--no-shellcheck", "Dockerfile"],
        ["lint", "--no-shellcheck", "--diff", "Dockerfile"],
        ["fmt", "--diff", "few.Dockerfile"],
        ["lint", "--explain", "DL3020"],
        ["explain", "DL3020"],
        ["explain", "few.Dockerfile:2"],
    ):
        plain, _ = piped(folder, *words, "--color=never", env={"FORCE_COLOR": "1"})
        painted, _ = piped(folder, *words, "--color=always", env={"NO_COLOR": "1"})
        assert SEQUENCE.sub("", painted) == plain == piped(folder, *words)[0]
        assert PAINTED not in plain
        assert not plain or PAINTED in painted, words
    plain, _ = piped(folder, "lint", "--help")
    painted, _ = piped(folder, "lint", "--help", "--color=always")
    assert SEQUENCE.sub("", painted) == plain
    assert "\x1b[1mThe report:\x1b[0m" in painted
    _, error = piped(folder, "lint", "nowhere", "--color=always", status=2)
    assert error.startswith("\x1b[1;31merror\x1b[0m: nowhere does not exist\n")
    assert SEQUENCE.sub("", error) == piped(folder, "lint", "nowhere", "--color=never", status=2)[1]


def test_colours_of_the_compiler_and_of_builds(folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /a$X\n")
    _, told = piped(folder, "compile", "--color=always", "--emit=image", ".", status=0)
    assert told.startswith("\x1b[36mDockerfile:2\x1b[0m: \x1b[1;33mwarning\x1b[0m: Usage of undefined variable '$X'")
    _, told = piped(folder, "compile", "--color=always", "-f", "few.Dockerfile", "--offline", ".", status=1)
    assert told.startswith("\x1b[1;31merror[image-not-available]\x1b[0m\n")
    blue = "\x1b[34m => [1/1] COPY Dockerfile /a"
    assert blue in shown(folder, "build", "--color=always", ".", env={"NO_COLOR": "1"})
    text = shown(folder, "build", "--color=never", "--no-cache", ".")
    assert "[1/1] COPY Dockerfile /a" in text
    assert "\x1b[34m" not in text


@pytest.mark.parametrize(
    ("variables", "terminal", "pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ({"CLICOLOR": "0"}, False, False),
        ({"CLICOLOR": "1"}, True, False),
        ({"CLICOLOR_FORCE": "1", "CLICOLOR": "0"}, True, True),
        ({"CLICOLOR_FORCE": "0"}, True, False),
        ({"TERM": "dumb"}, False, False),
    ],
)
def test_what_the_environment_says_of_colours(folder: Path, variables: dict[str, str], terminal: bool, pipe: bool) -> None:
    words = ("lint", "--no-shellcheck", "few.Dockerfile")
    assert (PAINTED in shown(folder, *words, env=variables)) == terminal
    assert (PAINTED in piped(folder, *words, env=variables)[0]) == pipe


def test_a_file_and_programs_get_no_colours(folder: Path) -> None:
    piped(folder, "lint", "--no-shellcheck", "--color=always", "-o", "report", "few.Dockerfile", status=1)
    assert PAINTED not in (folder / "report").read_text()
    for form in ("json", "tty", "gnu", "sarif", "github"):
        assert PAINTED not in piped(folder, "lint", "--no-shellcheck", "--color=always", f"--format={form}", "few.Dockerfile")[0]
    _, error = piped(folder, "lint", "--color=blue", "few.Dockerfile", status=2)
    assert error.splitlines()[0] == "error: --color cannot be 'blue'"


def test_a_hostile_file_paints_nothing(folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM debian AS \x1b[31mx\nRUN echo \x1b]8;;http://evil\x1b\\ \n")
    text, _ = piped(folder, "lint", "--no-shellcheck", "--color=always", "Dockerfile", env={"FORCE_HYPERLINK": "1"})
    assert "evil\x1b" not in text
    assert "\x1b[31mx" not in text


def test_rules_are_linked_where_the_terminal_can(folder: Path) -> None:
    (folder / "dockc.toml").write_text('[lint]\nrule-pages = "https://example.org/rules/"\n')
    words = ("lint", "--no-shellcheck", "few.Dockerfile")
    link = "\x1b]8;;https://example.org/rules/copy-not-add.md\x1b\\DL3020\x1b]8;;\x1b\\"
    able: list[dict[str, str]] = [{"TERM": "xterm-kitty"}, {"VTE_VERSION": "6003"}, {"TERM_PROGRAM": "vscode"}, {"FORCE_HYPERLINK": "1"}]
    for variables in able:
        assert link in shown(folder, *words, env=variables)
    unable: list[dict[str, str]] = [{}, {"VTE_VERSION": "4999"}, {"TERM": "xterm-kitty", "NO_COLOR": "1"}, {"TERM_PROGRAM": "vscode", "CI": "1"}]
    for variables in unable:
        assert "\x1b]8" not in shown(folder, *words, env=variables)
    assert "= see: https://example.org/rules/copy-not-add.md\n" in piped(folder, *words)[0]
    sarif = json.loads(piped(folder, *words, "--format=sarif")[0])
    assert [rule["helpUri"] for rule in sarif["runs"][0]["tool"]["driver"]["rules"]] == [f"https://example.org/rules/{n}.md" for n in ("untagged-image", "copy-not-add")]
    (folder / "dockc.toml").write_text('[lint]\nrule-pages = "https://example.org/{code}.html#{name}"\n')
    assert "https://example.org/DL3020.html#copy-not-add" in piped(folder, *words)[0]
    (folder / "dockc.toml").write_text('[lint]\nrule-pages = "rules"\n')
    assert "dockc.toml:2: lint.rule-pages must be an address, not 'rules'" in piped(folder, *words, status=2)[1]


def test_nothing_to_look_at_is_said(folder: Path) -> None:
    for verb in ("lint", "fmt"):
        _, told = piped(folder, verb, "empty", status=0)
        assert told.startswith("warning: there is no Dockerfile in empty\n  help: ")
        _, told = piped(folder, verb, "--if-no-files=error", "empty", status=2)
        assert told.startswith("error: there is no Dockerfile in empty\n")
        _, told = piped(folder, verb, "--if-no-files=ignore", "empty", status=0)
        assert "no Dockerfile" not in told
        _, told = piped(folder, verb, "--if-no-files=x", "empty", status=2)
        assert "Choose one of warn, error, ignore" in told
    out, told = piped(folder, "lint", "--format=json", "empty", status=0)
    assert json.loads(out) == []
    assert "no Dockerfile" in told


def test_a_missing_shellcheck_is_said_once_and_to_people_only(folder: Path) -> None:
    bare = folder / "bin"
    bare.mkdir()
    (bare / "python").symlink_to(shutil.which(sys.executable) or sys.executable)
    code = f"import sys; sys.executable = {str(bare / 'python')!r}; sys.argv[0] = 'dockc'; from dockc.__main__ import main; main()"

    def run(*words: str) -> str:
        argv = [sys.executable, "-c", code, "lint", *words]
        done = subprocess.run(argv, cwd=folder, env=environment(folder, {"PATH": str(bare)}), text=True, capture_output=True, check=False, timeout=120)
        return done.stderr

    told = run("few.Dockerfile", "Dockerfile")
    assert told.count("ShellCheck is not installed") == 1
    assert run("--format=json", "few.Dockerfile") == run("--format=tty", "few.Dockerfile") == ""
    assert run("--no-shellcheck", "few.Dockerfile") == run("--profile=buildkit", "few.Dockerfile") == ""


def test_a_record_of_another_build_is_told_apart(folder: Path) -> None:
    (folder / "few.Dockerfile").write_text("FROM scratch\nCOPY few.Dockerfile /a\n")
    piped(folder, "build", "-f", "few.Dockerfile", "--record", "record.json", ".", status=0)
    assert "does not fit" not in piped(folder, "explain", "few.Dockerfile", "--graph", "--record", "record.json", status=0)[1]
    (folder / "few.Dockerfile").write_text("FROM scratch\nCOPY few.Dockerfile /b\n")
    _, told = piped(folder, "explain", "few.Dockerfile", "--graph", "--record", "record.json", status=0)
    assert told.startswith("warning: record.json does not fit this graph: 1 of its 1 steps are not in it, such as `[1/1] COPY few.Dockerfile /a`\n")
