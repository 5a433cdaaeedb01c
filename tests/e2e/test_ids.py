"""Steps that need more than one user id, built by an ordinary user with subordinate ids and without."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

from tests.conftest import member
from tests.e2e.conftest import Dockc, MakeContext

OWNERS = (
    "FROM base\n"
    "COPY --chown=5:6 a /copied\n"
    "RUN echo x > /changed && chown 7:8 /changed && mkdir /dir && chown -R 33:33 /dir && chmod 2750 /dir\n"
    "USER 100:200\n"
    "RUN id -u > /tmp/uid && id -g >> /tmp/uid\n"
    "RUN stat -c '%u %g' /copied /changed /dir /tmp/uid > /tmp/seen\n"
)


def owners(archive: Path) -> dict[str, tuple[int, int, int]]:
    with tarfile.open(archive) as opened:
        return {m.name.strip("/"): (m.uid, m.gid, m.mode & 0o7777) for m in opened}


def test_with_subordinate_ids_everything_is_as_for_root(
    root: Dockc, many: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path
) -> None:
    folder = context(OWNERS, a="x")
    theirs = tmp_path / "user.tar"
    many.build(folder, *with_base, "-o", f"type=tar,dest={theirs}")
    found = owners(theirs)
    assert found["copied"][:2] == (5, 6)
    assert found["changed"][:2] == (7, 8)
    assert found["dir"] == (33, 33, 0o2750)
    assert found["tmp/uid"][:2] == (100, 200)
    ours = tmp_path / "root.tar"
    type(root)(tmp_path / "rootstore", root.home, (sys.executable,)).build(folder, *with_base, "-o", f"type=tar,dest={ours}")
    assert owners(ours) == found
    with tarfile.open(theirs) as opened:
        assert member(opened, "tmp/seen") == b"5 6\n7 8\n33 33\n100 200\n"


def test_with_one_id_owners_are_kept_and_changing_them_fails_with_a_reason(
    user: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path
) -> None:
    folder = context("FROM base\nCOPY --chown=5:6 a /copied\nRUN echo x > /made && chown 0:0 /made\n", a="x")
    archive = tmp_path / "out.tar"
    user.build(folder, *with_base, "-o", f"type=tar,dest={archive}")
    assert owners(archive)["copied"][:2] == (5, 6)
    assert owners(archive)["made"][:2] == (0, 0)
    (folder / "Dockerfile").write_text("FROM base\nRUN echo x > /made && chown 7:8 /made\n")
    shown = user.build(folder, *with_base, status=1)
    assert "Invalid argument" in shown
    assert "help: Only one user id is mapped here" in shown
    (folder / "Dockerfile").write_text("FROM base\nUSER 100:200\nRUN id\n")
    shown = user.build(folder, *with_base, status=1)
    assert "group 200 does not exist in this user namespace (/etc/subuid and /etc/subgid give the ranges)" in shown
