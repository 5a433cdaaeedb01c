"""USER values: the reference's rules and messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockc.errors import DockcError
from dockc.runtime.executor.users import resolve

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
  daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin

alice:x:1000:1001:Alice,,,:/home/alice:/bin/sh
twin:x:1000:2000::/home/twin:/bin/sh
1234:x:77:78::/home/number:/bin/sh
short:x:5
odd:x:five:six::/odd:
"""
GROUP = """\
root:x:0:
# comment:x:9:alice
staff:x:50:alice,bob
video:x:44:bob,alice
empty:x:60:
77:x:99:
"""


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, (0,), "/root"),
        ("0", 0, 0, (0,), "/root"),
        ("root", 0, 0, (0,), "/root"),
        ("daemon", 1, 1, (1,), "/usr/sbin"),
        ("alice", 1000, 1001, (1001, 50, 44), "/home/alice"),
        ("1000", 1000, 1001, (1001, 50, 44), "/home/alice"),
        ("twin", 1000, 2000, (2000,), "/home/alice"),
        ("alice:staff", 1000, 50, (50,), "/home/alice"),
        ("alice:7", 1000, 7, (7,), "/home/alice"),
        ("alice:", 1000, 1001, (1001, 50, 44), "/home/alice"),
        (":staff", 0, 50, (50,), "/root"),
        ("4242", 4242, 0, (0,), "/"),
        ("4242:staff", 4242, 50, (50,), "/"),
        ("1:2", 1, 2, (2,), "/usr/sbin"),
        ("root:root", 0, 0, (0,), "/root"),
        ("4000000000:4000000000", 4000000000, 4000000000, (4000000000,), "/"),
        # A number is an id, never a name; missing fields count as zero.
        ("1234", 1234, 0, (0,), "/"),
        ("short", 5, 0, (0,), "/"),
        ("odd", 0, 0, (0,), "/root"),
        ("alice:staff:more", 1000, 50, (50,), "/home/alice"),
    ],
)
def test_resolution(rootfs: Path, spec: str, uid: int, gid: int, groups: tuple[int, ...], home: str) -> None:
    user = resolve(rootfs, spec)
    assert (user.uid, user.gid, user.groups, user.home) == (uid, gid, groups, home)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("bob", "unable to find user bob: no matching entries in passwd file"),
        ("ALICE", "unable to find user ALICE: no matching entries in passwd file"),
        ("alice:nope", "unable to find group nope: no matching entries in group file"),
        ("-1", "uids and gids must be in range 0-2147483647"),
        ("2147483648", "uids and gids must be in range 0-2147483647"),
        ("root:99999999999999999999", "uids and gids must be in range 0-2147483647"),
    ],
)
def test_errors(rootfs: Path, spec: str, message: str) -> None:
    with pytest.raises(DockcError) as caught:
        resolve(rootfs, spec)
    assert caught.value.message == message


def test_root_needs_no_files(tmp_path: Path) -> None:
    assert resolve(tmp_path, "").uid == 0
    assert resolve(tmp_path, "12").uid == 12
    assert resolve(tmp_path, "12:13").groups == (13,)
    with pytest.raises(DockcError, match="unable to find user bob: no matching entries in passwd file"):
        resolve(tmp_path, "bob")


def test_links_stay_inside(rootfs: Path) -> None:
    (rootfs / "etc/passwd").rename(rootfs / "users")
    (rootfs / "etc/passwd").symlink_to("../../../../users")
    assert resolve(rootfs, "alice").uid == 1000
    (rootfs / "etc/passwd").unlink()
    (rootfs / "etc/passwd").symlink_to("/etc/passwd")
    with pytest.raises(DockcError, match="unable to find user daemon"):
        resolve(rootfs, "daemon")


def test_a_huge_file_is_refused(rootfs: Path) -> None:
    with (rootfs / "etc/passwd").open("ab") as stream:
        stream.truncate((10 << 20) + 1)
    with pytest.raises(DockcError) as caught:
        resolve(rootfs, "alice")
    assert caught.value.message == 'unable to find user alice: "/etc/passwd" exceeds 10485760 bytes'
    assert resolve(rootfs, "").uid == 0
