"""Help: every command is found below a heading, shows examples, and its examples are lines that dockc reads."""

from __future__ import annotations

import shlex

import pytest

from dockc.line import help as words
from dockc.line import verbs
from dockc.line.read import read


def test_every_verb_stands_below_one_heading() -> None:
    shown = [name for names in verbs.SECTIONS.values() for name in names]
    assert len(shown) == len(set(shown))
    assert set(shown) == {verb.partition(" ")[0] for verb in verbs.VERBS}
    text = words.overview("", 80)
    assert all(f"\n{heading}:\n" in text for heading in verbs.SECTIONS)
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize("verb", sorted(verbs.VERBS))
def test_examples_are_lines_that_work(verb: str) -> None:
    options, _ = verbs.command(verb)
    assert options.examples, f"{verb} shows no example"
    own = 0
    for example in options.examples:
        for command in example.split(" | "):
            argv = shlex.split(command.partition(" > ")[0].rstrip("&"))
            if argv[0] != "dockc" or verb in {"buildctl", "daemon"}:
                continue
            found, rest = verbs.verb_of(argv[1:])
            assert found, command
            assert read(verbs.command(found)[0], rest, {}) is not None, command
            own += 1
    assert own or verb in {"buildctl", "daemon", "login"}


@pytest.mark.parametrize("verb", sorted(verbs.VERBS))
def test_help_speaks_to_people(verb: str) -> None:
    options, _ = verbs.command(verb)
    text = words.command_help(verb, options, 80)
    assert not any(word in text for word in ("list[", "<str>", "tuple[", "None |"))
    for group in {row.group for row in options.table() if row.flags and not row.hidden}:
        assert f"\n{group or 'Options'}:\n" in text
    assert len([row for row in options.table() if row.flags and not row.group and not row.hidden]) <= 14
