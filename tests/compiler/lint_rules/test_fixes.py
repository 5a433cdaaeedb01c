"""Fixes: proven, atomic, to a fixed point; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dockc.compiler.compile import read
from dockc.grammar.source import Source
from dockc.linter import fixes
from dockc.linter.fixes import fix_source, proven
from dockc.linter.options import LintOptions

OFF = LintOptions(shellcheck=False)


def fixed(text: str, *codes: str, unsafe: bool = False) -> str:
    return fix_source(Source.from_text(text), LintOptions(select=codes, shellcheck=False), unsafe=unsafe).text


def same(before: str, after: str, *changes: str) -> bool:
    return proven(read(Source.from_text(before)), read(Source.from_text(after)), changes or ("",))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a b", '"a b"'),
        ("plain", "plain"),
        ("$HOME/bin more", '"$HOME/bin more"'),
        ('"a b" c', '"a b"\\ c'),
        ("a\\ b c", "a\\ b\\ c"),
        ("'x y' \"z w\"", "'x y'\\ \"z w\""),
        ("a  b", '"a  b"'),
    ],
)
@pytest.mark.parametrize("keyword", ["ENV", "LABEL"])
def test_old_pairs_get_an_equals_sign_and_the_same_value(keyword: str, value: str, written: str) -> None:
    before = f"FROM debian:12\n{keyword} K {value}\n"
    after = f"FROM debian:12\n{keyword} K={written}\n"
    result = fix_source(Source.from_text(before), LintOptions(select=("LegacyKeyValueFormat",), shellcheck=False))
    assert result.text == after
    assert not result.refused


def test_stage_name_and_all_that_refer_to_it() -> None:
    text = (
        "FROM debian:12 AS Base\nFROM base AS Build\nRUN --mount=type=bind,from=Base,target=/b ls /b\n"
        "FROM scratch\nCOPY --from=Build /a /a\nCOPY --from=bUILD /c /c\n"
    )
    after = fixed(text, "StageNameCasing")
    assert "Base" not in after
    assert "Build" not in after
    assert "BUILD" not in after.replace("from=build", "")
    assert fixed(after, "StageNameCasing") == after


def test_two_fixes_of_one_place_take_two_rounds() -> None:
    text = "FROM debian:12\nRUN apt-get install curl=1\n"
    after = fixed(text, "DL3014", "DL3015", unsafe=True)
    assert "-y" in after.split()
    assert "--no-install-recommends" in after.split()


def test_overridden_instruction_stays_where_taking_it_out_would_change_the_image() -> None:
    text = 'FROM debian:12\nENTRYPOINT ["a"]\nCMD ["x"]\nENTRYPOINT ["b"]\n'
    result = fix_source(Source.from_text(text), LintOptions(select=("MultipleInstructionsDisallowed",), shellcheck=False))
    assert same(text, result.text, "history")


def test_line_ends_and_escape_character_stay() -> None:
    text = "# escape=`\r\nfrom debian:12 as Base\r\nRUN a && `\r\n\r\n  b\r\n"
    after = fixed(text, "StageNameCasing", "NoEmptyContinuation")
    assert after == "# escape=`\r\nfrom debian:12 as base\r\nRUN a && `\r\n  b\r\n"


def test_fix_that_changes_the_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixes, "declared", lambda code: "")
    result = fix_source(Source.from_text("FROM debian:12\nADD a /b\n"), OFF)
    assert result.text == "FROM debian:12\nADD a /b\n"
    assert [r.finding.code for r in result.refused] == ["DL3020"]


def test_file_that_does_not_parse_is_not_fixed() -> None:
    text = "FROM debian:12\nADD a /b\nNOPE\n"
    result = fix_source(Source.from_text(text), OFF)
    assert result.text == text


@pytest.mark.parametrize(
    ("before", "after", "change", "outcome"),
    [
        ("RUN a", "RUN a b", "more words in RUN", True),
        ("RUN a b", "RUN a", "more words in RUN", False),
        ("RUN a", "RUN a b", "", False),
        ("RUN a", "RUN a b", "history", False),
        ("ENV A=1\nRUN a", "ENV A=2\nRUN a b", "more words in RUN", False),
        ("ADD a /b", "COPY a /b", "COPY for ADD", True),
        ("ADD a /b", "COPY a /c", "COPY for ADD", False),
        ("ADD a /b", "COPY --chmod=755 a /b", "COPY for ADD", False),
        ("CMD a\nCMD b", "CMD b", "history", True),
        ("CMD a\nCMD b", "CMD a", "history", False),
        ("EXPOSE 80 80", "EXPOSE 80", "history", True),
        ("COPY a b /c", "COPY a b /c/", "destination gains a slash", True),
        ("COPY a b /c", "COPY a b /d/", "destination gains a slash", False),
        ("RUN a", "run a", "", True),
    ],
)
def test_what_a_declared_change_covers(before: str, after: str, change: str, outcome: bool) -> None:
    assert same(f"FROM debian:12\n{before}\n", f"FROM debian:12\n{after}\n", change) is outcome


def test_every_stage_is_looked_at_reached_or_not() -> None:
    before = "FROM debian:12\nRUN a\nFROM debian:12 AS x\nRUN b\nFROM scratch\n"
    assert not same(before, before.replace("RUN a", "RUN c"))
    assert not same(before, before.replace("RUN b", "RUN c"))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_real_files_are_fixed_to_a_fixed_point(shared: Path, part: int) -> None:
    """Reads ../shared/corpus. Safe fixes, then unsafe ones: files parse as before, and a second run finds no more safe fix."""
    root = shared / "corpus"
    files = [root / row["file"] for row in json.loads((root / "manifest.json").read_text())]
    for path in files[part::24]:
        source = Source(str(path), path.read_bytes())
        result = fix_source(source, OFF, path=str(path))
        again = fix_source(Source(str(path), Source.from_text(result.text).data), OFF, path=str(path))
        assert again.text == result.text, path
        whole = fix_source(source, OFF, unsafe=True, path=str(path))
        assert (read(source).result.dockerfile is None) >= (read(Source.from_text(whole.text)).result.dockerfile is None), path
