"""Makes one file of dockc and all that it needs: `python tools/zipapp.py [OUTPUT]`.

The file runs on any Python of the same minor version on the same kind of machine: `python3 dockc.pyz build .`, or by itself.
Modules in C cannot be loaded out of an archive; so the first run unpacks the file below the user's cache, once for each
content, and later runs load from there. `--packages DIR` takes what `pip install --target DIR .` has made already.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EPOCH = (1980, 1, 1, 0, 0, 0)

# What the file runs first. It must be readable by any Python 3, to say which one it wants.
LAUNCHER = """\
import os, sys

def fail(text):
    sys.stderr.write("error: %s\\n" % text)
    sys.exit(1)

def unpacked():
    import shutil, tempfile, zipfile
    archive = os.path.dirname(os.path.abspath(__file__))
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not cache.startswith("/"):
        cache = os.path.join(os.path.expanduser("~"), ".cache")
    top = os.path.join(cache, "dockc")
    place = os.path.join(top, "app-" + DIGEST)
    if not os.path.isdir(place):
        try:
            os.makedirs(top, mode=0o700, exist_ok=True)
            new = tempfile.mkdtemp(prefix=".app-", dir=top)
        except OSError as error:
            fail("cannot unpack dockc to %s: %s\\n  help: $XDG_CACHE_HOME names another place." % (top, error.strerror))
        try:
            with zipfile.ZipFile(archive) as file:
                for name in file.namelist():
                    if name.startswith("site/"):
                        file.extract(name, new)
            os.rename(new, place)
        except BaseException as error:
            shutil.rmtree(new, ignore_errors=True)
            if not os.path.isdir(place):  # else another process was first
                if isinstance(error, OSError):
                    fail("cannot unpack dockc to %s: %s\\n  help: $XDG_CACHE_HOME names another place." % (top, error.strerror))
                raise
    found = os.lstat(place)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        fail("%s is another user's, or others may write to it: remove it" % place)
    return os.path.join(place, "site")

if (sys.implementation.name, *sys.version_info[:2]) != PYTHON or sysconfig_platform() != PLATFORM:
    fail("this file is for Python %d.%d on %s" % (PYTHON[1], PYTHON[2], PLATFORM))
site = unpacked()
sys.path.insert(0, site)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (site, os.environ.get("PYTHONPATH", ""))))
from dockc.__main__ import main
main()
"""


def main() -> int:
    """Install into a folder, and make an archive of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output", nargs="?", default="dockc.pyz", type=Path)
    parser.add_argument("--packages", type=Path, help="a folder with dockc and its packages")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        packages = options.packages or Path(folder)
        if options.packages is None:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
            done = subprocess.run([*pip, "--target", folder, str(ROOT)], check=False)
            if done.returncode != 0:
                return done.returncode
        digest = write(options.output, packages)
    sys.stdout.write(f"{options.output}: {options.output.stat().st_size} bytes, content {digest}\n")
    return 0


def write(output: Path, packages: Path) -> str:
    """The archive of what is installed in a folder; equal content gives equal bytes. Returns the content's digest."""
    files = sorted(
        path
        for path in packages.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.relative_to(packages).parts[0] != "bin"
    )
    named = {f"site/{path.relative_to(packages).as_posix()}": path.read_bytes() for path in files}
    whole = hashlib.sha256()
    for name, data in named.items():
        whole.update(f"{name}\0{len(data)}\0".encode() + data)
    digest = whole.hexdigest()[:16]
    python = (sys.implementation.name, *sys.version_info[:2])
    head = f"DIGEST, PYTHON, PLATFORM = {digest!r}, {python!r}, {sysconfig.get_platform()!r}\n"
    head += "def sysconfig_platform():\n    import sysconfig\n    return sysconfig.get_platform()\n\n"
    with output.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in {"__main__.py": (head + LAUNCHER).encode(), **named}.items():
                entry = zipfile.ZipInfo(name, EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o100644 << 16
                archive.writestr(entry, data)
    output.chmod(0o755)
    return digest


if __name__ == "__main__":
    sys.exit(main())
