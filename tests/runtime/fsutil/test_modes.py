"""Symbolic modes; expectations as chmod(1) and the reference have them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockc.runtime.fsutil import modes
from dockc.runtime.fsutil.failure import FileError


@pytest.mark.parametrize(
    ("text", "mode", "directory", "expected"),
    [
        ("755", 0o644, False, 0o755),
        ("0", 0o777, False, 0),
        ("4755", 0o644, False, 0o4755),
        ("7777", 0, True, 0o7777),
        ("u+x", 0o644, False, 0o744),
        ("+x", 0o644, False, 0o755),
        ("a+x,g-r", 0o644, False, 0o715),
        ("go=", 0o755, False, 0o700),
        ("=rw,+X", 0o644, False, 0o666),
        ("=rw,+X", 0o744, False, 0o777),
        ("=rw,+X", 0o600, True, 0o777),
        ("u=rwx,go=u-w", 0o600, False, 0o755),
        ("g=u", 0o750, False, 0o770),
        ("o+g", 0o070, False, 0o077),
        ("u-g", 0o750, False, 0o250),
        ("u+s", 0o755, False, 0o4755),
        ("g+s", 0o755, False, 0o2755),
        ("o+s", 0o755, False, 0o755),
        ("+t", 0o755, True, 0o1755),
        ("a=rX", 0o4751, False, 0o555),
        ("u+rw-x", 0o100, False, 0o600),
        ("-X", 0o777, False, 0o666),
    ],
)
def test_apply(text: str, mode: int, directory: bool, expected: int) -> None:
    assert oct(modes.parse(text).apply(mode, directory=directory)) == oct(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid syntax"),
        ("u", "invalid syntax"),
        ("u+x,", "invalid syntax"),
        ("x", "invalid syntax"),
        ("u*x", "invalid syntax"),
        ("u+q", "invalid syntax"),
        ("10777", "invalid syntax"),
        ("8", 'strconv.ParseInt: parsing "8": invalid syntax'),
        ("0x1", 'strconv.ParseInt: parsing "0x1": invalid syntax'),
        ("100000", 'strconv.ParseInt: parsing "100000": value out of range'),
    ],
)
def test_what_is_no_mode(text: str, message: str) -> None:
    with pytest.raises(FileError) as raised:
        modes.parse(text)
    assert raised.value.message == message


WHO = ["u", "g", "o", "a", "ug", "go"]
PERMISSIONS = ["r", "w", "x", "rw", "rx", "rwx", "u", "g", "o", ""]


def clauses(permissions: list[str]) -> st.SearchStrategy[str]:
    parts = st.sampled_from(WHO), st.sampled_from("+-="), st.sampled_from(permissions)
    return st.builds(lambda who, op, perms: who + op + perms, *parts)


# GNU chmod judges what all agree on. `X` after another clause is not of that: GNU asks the mode so far, BSD and the reference
# the mode that the file had, as `test_execute_where_it_was` says.
AGREED = st.builds(lambda first, others: [first, *others], clauses([*PERMISSIONS, "X"]), st.lists(clauses(PERMISSIONS), max_size=2))


@settings(max_examples=25, deadline=None)
@given(AGREED, st.integers(0, 0o777))
def test_as_chmod(tmp_path_factory: pytest.TempPathFactory, clauses: list[str], mode: int) -> None:
    text = ",".join(clauses)
    path: Path = tmp_path_factory.mktemp("modes") / "file"
    path.touch()
    path.chmod(mode)
    subprocess.run(["chmod", text, str(path)], check=True)
    assert oct(modes.parse(text).apply(mode, directory=False)) == oct(path.stat().st_mode & 0o7777)


@given(st.lists(clauses(PERMISSIONS), max_size=3), st.sampled_from(WHO), st.integers(0, 0o777), st.booleans())
def test_execute_where_it_was(before: list[str], who: str, mode: int, directory: bool) -> None:
    """`X` after other clauses is `x` where the file was executable for anybody before all of them, or is a directory."""
    told = modes.parse(",".join([*before, f"{who}+X"])).apply(mode, directory=directory)
    wanted = [*before, f"{who}+x"] if directory or mode & 0o111 else before
    same = modes.parse(",".join(wanted)).apply(mode, directory=directory) if wanted else mode
    assert oct(told) == oct(same)
