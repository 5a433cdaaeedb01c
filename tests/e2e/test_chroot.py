"""In a plain chroot, whose root is no mount point, the kernel makes no namespaces of users: the hint says so."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.conftest import Dockc, MakeContext

# All of this machine below a directory that is none of its mount points; gone with the namespace.
ENTER = """
for place in /*; do
  if [ -L "$place" ]; then cp -P "$place" "$1/"
  elif [ -d "$place" ]; then mkdir -p "$1$place"; mount --rbind "$place" "$1$place" || exit 77; fi
done
top=$1; shift
exec chroot "$top" "$@"
"""


@pytest.mark.parametrize("who", ["root", "user"])
def test_the_hint_fits_who_asks(who: str, context: MakeContext, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare")
    dockc: Dockc = request.getfixturevalue(who)
    (tmp_path / "top").mkdir()
    prefix = ("unshare", "-m", "--propagation", "private", "sh", "-c", ENTER, "sh", str(tmp_path / "top"))
    folder = context("FROM scratch\nCOPY f /\n", f="x")
    inside = replace(dockc, prefix=(*prefix, *dockc.prefix))
    probe = subprocess.run([*prefix, "true"], check=False, capture_output=True)
    if probe.returncode != 0:
        pytest.skip("this machine's directories cannot be mounted again")
    said = inside.run("build", folder, status=1).stderr
    if who == "root":
        assert "cannot make a mount namespace: the root directory of this process is not a mount point" in said
        assert "help: Bind mount the directory on itself before chroot, or use pivot_root." in said
    else:
        assert "error: cannot make a user namespace: Operation not permitted" in said
        assert "help: In a plain chroot the kernel makes none: bind mount the directory on itself" in said
