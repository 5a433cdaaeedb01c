"""Both ways to read a command line: the plain reader and the command line library, from the same records."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dockc import cli
from dockc.base.options import FLAG, LIST, NUMBER, Options, Required
from dockc.line import main, verbs
from dockc.line.read import read

ROOT = Path(__file__).resolve().parents[2]


def _plain(argv: Sequence[str]) -> Options | None:
    verb, rest = verbs.verb_of(argv)
    return read(verbs.command(verb)[0], rest, os.environ) if verb else None


def _library(argv: Sequence[str]) -> Options:
    found = cli.parse(argv)
    assert isinstance(found, verbs.Line), found
    return found.options


@pytest.mark.parametrize("verb", sorted(verbs.VERBS))
def test_every_option_reads_alike(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options, _ = verbs.command(verb)
    rows = options.table()
    needed = ["x" for row in rows if row.default is Required]
    for row in rows:
        if row.variable:
            monkeypatch.delenv(row.variable, raising=False)
    for row in rows:
        value = str(row.low or 0) if row.kind == NUMBER else "v"
        for flag in (*row.flags, *row.off):
            words = [flag] if row.kind == FLAG else [flag, value]
            argv = [*verb.split(), *words, *needed]
            plain = _plain(argv)
            assert plain is not None, argv
            assert plain == _library(argv), argv
            if row.kind == LIST:
                twice = [*verb.split(), *words, *words, *needed]
                assert getattr(_plain(twice), row.name) == ("v", "v")
        if row.variable:
            monkeypatch.setenv(row.variable, "true" if row.kind == FLAG else "/elsewhere")
            argv = [*verb.split(), *needed]
            assert getattr(_plain(argv), row.name) == getattr(_library(argv), row.name) != row.default
            monkeypatch.delenv(row.variable)


@pytest.mark.parametrize("verb", sorted(verbs.VERBS))
def test_defaults_are_the_records(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options, _ = verbs.command(verb)
    monkeypatch.delenv("DOCKC_STORE", raising=False)
    monkeypatch.delenv("BUILDKIT_PROGRESS", raising=False)
    needed = {row.name: "x" for row in options.table() if row.default is Required}
    argv = [*verb.split(), *needed.values()]
    assert _plain(argv) == _library(argv) == options(**needed)


def test_a_variable_that_is_no_truth_value_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKC_LOCAL_IMAGES", "perhaps")
    for plain in (True, False):
        assert main.run(["compile"], cli.parse, plain=plain) == 2
        assert capsys.readouterr().err.startswith("error: DOCKC_LOCAL_IMAGES=perhaps is neither true nor false\n")


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A verb, and words of which its options and values could be made up."""
    verb = draw(st.sampled_from(sorted(verbs.VERBS)))
    rows = verbs.command(verb)[0].table()
    flags = [flag for row in rows for flag in (*row.flags, *row.off)]
    values = st.sampled_from(["a", "a=b", "", "-", "1", "0", "true", "x,y", "./d", "=", "a b", "\xe9", "--x", "-1", "12"])
    word = st.tuples(st.sampled_from(flags), values, st.sampled_from(["{0}", "{0}={1}", "{0}{1}"])).map(lambda one: one[2].format(*one)) if flags else values
    return verb, [*draw(st.lists(st.one_of(word, values), max_size=6)), *("x" for row in rows if row.default is Required)]


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(lines())
@example(("run", ["a", "-e=a", "--rm=false", "x"]))
@example(("run", ["-e", "a", "a", "-e=a"]))
@example(("lint", ["--shellcheck=0"]))
@example(("build", ["-t=a", "--no-cache=false", "-o", "type=oci,dest=x"]))
def test_what_the_plain_reader_takes_the_library_reads_alike(line: tuple[str, list[str]]) -> None:
    verb, words = line
    plain = read(verbs.command(verb)[0], words, {})
    if plain is not None:
        with pytest.MonkeyPatch.context() as patch:
            for row in verbs.command(verb)[0].table():
                if row.variable:
                    patch.delenv(row.variable, raising=False)
            assert _library([*verb.split(), *words]) == plain


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


@pytest.mark.parametrize("arguments", COMPILE_LINES)
@pytest.mark.parametrize("store", ["", "/somewhere"])
def test_compile(monkeypatch: pytest.MonkeyPatch, arguments: list[str], store: str) -> None:
    monkeypatch.setenv("DOCKC_STORE", store)
    assert _plain(["compile", *arguments]) == _library(["compile", *arguments])


@pytest.mark.parametrize(
    "argv",
    [
        ["build"],
        ["build", "ctx", "-t", "a", "--tag=b", "-o", "type=oci,dest=x", "--push", "-q"],
        ["build", "-", "--store=s", "--parallelism", "3"],
        ["build", "--no-cache=true", "--pull=false", "--load=T"],
        ["lint", "a", "b"],
        ["lint", "--profile=hadolint", "--select", "DL3006,DL3007", "--ignore=X", "--extend", "Y", "--severity", "DL3006=error"],
        ["lint", "--format", "json", "-o", "report", "--fix", "--unsafe", "--diff", "--stats", "-t", "error", "--no-fail"],
        ["lint", "-c", "x.toml", "--baseline=b", "--write-baseline", "--shellcheck", "-j4", "-"],
        ["lint", "--no-shellcheck", "--build-arg", "A=b", "--build-arg", "HOME", "--jobs=2"],
        ["lint", "--explain", "DL3006"],
        ["fmt", "a", "--check"],
        ["fmt", "--diff", "-", "b"],
        ["run", "-e", "A=b", "image", "ls", "-l", "--help"],
        ["run", "image"],
        ["explain", "a", "b", "--graph"],
        ["explain"],
        ["base", "sh", "ls", "-o", "d"],
    ],
)
@pytest.mark.parametrize("progress", ["", "plain"])
def test_lines(monkeypatch: pytest.MonkeyPatch, argv: list[str], progress: str) -> None:
    monkeypatch.setenv("BUILDKIT_PROGRESS", progress)
    plain = _plain(argv)
    assert plain is not None
    assert plain == _library(argv)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["build", "--no-cache=maybe"],
        ["build", "--help"],
        ["compile", "--help"],
        ["compile", "-h"],
        ["compile", "--nope"],
        ["compile", "a", "b"],
        ["compile", "--target"],
        ["compile", "--target", "--emit"],
        ["compile", "--no-cache=x"],
        ["compile", "-O", "3"],
        ["compile", "-Ox"],
        ["compile", "--squash=-1"],
        ["compile", "--", "-x"],
        ["run"],
        ["run", "-x", "image"],
        ["lint", "--jobs", "many"],
        ["fmt", "--check=yes"],
        ["--version"],
    ],
)
def test_anything_else_is_left_to_the_library(argv: list[str]) -> None:
    assert _plain(argv) is None


@pytest.mark.parametrize("plain", [True, False])
def test_errors_read_alike(tmp_path: Path, capfd: pytest.CaptureFixture[str], plain: bool) -> None:
    assert main.run(["compile", str(tmp_path / "nowhere")], cli.parse, plain=plain) == 2
    sys.stderr.flush()
    said = capfd.readouterr()
    assert (said.out, said.err.count("\n") <= 2) == ("", True)
    assert said.err.startswith("error: ")
    assert "does not exist" in said.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["compile", "--nothing-like-it"], "No such option: --nothing-like-it"),
        (["compile", "-O", "3"], "'-O'"),
        (["run"], "Missing argument 'IMAGE'"),
        (["compile", "a", "b"], "unexpected extra argument"),
    ],
)
def test_wrong_usage(capfd: pytest.CaptureFixture[str], argv: list[str], said: str) -> None:
    assert main.run(argv, cli.parse) == 2
    told = capfd.readouterr()
    assert told.out == ""
    assert said in told.err
    assert re.search(r"^  help: `dockc .*--help` says what there is\.$", told.err, re.MULTILINE)


@pytest.mark.parametrize(
    ("line", "said", "hint"),
    [
        ("biuld .", "no such command: biuld", "Did you mean `dockc build`?"),
        ("imgae ls", "no such command: imgae", "Did you mean `dockc image`?"),
        ("help biuld", "no such command: biuld", "Did you mean `dockc build`?"),
        ("biuld --help", "no such command: biuld", "Did you mean `dockc build`?"),
        ("nothing-like-it", "no such command: nothing-like-it", "`dockc --help` lists the commands."),
        ("--verison", "No such option: --verison", "Did you mean `--version`?"),
        ("build --no-cahce", "No such option: --no-cahce", "Did you mean `--no-cache`?"),
        ("build --progres=plain .", "No such option: --progres", "Did you mean `--progress`?"),
        ("build -it", "No such option: -i", "`dockc build --help` says what there is."),
        ("history show", "no such command: history show", "Did you mean `dockc history inspect`?"),
        ("image lst", "no such command: image lst", "Did you mean `dockc image ls`?"),
        ("cache mounts lss", "no such command: cache mounts lss", "Did you mean `dockc cache mounts ls`?"),
        ("history app", "no such command: history app", "`dockc image history app` shows"),
        ("history --store x", "which command of `dockc history`? An option comes after it", "`dockc history --help`"),
        ("cache mounts --json", "which command of `dockc cache mounts`?", "`dockc cache mounts --help`"),
    ],
)
def test_a_group_says_what_its_commands_are(capfd: pytest.CaptureFixture[str], line: str, said: str, hint: str) -> None:
    assert main.run(line.split(), cli.parse) == 2
    (error, helping) = capfd.readouterr().err.splitlines()
    assert error.startswith(f"error: {said}")
    assert helping.startswith("  help: ")
    assert hint in helping


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


WRITERS = [
    ("compile", ".", "-f", "-"),
    ("fmt", "-"),
    ("lint", "-", "--no-shellcheck"),
    ("explain", "DL3008"),
    ("passes",),
    ("decompile", "image.json"),
    ("completion", "bash"),
    ("build", "--check", "-f", "-", "."),
    ("--help",),
    ("build", "--help"),
    ("--version",),
]
STDIN = b"FROM scratch\nCOPY a b\nMAINTAINER me\n"


def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "image.json").write_text('{"architecture": "amd64", "os": "linux", "history": [{"created_by": "CMD [\\"x\\"]", "empty_layer": true}]}')
    (tmp_path / "a").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


#: As the console script starts, and with plain lines read by the library.
ROUTES = ["main(_unusual)", "sys.exit(run(sys.argv[1:], _unusual, plain=False))"]


def _route(route: str, *arguments: str, stdout: int, stdin: bytes = STDIN) -> subprocess.CompletedProcess[bytes]:
    code = f"import sys\nfrom dockc.__main__ import _unusual\nfrom dockc.line.main import main, run\n{route}"
    return subprocess.run([sys.executable, "-c", code, *arguments], input=stdin, stdout=stdout, stderr=subprocess.PIPE, check=False)


@pytest.mark.parametrize("arguments", WRITERS, ids="-".join)
@pytest.mark.parametrize("route", ROUTES, ids=["plain", "library"])
def test_full_disk(arguments: tuple[str, ...], route: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    _place(tmp_path, monkeypatch)
    with Path("/dev/full").open("wb") as disk:
        done = _route(route, *arguments, stdout=disk.fileno())
    assert done.returncode == 1, done.stderr
    assert b"cannot write the output: No space left on device\n" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", WRITERS, ids="-".join)
@pytest.mark.parametrize("route", ROUTES, ids=["plain", "library"])
def test_nobody_reads(arguments: tuple[str, ...], route: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _place(tmp_path, monkeypatch)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = _route(route, *arguments, stdout=writer)
    finally:
        os.close(writer)
    assert done.returncode == 141, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"rror" not in done.stderr


@pytest.mark.parametrize("arguments", [w for w in WRITERS if w[0] in ("compile", "lint", "explain")], ids="-".join)
@pytest.mark.parametrize("route", ROUTES, ids=["plain", "library"])
def test_a_file_that_cannot_be_written(arguments: tuple[str, ...], route: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _place(tmp_path, monkeypatch)
    done = _route(route, *arguments, "-o", "missing/file", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (2, b""), done.stderr
    assert b"cannot write missing/file: No such file or directory\n" in done.stderr


@pytest.mark.parametrize("module", ["dockc.line.main", "dockc.commands.store"])
def test_an_interrupt_while_starting_is_no_traceback(module: str) -> None:
    code = (
        "import sys\nclass Interrupted:\n    def find_spec(self, name, *rest):\n"
        f"        if name == {module!r}:\n            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\nsys.argv[1:] = ['images']\nfrom dockc.__main__ import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "dockc: interrupted\n")
