"""Lines of Go's programs, each as urfave/cli reads it, which was asked."""

from __future__ import annotations

import re

import pytest

from dockc.errors import UsageError
from dockc.golang.flags import Flags


@pytest.fixture
def program() -> Flags:
    made = Flags("prog")
    made.set_defaults(word="")
    made.add_argument("--addr", default="none")
    made.add_argument("--debug", action="store_true")
    words = made.add_subparsers()
    listing = words.add_parser("list")
    listing.set_defaults(word="list")
    listing.add_argument("--all", "-a", action="store_true")
    listing.add_argument("--filter", "-f", action="append", default=[])
    listing.add_argument("what", nargs="*")
    deep = words.add_parser("deep").add_subparsers()
    inner = deep.add_parser("inner")
    inner.set_defaults(word="inner")
    inner.add_argument("--debug", default="mine")
    return made


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("", {"word": "", "addr": "none", "debug": False}),
        ("--addr x list", {"word": "list", "addr": "x"}),
        ("-addr=x list", {"word": "list", "addr": "x"}),
        ("list --addr x -debug", {"word": "list", "addr": "x", "debug": True}),
        ("list --addr=a=b", {"addr": "a=b"}),
        ("list --addr= w", {"addr": "", "what": ["w"]}),
        ("list --addr -f", {"addr": "-f", "filter": []}),
        ("list -f 1 w --filter=2 -f=3", {"filter": ["1", "2", "3"], "what": ["w"]}),
        ("list -a", {"all": True}),
        ("list --all=false", {"all": False}),
        ("list -a=T --all=0", {"all": False}),
        ("list --all=0 -a", {"all": True}),
        ("list -- -a --addr", {"all": False, "what": ["-a", "--addr"]}),
        ("list - list", {"what": ["-", "list"]}),
        ("--debug deep inner", {"word": "inner", "debug": "mine"}),
        ("deep --addr x inner --debug its", {"addr": "x", "debug": "its"}),
    ],
)
def test_a_line(program: Flags, line: str, found: dict[str, object]) -> None:
    made = vars(program.read([text for text in line.split(" ") if text]))
    assert {name: made[name] for name in found} == found


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--nope", "prog: there is no option --nope"),
        ("list --nope=1", "prog list: there is no option --nope"),
        ("list -nope", "prog list: there is no option -nope"),
        ("--all list", "prog: there is no option --all"),
        ("nope", "prog: there is no command nope"),
        ("deep nope", "prog deep: there is no command nope"),
        ("list --filter", "prog list: --filter needs a value"),
        ("list --all=maybe", "prog list: --all: 'maybe' is neither true nor false"),
        ("deep inner more", "prog: unrecognized arguments: more"),
    ],
)
def test_what_is_wrong_is_named(program: Flags, line: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(words)}"):
        program.read(line.split())


@pytest.mark.parametrize("line", ["help list", "list --help", "list -h", "h list", "list -help"])
def test_help(program: Flags, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        program.read(line.split())
    assert end.value.code == 0
    assert "--filter" in capsys.readouterr().out
