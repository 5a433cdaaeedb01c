"""Words and options of other tools that are none here: each says in one line what does instead."""

from __future__ import annotations

import re

import pytest

from dockc.cli import parse
from dockc.line import elsewhere
from dockc.line.main import run
from dockc.line.verbs import GROUPS, VERBS, command, verb_of

_OPTIONS = [(verb, option) for verb in VERBS for option in elsewhere.OPTIONS.get(verb.rpartition(" ")[2], {}) if elsewhere.instead(verb, option)]


@pytest.mark.parametrize("line", [*elsewhere.WORDS, *elsewhere.SECOND])
@pytest.mark.parametrize("more", [[], ["x"], ["-a", "--help"]])
def test_words(line: str, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    hint = elsewhere.SECOND.get(line) or elsewhere.WORDS[line]
    assert run([*line.split(), *more]) == 2
    out, err = capsys.readouterr()
    assert err == f"error: no such command: {line}\n  help: {hint}\n"
    assert not out


@pytest.mark.parametrize(("verb", "option"), _OPTIONS, ids=" ".join)
def test_options(verb: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert option not in {flag for row in command(verb)[0].table() for flag in (*row.flags, *row.off)}, "it is one here"
    for line in ([option], [f"{option}=x"] if option.startswith("--") else [f"{option}x"]):
        assert run([*verb.split(), *line], parse) == 2
        out, err = capsys.readouterr()
        assert re.fullmatch(rf"error: No such option: {option}.*\n  help: {re.escape(elsewhere.instead(verb, option))}\n", err), err
        assert not out


def test_every_table_is_of_a_command() -> None:
    assert set(elsewhere.OPTIONS) <= {verb.rpartition(" ")[2] for verb in VERBS}
    assert {verb for verb, _ in _OPTIONS} >= {"images", "image ls", "image rm", "rmi", "system prune", "builder prune", "image history", "inspect", "run"}
    assert not {verb for verb, _ in _OPTIONS} & {"history ls", "history rm", "history inspect", "builder rm", "cache mounts ls"}


@pytest.mark.parametrize("text", [*elsewhere.WORDS.values(), *elsewhere.SECOND.values(), *(hint for of in elsewhere.OPTIONS.values() for hint in of.values())])
def test_commands_that_are_said_are_there(text: str) -> None:
    assert "\n" not in text and len(text) < 120
    for said in re.findall(r"`dockc ([^`]*)`", text):
        words = said.split()
        assert verb_of(words)[0] or words[0] in GROUPS, said


@pytest.mark.parametrize(("line", "said"), [("cache xyzzy", "cache xyzzy"), ("cache mounts xyzzy", "cache mounts xyzzy"), ("image xyzzy --help", "image xyzzy")])
def test_no_command_of_a_group(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split(), parse) == 2
    group = said.rpartition(" ")[0]
    assert capsys.readouterr().err == f"error: no such command: {said}\n  help: {GROUPS[group]} `dockc {group} --help` lists the commands.\n"
    assert run([*group.split(), "--help"], parse) == 0
