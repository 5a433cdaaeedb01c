"""Headers of archives: what is written is what is read, by dockc and by Python."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dockc.errors import StoreError
from dockc.runtime.archive.tarencode import END, header
from dockc.runtime.archive.tarheader import CHAR, DIRECTORY, HARDLINK, REGULAR, SYMLINK, Member, TarReader

NAMES = st.one_of(
    st.text(st.sampled_from("ab/\xe9\xdf=.\udcff \n"), min_size=1, max_size=12),
    st.integers(1, 140).map(lambda depth: "d/" * depth + "x"),
    st.integers(90, 300).map(lambda length: "y" * length),
)
MEMBERS = st.builds(
    Member,
    name=NAMES,
    kind=st.just(REGULAR),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    size=st.integers(0, 2**40),
    mtime=st.integers(-(10**10), 1 << 40).map(lambda seconds: seconds * 10**9),
    xattrs=st.dictionaries(st.text(st.sampled_from("ab.\xe9\n "), min_size=1, max_size=5).map("user.".__add__), st.binary(max_size=8), max_size=2),
)
KINDS = st.one_of(
    st.just({}),
    st.just({"kind": DIRECTORY, "size": 0}),
    st.builds(lambda link, kind: {"kind": kind, "linkname": link, "size": 0}, NAMES, st.sampled_from([SYMLINK, HARDLINK])),
    st.builds(lambda major, minor: {"kind": CHAR, "major": major, "minor": minor, "size": 0}, st.integers(0, 2**22), st.integers(0, 2**22)),
)


def read(data: bytes) -> Member:
    return next(iter(TarReader(io.BytesIO(data))))


@given(MEMBERS, KINDS)
def test_what_is_written_is_read(member: Member, kind: dict[str, object]) -> None:
    for field, value in kind.items():
        setattr(member, field, value)
    data = header(member)
    found = read(data)
    for field in ("name", "kind", "mode", "uid", "gid", "size", "mtime", "linkname", "major", "minor", "xattrs"):
        assert getattr(found, field) == getattr(member, field), field
    if member.mtime < 0 or any("\n" in key for key in member.xattrs):
        return  # Python's reader ends records at line ends
    with tarfile.open(fileobj=io.BytesIO(data + END), mode="r:", errors="surrogateescape") as archive:
        theirs = archive.next()
    assert theirs is not None
    assert (theirs.name.rstrip("/"), theirs.linkname.rstrip("/")) == (member.name.rstrip("/"), member.linkname.rstrip("/"))
    assert (theirs.mode, theirs.uid, theirs.gid, theirs.size, theirs.mtime) == (member.mode, member.uid, member.gid, member.size, member.mtime // 10**9)


@given(st.integers(0, 10**20))
@example(1)
def test_fractions_of_seconds_stay_where_they_are_asked_for(mtime: int) -> None:
    member = Member("a", REGULAR, 0, 0, 0, 0, mtime)
    assert read(header(member, fractions=True)).mtime == mtime
    assert read(header(member)).mtime == mtime // 10**9 * 10**9


def test_an_attribute_that_would_be_read_as_another_is_refused() -> None:
    """A record's key ends at its first `=`."""
    with pytest.raises(StoreError, match=r"etc/a: an archive cannot hold the extended attribute 'user\.a=b'"):
        header(Member("etc/a", REGULAR, 0, 0, 0, 0, 0, xattrs={"user.a=b": b"c"}))
