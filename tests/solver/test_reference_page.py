"""The reference page and the code name the same things."""

from __future__ import annotations

import re
import typing
from pathlib import Path

from dockc.solver.core.events import Command, Event
from dockc.solver.core.status import EdgeStatus

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "solver.md").read_text()


def test_statuses() -> None:
    assert re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE) == [status.label for status in EdgeStatus]


def test_commands_and_events() -> None:
    assert re.findall(r"^\| `([A-Z]\w+)` \|", PAGE, re.MULTILINE) == [c.__name__ for c in typing.get_args(Command)]
    assert {event.__name__ for event in typing.get_args(Event)} <= set(re.findall(r"`([A-Z]\w+)`", PAGE))


def test_files_exist() -> None:
    for name in re.findall(r"`((?:dockc|tests)/[\w/.]+)`", PAGE):
        assert (Path(__file__).resolve().parents[2] / name).exists(), name
