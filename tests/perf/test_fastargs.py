"""The literal table of options against the definitions that typer reads: they must not drift apart."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from typer.models import ArgumentInfo, OptionInfo

from dockc import cli, cli_build, cli_lint, fastargs
from dockc.fastargs import COMMANDS, FLAG, LIST, NUMBER, PATH, TEXT

DEFINED: dict[str, Callable[..., Any]] = {"build": cli_build.build, "compile": cli.compile, "lint": cli_lint.lint, "fmt": cli.format_files}


def _parameters(name: str) -> list[tuple[str, Any, Any, object]]:
    """Name, type, what typer is told, and default of each parameter of a command."""
    found = []
    for parameter in inspect.signature(DEFINED[name], eval_str=True).parameters.values():
        kind, told = get_args(parameter.annotation)
        found.append((parameter.name, kind, told, parameter.default))
    return found


def _declared(name: str) -> dict[str, tuple[str, str, object, object]]:
    """By flag: parameter, kind, default, and what the kind needs."""
    found: dict[str, tuple[str, str, object, object]] = {}
    for parameter, kind, told, default in _parameters(name):
        if not isinstance(told, OptionInfo) or parameter == "explain":
            continue
        for text in map(str, (told.default, *(told.param_decls or ()))):  # in an annotation the first flag takes the place of the default
            positive, _, negative = text.partition("/")
            if kind in (bool, bool | None):
                found[positive] = (parameter, FLAG, default, True)
                if negative:
                    found[negative] = (parameter, FLAG, default, False)
            elif kind == list[str]:
                found[text] = (parameter, LIST, tuple(cast("list[str]", default)), None)
            elif kind == Path | None:
                found[text] = (parameter, PATH, default, told.envvar)
            elif kind is int:
                found[text] = (parameter, NUMBER, default, (told.min, told.max))
            else:
                assert kind is str
                found[text] = (parameter, TEXT, default, told.envvar)
    return found


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_same_options(name: str) -> None:
    options, _, _ = COMMANDS[name]
    table = {flag: (parameter, kind, default, extra) for flags, parameter, kind, default, extra in options for flag in flags}
    assert table == _declared(name)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_same_arguments(name: str) -> None:
    _, parameter, many = COMMANDS[name]
    arguments = [(p, kind is not str) for p, kind, told, _ in _parameters(name) if isinstance(told, ArgumentInfo)]
    assert arguments == [(parameter, many)]


COMPILE_LINES = [
    [],
    ["ctx"],
    ["ctx", "-f", "Other", "--emit=ir", "--target", "x"],
    ["--file=-", "--build-arg", "A=1", "--build-arg=B=a=b", "--build-arg", "HOME"],
    ["-fOther", "-O2", "--squash", "3", "--no-cache", "ctx"],
    ["-O", "0", "--platform", "linux/arm64,linux/amd64", "--platform=linux/386"],
    ["--label=a=b", "--label", "c=", "--opt", "add-hosts=a=1.2.3.4", "--build-context", "n=https://example.com/x.git"],
    ["--answers", "a.json", "--offline", "--locked=l.lock", "--store", "s"],
    ["--print-after=fold", "--print-after", "dce", "--print-after-all", "--time-passes", "--verify-each", "--passes=a,b"],
    ["--target", "-"],
]


class _Seen(Exception):
    """Carries what a command would have been called with."""


def _seen(request: Any, *rest: Any, **named: Any) -> Any:
    if isinstance(request, dict):
        raise _Seen(request)
    slots = [slot for slot in getattr(request, "__slots__", ()) if hasattr(request, slot)] or list(vars(request))
    named.pop("out", None)
    named.pop("log", None)
    raise _Seen({slot: getattr(request, slot) for slot in slots}, [r for r in rest if isinstance(r, str)], named)


def _both(argv: list[str]) -> tuple[Any, Any]:
    outcomes = []
    for route in (fastargs.run, cli.run):
        with pytest.raises(_Seen) as caught:
            route(argv)
        outcomes.append(caught.value.args)
    return outcomes[0], outcomes[1]


@pytest.mark.parametrize("arguments", COMPILE_LINES)
@pytest.mark.parametrize("store", ["", "/somewhere"])
def test_compile_gives_one_request(monkeypatch: pytest.MonkeyPatch, arguments: list[str], store: str) -> None:
    monkeypatch.setattr("dockc.commands.compile.compile_command", _seen)
    monkeypatch.setenv("DOCKC_STORE", store)
    quick, full = _both(["compile", *arguments])
    assert quick == full


@pytest.mark.parametrize("arguments", [[], ["ctx", "-t", "a", "--tag=b", "-o", "type=oci,dest=x", "--push", "-q"], ["-", "--store=s", "--parallelism", "3"]])
@pytest.mark.parametrize("progress", ["", "plain"])
def test_build_gives_one_call(monkeypatch: pytest.MonkeyPatch, arguments: list[str], progress: str) -> None:
    monkeypatch.setattr("dockc.commands.build.build_command", _seen)
    monkeypatch.setenv("BUILDKIT_PROGRESS", progress)
    quick, full = _both(["build", *arguments])
    assert quick == full


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a", "b"],
        ["--profile=hadolint", "--select", "DL3006,DL3007", "--ignore=X", "--extend", "Y", "--severity", "DL3006=error"],
        ["--format", "json", "-o", "report", "--fix", "--unsafe", "--diff", "--stats", "-t", "error", "--no-fail"],
        ["-c", "x.toml", "--baseline=b", "--write-baseline", "--shellcheck", "-j4", "-"],
        ["--no-shellcheck", "--build-arg", "A=b", "--build-arg", "HOME", "--jobs=2"],
    ],
)
def test_lint_gives_one_request(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    import dockc.commands.lint.command

    monkeypatch.setattr(dockc.commands.lint.command, "lint_command", _seen)
    quick, full = _both(["lint", *arguments])
    assert quick == full


@pytest.mark.parametrize("arguments", [[], ["a", "--check"], ["--diff", "-", "b"]])
def test_fmt_gives_one_call(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    import dockc.commands.fmt

    def seen(files: list[str], **named: Any) -> Any:
        raise _Seen(files, named["check"], named["diff"])

    monkeypatch.setattr(dockc.commands.fmt, "format_command", seen)
    quick, full = _both(["fmt", *arguments])
    assert quick == full


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["build", "--no-cache=true"],
        ["build", "--help"],
        ["compile", "--help"],
        ["compile", "-h"],
        ["compile", "--nope"],
        ["compile", "a", "b"],
        ["compile", "--target"],
        ["compile", "--target", "--emit"],
        ["compile", "--no-cache=1"],
        ["compile", "-O", "3"],
        ["compile", "-Ox"],
        ["compile", "--squash=-1"],
        ["compile", "--", "-x"],
        ["lint", "--explain", "DL3006"],
        ["lint", "--jobs", "many"],
        ["fmt", "--check=yes"],
        ["--version"],
    ],
)
def test_anything_else_is_left_to_the_library(argv: list[str]) -> None:
    assert fastargs.run(argv) is None


def test_errors_read_alike(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    argv = ["compile", str(tmp_path / "nowhere")]
    told = []
    for route in (fastargs.run, cli.run):
        assert route(argv) == 2
        sys.stderr.flush()
        told.append(capfd.readouterr())
    assert told[0] == told[1]
    assert "does not exist" in told[0].err


def _run(*arguments: str, stdin: bytes = b"", stdout: int | None = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "dockc", *arguments], input=stdin, stdout=stdout, stderr=subprocess.PIPE, check=False)


def test_everything_is_written_before_the_process_ends() -> None:
    many = "FROM scratch\n" + "".join(f"COPY a{n} /{n}\n" for n in range(3000))
    done = _run("compile", ".", "-f", "-", "--emit=llb", stdin=many.encode())
    assert done.returncode == 0
    assert done.stdout.count(b"copy") >= 3000
    assert done.stdout.endswith(b"\n")


def test_bytes_that_are_no_text_pass_through_fmt() -> None:
    done = _run("fmt", "-", stdin=b"from scratch\nlabel a=\xff\n")
    assert (done.returncode, done.stdout) == (0, b"FROM scratch\nLABEL a=\xff\n")


@pytest.mark.parametrize("arguments", [("compile", ".", "-f", "-"), ("fmt", "-"), ("lint", "-")])
def test_full_disk(arguments: tuple[str, ...]) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with full.open("wb") as disk:
        done = _run(*arguments, stdin=b"FROM scratch\nCOPY a b\n", stdout=disk.fileno())
    assert done.returncode == 1
    assert b"cannot write the output: No space left on device\n" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["dockc.fastargs", "dockc.cli"])
def test_an_interrupt_while_starting_is_no_traceback(module: str) -> None:
    code = (
        "import sys\nclass Interrupted:\n    def find_spec(self, name, *rest):\n"
        f"        if name == {module!r}:\n            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\nsys.argv[1:] = ['images']\nfrom dockc.__main__ import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "dockc: interrupted\n")
