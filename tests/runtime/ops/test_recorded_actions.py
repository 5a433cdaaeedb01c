"""File actions against what the reference did with the same trees (`tests/golden/runtime/files/actions`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from dockc.errors import DockcError
from dockc.llb.pb import ops_pb2
from dockc.runtime.fsutil import actions
from dockc.runtime.fsutil.inroot import Root
from dockc.runtime.fsutil.users import Owner
from tests.golden.collect import recorded
from tests.runtime import file_trees

RECORDED = recorded("runtime/files", "actions")
MESSAGES: dict[str, Any] = {
    "copy": ops_pb2.FileActionCopy,
    "mkdir": ops_pb2.FileActionMkDir,
    "mkfile": ops_pb2.FileActionMkFile,
    "rm": ops_pb2.FileActionRm,
    "symlink": ops_pb2.FileActionSymlink,
}

pytestmark = pytest.mark.root


def run(kind: str, source: Path, target: Path, fields: dict[str, Any], owner: Owner | None) -> str:
    """Do one action; the error message, or ""."""
    message = json_format.ParseDict(fields, MESSAGES[kind]())
    try:
        with Root(source) as src, Root(target) as dst:
            if kind == "copy":
                actions.copy_action(src, dst, message, owner)
            elif kind == "mkdir":
                actions.mkdir(dst, message, owner)
            elif kind == "mkfile":
                actions.mkfile(dst, message, owner)
            elif kind == "symlink":
                actions.symlink(dst, message, owner)
            else:
                actions.rm(dst, message)
    except DockcError as error:
        return error.message
    return ""


def _plain(rows: dict[str, Any]) -> dict[str, Any]:
    """The rows with plain permissions on folders."""
    return {path: [*row[:2], row[2] & 0o777, *row[3:]] if row[1] == "d" else row for path, row in rows.items()}


@pytest.mark.parametrize("number", range(len(RECORDED["cases"])))
def test_as_recorded(number: int, tmp_path: Path) -> None:
    file_trees.need_root()
    tree, kind, fields, ids, error, expected = RECORDED["cases"][number]
    before, after = RECORDED["trees"][tree]
    source = file_trees.build(tmp_path / "source", before)
    target = file_trees.build(tmp_path / "target", after)
    said = run(kind, source, target, fields, Owner(*ids) if ids else None)
    assert said == error, fields
    if error:
        return
    unchanged = {row[0]: row for row in after}
    for path in expected["gone"]:
        unchanged.pop(path, None)
    wanted = {**unchanged, **{row[0]: row for row in expected["new"]}}
    found = {row[0]: row for row in file_trees.read(target)}
    if int(fields.get("mode", 0)) & 0o7000:  # the reference loses these bits on the folder that it makes: see the page of differences
        found, wanted = _plain(found), _plain(wanted)
    assert found == wanted, fields
    assert {row[0]: row for row in file_trees.read(source)} == {row[0]: row for row in before}
