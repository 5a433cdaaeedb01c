"""A release, up to the tag, which is the owner's: `python tools/release.py 0.2.0`; `--check` says whether all places agree.

Writes the version where it stands and today's date into the change log, regenerates the reference, and puts into `dist/`:
the wheel, the source archive, the one-file dockc, the notes and SHA256SUMS. Nothing is committed, tagged or sent anywhere;
what is left to do is printed.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOG = "CHANGELOG.md"
#: Where the version stands: a file, and the words before and after it.
PLACES = (
    ("dockc/base/version.py", 'VERSION = "', '"'),
    ("editors/vscode/package.json", '"version": "', '"'),
    ("docs/tutorial/lint-in-ci.md", "rev: v", "\n"),
    ("examples/daemon/Dockerfile", "(dockc==", ")"),
)
_VERSION = r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?"
_HEADING = re.compile(rf"^## ({_VERSION}) \(([^)]*)\)\n", re.MULTILINE)


class Wrong(Exception):  # a sentence for whoever releases
    """Something does not fit."""


def versions(root: Path = ROOT) -> dict[str, str]:
    """The version in each place, the change log's newest heading included.

    Raises:
        Wrong: a place has none.
    """
    found = {}
    for name, before, after in PLACES:
        match = re.search(re.escape(before) + f"({_VERSION})" + re.escape(after), (root / name).read_text())
        if match is None:
            raise Wrong(f"{name}: no version between {before!r} and {after!r}")
        found[name] = match[1]
    heading = _HEADING.search((root / LOG).read_text())
    if heading is None:
        raise Wrong(f"{LOG}: no heading `## VERSION (unreleased)`")
    found[LOG] = heading[1]
    return found


def write(version: str, root: Path = ROOT) -> None:
    """Put the version into every place but the change log."""
    for name, before, after in PLACES:
        path = root / name
        text = path.read_text()
        path.write_text(
            re.sub(re.escape(before) + _VERSION + re.escape(after), f"{before}{version}{after}", text, count=1)
        )


def notes(root: Path = ROOT) -> str:
    """What the change log says of its newest version."""
    text = (root / LOG).read_text()
    first, *others = _HEADING.finditer(text)
    return text[first.end() : others[0].start() if others else len(text)].strip() + "\n"


def dated(version: str, day: datetime.date, root: Path = ROOT) -> None:
    """Give the newest version of the change log its day.

    Raises:
        Wrong: it is another version, or has a day already.
    """
    path = root / LOG
    text = path.read_text()
    heading = _HEADING.search(text)
    if heading is None or (heading[1], heading[2]) != (version, "unreleased"):
        raise Wrong(f"{LOG} does not begin with `## {version} (unreleased)`")
    path.write_text(text[: heading.start()] + f"## {version} ({day.isoformat()})\n" + text[heading.end() :])


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Wrong(f"`{' '.join(command)}` ended with {done.returncode}")
    return done.stdout


def build(version: str, folder: Path) -> list[Path]:
    """Everything that is handed out, with its checksums."""
    folder.mkdir(exist_ok=True)
    if left := list(folder.iterdir()):
        raise Wrong(f"{folder} is not empty ({left[0].name}): remove it first")
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), ".")
    source = folder / f"dockc-{version}.tar.gz"
    _run(
        "git",
        "archive",
        "--format=tar.gz",
        f"--prefix=dockc-{version}/",
        "--output",
        str(source),
        _run("git", "stash", "create").strip() or "HEAD",
    )
    _run(sys.executable, "tools/zipapp.py", str(folder / f"dockc-{version}-py3{sys.version_info[1]}.pyz"))
    (folder / "NOTES.md").write_text(notes())
    made = sorted(folder.iterdir())
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made)
    (folder / "SHA256SUMS").write_text(sums)
    return [*made, folder / "SHA256SUMS"]


def main(argv: list[str]) -> int:
    """Check, or make a release."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("version", nargs="?", default="")
    parser.add_argument("--check", action="store_true", help="only say whether all places have one version")
    options = parser.parse_args(argv)
    try:
        if options.check or not options.version:
            found = versions()
            if len(set(found.values())) != 1:
                raise Wrong("versions differ: " + ", ".join(f"{name} has {one}" for name, one in found.items()))
            sys.stdout.write(f"{found[LOG]} everywhere\n")
            return 0
        if re.fullmatch(_VERSION, options.version) is None:
            raise Wrong(f"{options.version} is no version such as 0.2.0 or 0.3.0rc1")
        if _run("git", "status", "--porcelain"):
            raise Wrong("the checkout has changes that are not committed")
        write(options.version)
        dated(options.version, datetime.datetime.now(datetime.UTC).date())
        _run(sys.executable, "tools/docs.py")
        made = build(options.version, ROOT / "dist")
    except Wrong as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write("".join(f"{path.relative_to(ROOT)}\n" for path in made))
    sys.stdout.write(
        f"Left to do, by whoever may: ./run-tests; git commit -am 'Version {options.version}'; "
        f"git tag -s v{options.version} -F dist/NOTES.md; git push --follow-tags; upload dist/\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
