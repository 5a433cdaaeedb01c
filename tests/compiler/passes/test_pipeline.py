"""Pipelines as text, the registry, and the observers."""

from __future__ import annotations

import inspect
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from dockc.base.record import Record
from dockc.compiler.ir.parser import parse_module
from dockc.compiler.passes import PASSES, PRESETS, get_pass, names, pipeline
from dockc.compiler.passes.pin_sources import PinSources
from dockc.compiler.passes.pipeline import PassContext, describe, print_after, time_passes
from dockc.compiler.passes.squash import Squash, kept_layers
from dockc.errors import UsageError

MODULE = 'platform linux/amd64\n%0 = source "docker-image://x" {\n  platform linux/amd64\n}\nresult %0\n'


@pytest.mark.parametrize("name", sorted(PASSES))
def test_a_pass_is_a_record_with_a_page(name: str) -> None:
    kind = get_pass(name)
    assert kind.name == name
    assert issubclass(kind, Record)
    page = inspect.getdoc(kind) or ""
    for heading in ("What it does:", "When it is legal:", "What it changes:", "Example:"):
        assert heading in page
    for option in fields(kind):
        assert f"{option.name}:" in page.partition("Options:")[2]


def test_text_and_back() -> None:
    passes = pipeline(passes="prune{keep=base}, squash{level=3},dead-code").passes
    assert [describe(p) for p in passes] == ["prune{keep=base}", "squash{level=3}", "dead-code"]
    assert pipeline(passes="squash").passes == (Squash(1),)
    assert pipeline(passes="").passes == ()
    (strict,) = pipeline(passes="pin-sources{strict}").passes
    assert isinstance(strict, PinSources)
    assert strict.strict


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("squish", "unknown pass squish"),
        ("squash{levle=1}", "pass squash has no option levle"),
        ("squash{level=x}", "option level of pass squash is a number, not x"),
        ("pin-sources{strict=maybe}", "is true or false, not maybe"),
        ("squash{level=1", "cannot read passes at"),
        ("a b", "cannot read passes at"),
    ],
)
def test_bad_text(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pipeline(passes=text)


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(UsageError) as failed:
        get_pass("dead-cod")
    assert failed.value.hint == "did you mean dead-code?"


def test_levels() -> None:
    for level in PRESETS:
        pipeline(level)
    assert pipeline(0).passes == ()
    assert [p.name for p in pipeline(0, squash=2).passes] == ["squash"]
    assert pipeline(1, squash=2).passes[-1] == Squash(2)
    with pytest.raises(UsageError, match="unknown optimisation level 7"):
        pipeline(7)
    with pytest.raises(UsageError, match="there is no squash level 9"):
        pipeline(0, squash=9).run(parse_module(MODULE))


def test_observers() -> None:
    out: list[str] = []
    observers = (print_after(["canonicalize"], out.append), time_passes(out.append))
    pipeline(1, observers=observers).run(parse_module(MODULE))
    assert [line.split()[-1] for line in out if " ms " in line] == ["prune", "canonicalize"]
    (printed,) = [text for text in out if text.startswith("# --- after")]
    assert printed == "# --- after canonicalize ---\n" + MODULE
    out.clear()
    pipeline(1, observers=(print_after(None, out.append),)).run(parse_module(MODULE))
    assert len(out) == 2


@pytest.mark.parametrize(
    ("level", "kept"),
    [
        (1, (False, False, True, True, False, True)),
        (2, (False, False, True, True, False, True)),
        (3, (False, False, False, False, False, True)),
    ],
)
def test_history_can_tell_which_steps_still_end_a_layer(level: int, kept: tuple[bool, ...]) -> None:
    lines = ["WORKDIR /w", "COPY a .", "COPY b .", "RUN x", "COPY c .", "COPY d ."]
    text = 'platform linux/amd64\nfile @0 "Dockerfile"\n%0 = source "docker-image://x" {\n  platform linux/amd64\n}\n'
    text += '%1 = source "local://context"\n'
    for n, line in enumerate(lines, 2):
        step = (
            f'exec {{\n  mount "/" %{n - 1 if n > 2 else 0}\n  args "x"\n  cwd "/"\n  platform linux/amd64\n'
            if line.startswith("RUN")
            else f'file %{n - 1 if n > 2 else 0} {{\n  copy %1 "/{n}" "/w/{n}" create-dest\n'
        )
        text += f'%{n} = {step}  name "{line}"\n  at @0 {n}:0-{n}:9\n}}\n'
    before = parse_module(text + f"result %{len(lines) + 1}\n")
    after = pipeline(passes=f"squash{{level={level}}}").run(before)
    assert kept_layers(before, after) == kept


def test_passes_of_others_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_pass.py").write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\n\n\n"
        "@dataclass(frozen=True)\nclass Theirs:\n    name: ClassVar[str] = 'theirs'\n    strength: int = 1\n\n"
        "    def run(self, module, context):\n        return module\n"
    )
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dockc.passes]\ntheirs = their_pass:Theirs\n")
    monkeypatch.syspath_prepend(tmp_path)
    (made,) = pipeline(passes="theirs{strength=3}").passes
    assert describe(made) == "theirs{strength=3}"
    assert "theirs" in names()
    with pytest.raises(UsageError) as failed:
        get_pass("their")
    assert failed.value.hint == "did you mean theirs?"
    assert made.run(parse_module(MODULE), PassContext()).result is not None


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "pass odd of theirs cannot be loaded: ZeroDivisionError: division by zero"),
        ("Odd = 1", "pass odd of theirs is no pass: odd_pass:Odd is not a data class with a method run"),
        (
            "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass Odd:\n    def run(self, module, context): ...",
            "pass odd of theirs is no pass: its attribute name is not odd",
        ),
    ],
)
def test_passes_of_others_that_are_broken(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_pass.py").write_text(code + "\n")
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dockc.passes]\nodd = odd_pass:Odd\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "odd_pass", raising=False)
    with pytest.raises(UsageError) as failed:
        get_pass("odd")
    assert failed.value.message == message
