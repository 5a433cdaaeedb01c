"""Steps that need more than one user id, built by an ordinary user with subordinate ids and without."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def many(root, tmp_path):
    """dockc as an ordinary user who has subordinate ids."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or shutil.which("newuidmap") is None:
        pytest.skip("needs setpriv and newuidmap")
    listed = Path("/etc/subuid")
    names = [line.split(":")[0] for line in listed.read_text().splitlines()] if listed.exists() else []
    known = {one.pw_name: one for one in pwd.getpwall()}
    users = [known[name] for name in names if name != "root" and name in known]
    if not users:
        pytest.skip("no user in /etc/subuid")
    user = users[0]
    become = (setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "env")
    for python in (sys.executable, "/usr/bin/python3"):
        probe = (*become, f"PYTHONPATH={REPO}", python, "-c", "import sys; assert sys.version_info >= (3, 11); import dockc")
        if subprocess.run(probe, check=False, cwd="/", capture_output=True).returncode == 0:
            break
    else:
        pytest.skip("no interpreter and checkout that another user may read")
    folder = tmp_path
    while folder.name.startswith(("pytest-", "test_")):
        folder.chmod(folder.stat().st_mode | 0o055)
        folder = folder.parent
    os.chown(tmp_path, user.pw_uid, user.pw_gid)
    return type(root)(tmp_path / "store", tmp_path, (*become, python))


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


def test_with_subordinate_ids_everything_is_as_for_root(root, many, context, with_base, tmp_path) -> None:
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
        assert opened.extractfile("tmp/seen").read() == b"5 6\n7 8\n33 33\n100 200\n"


def test_with_one_id_owners_are_kept_and_changing_them_fails_with_a_reason(user, context, with_base, tmp_path) -> None:
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
