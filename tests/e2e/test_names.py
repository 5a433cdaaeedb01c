"""Names that are no UTF-8 come through every output as they are."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from tests.e2e.conftest import Dockc, MakeContext

NAMES = (b"a\xe9.txt", b"b\xff\xfe.txt", b"d\xff/in\xfe")
TEXT = """\
FROM base
COPY . /all/
COPY *.txt /glob/
COPY d?/ /folder/
RUN : > "$(printf '/all/made\\377')"
FROM scratch
COPY --from=0 /all /all
COPY --from=0 /glob /glob
COPY --from=0 /folder /folder
"""
WANTED = {b"all/a\xe9.txt", b"all/d\xff", b"all/d\xff/in\xfe", b"all/made\xff", b"glob/a\xe9.txt", b"folder/in\xfe"}


def odd(names: list[str]) -> set[bytes]:
    """Those that are no text."""
    return {os.fsencode(name) for name in names if any(char > "~" for char in name)}


def test_names_that_are_no_text(dockc: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path) -> None:
    folder = context(TEXT)
    for name in NAMES:
        path = folder / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    (folder / ".dockerignore").write_bytes(b"b\xff*\nDockerfile\n")
    out = tmp_path / "out"
    dockc.build(folder, *with_base, "-t", "odd", "-o", "type=image", "-o", f"type=local,dest={out}/local", "-o", f"type=tar,dest={out}/t.tar")
    found = [str(path.relative_to(out / "local")) for path in (out / "local").rglob("*")]
    assert odd(found) == WANTED
    with tarfile.open(out / "t.tar", errors="surrogateescape") as archive:
        assert odd([name.strip("/") for name in archive.getnames()]) == WANTED
    dockc.run("image", "save", "odd", "-o", out / "image.tar")
    files = dockc.run("image", "files", "odd").stdout
    assert "glob/a" in files
    dockc.run("prune", "--all", "--force", status=None)
    again = context("FROM odd\nCOPY --from=odd /all /again\n")
    dockc.build(again, "-o", f"type=local,dest={out}/again")
    assert (out / "again/again" / os.fsdecode(b"made\xff")).exists()
