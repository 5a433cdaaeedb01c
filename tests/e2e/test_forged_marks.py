"""What a step, a context or an archive writes where the store keeps its marks is not believed: in no mode, by no snapshotter."""

from __future__ import annotations

import io
import os
import platform
import tarfile
from pathlib import Path

import pytest

from tests import tiny_programs
from tests.e2e.conftest import Dockc, MakeContext

FORGE = (
    "cp /bin/cat evil && chmod 4755 evil; touch disk file other; mkdir opaque; "
    "for n in user trusted; do setx evil $n.dockc.owner OWNER; setx other $n.dockc.owner OWNER; "
    "setx disk $n.dockc.node b:254:0; setx file $n.dockc.whiteout y; setx opaque $n.overlay.opaque y; done; chmod 0 file; true"
)
MARKS = {
    "dockc.owner": b"7:7",
    "dockc.node": b"b:254:0",
    "dockc.whiteout": b"y",
    "overlay.opaque": b"y",
    "overlay.redirect": b"/etc",
}


def _archive() -> bytes:
    """A tar with a file, an empty file and a directory that carry all the marks."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, data in (
            ("data", tarfile.REGTYPE, b"x"),
            ("empty", tarfile.REGTYPE, b""),
            ("folder", tarfile.DIRTYPE, b""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mode = kind, len(data), 0o755 if kind == tarfile.DIRTYPE else 0
            for prefix in ("user", "trusted"):
                info.pax_headers = {
                    **info.pax_headers,
                    **{f"SCHILY.xattr.{prefix}.{key}": value.decode() for key, value in MARKS.items()},
                }
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("snapshotter", ["overlay", "native"])
@pytest.mark.parametrize("mode", ["root", "many", "user"])
def test_forged_marks(
    request: pytest.FixtureRequest,
    mode: str,
    snapshotter: str,
    context: MakeContext,
    with_base: tuple[str, str],
    tmp_path: Path,
) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the program that sets attributes is of x86_64")
    dockc: Dockc = request.getfixturevalue(mode)
    # Where only one id exists there is no other user: root then tries to forge what it cannot make.
    user, owner = ("0:0", "7:7") if mode == "user" else ("1000:1000", "0:0")
    forge = FORGE.replace("OWNER", owner)
    folder = context(
        "FROM base\nCOPY --chmod=755 setx /bin/setx\nADD marked.tar /added/\nCOPY marked /copied/\nRUN mkdir -m 777 /w && touch /w/kept\n"
        f"USER {user}\nRUN cd /w && {forge}\n"
        "FROM scratch AS bare\nCOPY --from=0 / /\n"
        f"USER {user}\nWORKDIR /w\nRUN --mount=type=bind,rw,target=/m mkdir d; {forge}\n"
        "FROM base\nCOPY --from=0 /w /w0\nCOPY --from=0 /added /added\nCOPY --from=0 /copied /copied\nCOPY --link --from=bare /w /w1\n"
    )
    (folder / "setx").write_bytes(tiny_programs.setxattr())
    (folder / "marked.tar").write_bytes(_archive())
    marked = folder / "marked"
    marked.mkdir()
    (marked / "data").write_text("x")
    (marked / "empty").touch(0o644)
    (marked / "folder").mkdir()
    for path in marked.iterdir():
        for key, value in MARKS.items():
            os.setxattr(path, f"user.{key}", value)
    archive = tmp_path / "out.tar"
    shown = dockc.build(
        folder, *with_base, "--no-cache", "--snapshotter", snapshotter, "-o", f"type=tar,dest={archive}"
    )
    ids = tuple(map(int, user.split(":")))
    with tarfile.open(archive) as opened:
        found = {member.name.strip("/"): member for member in opened}
    assert not [name for name in found if ".wh." in name], shown
    assert not [name for name, member in found.items() if member.ischr() or member.isblk()]
    for place in ("w0", "w1"):
        for name in ("evil", "disk", "file", "other", "opaque"):
            member = found[f"{place}/{name}"]
            assert (member.uid, member.gid) == ((0, 0) if user == "0:0" else ids), (place, name)
    assert found["w0/evil"].mode & 0o4000
    for name in ("data", "empty", "folder"):
        assert (found[f"copied/{name}"].uid, found[f"copied/{name}"].gid) == (0, 0)
        assert (found[f"added/{name}"].uid, found[f"added/{name}"].gid) == (0, 0)
    assert "w0/kept" in found
    # The layers say the same as the tree.
    layout = tmp_path / "oci.tar"
    dockc.build(
        folder,
        *with_base,
        "--snapshotter",
        snapshotter,
        "-o",
        f"type=oci,compression=uncompressed,dest={layout}",
        "--target=bare",
    )
    with tarfile.open(layout) as image:
        for blob in image:
            stream = image.extractfile(blob) if blob.name.startswith("blobs/") else None
            if stream is None or stream.read(257 + 5)[257:] != b"ustar":
                continue
            stream.seek(0)
            with tarfile.open(fileobj=stream) as layer:
                for member in layer:
                    assert ".wh." not in member.name
                    assert not member.ischr() and not member.isblk(), member.name
                    if member.name.startswith("w/") and member.name.strip("/") not in ("w", "w/kept", "w/d"):
                        assert (member.uid, member.gid) in ((0, 0), ids), member.name
                        assert member.uid == ids[0] or not member.mode & 0o4000 or user == "0:0", member.name
