"""Both forms of a build, executed: a pass may change operations, but never a file of the result.

Each case is built without and with the pass, each time into a store of its own, and the two root file systems
are compared name by name: type, mode, owner, link, content. Times are left out, since a process that writes a
file does so at another time. Steps with RUN use a base image made of this machine's own programs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from dockc.compiler.passes import PASSES
from tests.conftest import member as content_of

CONTEXT = {
    "a": "first\n",
    "src/b": "second\n",
    "src/deep/c": "third\n",
    "doc/readme.md": "words\n",
    "unused/huge": "x" * 4096,
}
CASES = {
    "prune": ("prune", "FROM scratch\nCOPY a /a\n"),
    "canonicalize": (
        "canonicalize",
        "FROM base AS one\nRUN echo x > /x\nFROM base\nRUN echo x > /x\nCOPY --from=one /x /y\n",
    ),
    "dead-code": (
        "dead-code",
        (
            "FROM scratch AS part\nWORKDIR /\nCOPY src /s/\nFROM scratch\nWORKDIR /\nCOPY --link a /a\n"
            "COPY --link src /a2/\nCOPY --link --from=part /s /s\n"
        ),
    ),
    "fold-env": (
        "fold-env",
        (
            "FROM base\nENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin A=1\n"
            'RUN echo "$A $PATH" > /out\n'
        ),
    ),
    "link-copies": (
        "link-copies",
        (
            "FROM base AS build\nWORKDIR /work\nCOPY src .\nRUN cat b deep/c > /built\n"
            "FROM scratch\nCOPY --from=build /built /bin/app\nCOPY --chown=5:6 src /data/\n"
            "COPY --chmod=640 a /etc/a\nCOPY doc /data/doc/\nWORKDIR /var/lib\n"
        ),
    ),
    "narrow-context": (
        "narrow-context",
        (
            "FROM base\nCOPY --exclude=unused --exclude=*.md . /all/\nCOPY --exclude=unused . /again/\n"
            "RUN cat /all/a > /out\n"
        ),
    ),
    "link-copies beside the root": (
        "link-copies",
        (
            "FROM base AS build\nRUN mkdir -p /o/etc /o/app && cat /bin/cat > /o/app/x && chmod 700 /o/etc\n"
            "FROM scratch\nCOPY a /etc/a\nCOPY --chown=3:4 src /app/\nCOPY --from=build /o/ /\nCOPY doc /doc\n"
        ),
    ),
    "narrow-context twice": (
        "prune,narrow-context",
        "FROM base\nCOPY --exclude=src/deep --exclude=unused/* . /all/\nCOPY --exclude=unused/* --exclude=src/deep --exclude=doc . /b/\n",
    ),
    "squash-2 beside the root": (
        "squash{level=2}",
        "FROM base\nCOPY --link a /one/a\nCOPY --link src /two/\nCOPY --link doc /\nCOPY --link src /\nCOPY --link a /three\n",
    ),
    "squash-3 of what was replaced": (
        "squash{level=3}",
        (
            "FROM base\nRUN mkdir -p /d/e && echo 1 > /d/e/f\nCOPY a /d/a\nRUN rm -r /d && mkdir /d && echo n > /d/new\n"
            "COPY src /d/\nRUN rm -r /d/deep\nCOPY --link doc /d/doc\nWORKDIR /d/w\n"
        ),
    ),
    "squash-1": (
        "squash{level=1}",
        (
            "FROM base\nWORKDIR /w\nCOPY a .\nCOPY src ./src\nRUN rm a || cat a > gone\nCOPY --chown=1:2 a a2\n"
            "COPY src/b /w/src/\n"
        ),
    ),
    "squash-2": (
        "squash{level=2}",
        "FROM base\nCOPY --link a /one/a\nCOPY --link src /two/\nCOPY --link doc /two/doc/\nCOPY --link a /three\n",
    ),
    "squash-3": (
        "squash{level=3}",
        (
            "FROM base\nRUN mkdir /d && echo 1 > /d/x && echo 2 > /d/y\nRUN chmod 600 /d/x && rm /d/y\n"
            "COPY src /d/\nRUN rm -r /d/deep\n"
        ),
    ),
    "pin-sources": ("pin-sources", "FROM base\nCOPY a /a\n"),
    "level 2": (
        "prune,canonicalize,dead-code,link-copies,dead-code,fold-env,narrow-context,canonicalize",
        (
            "FROM base AS build\nWORKDIR /\nCOPY src /src\nRUN cat /src/b > /built\n"
            "FROM scratch\nCOPY --from=build /built /app\nCOPY doc /doc\nCOPY a /etc/\n"
        ),
    ),
}


CHANGES_NOTHING_HERE = {"prune", "canonicalize", "pin-sources"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A context, and a base image in the layout `base`."""
    root = tmp_path_factory.mktemp("passes")
    for name, text in CONTEXT.items():
        path = root / "context" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "context" / "link").symlink_to("src/b")
    dockc(root, "base", "-o", str(root / "base"), "sh", "cat", "mkdir", "rm", "chmod")
    return root


def dockc(cwd: Path, *arguments: str, store: Path | None = None) -> str:
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[3]))
    if store is not None:
        environment["DOCKC_STORE"] = str(store)
    done = subprocess.run(
        [sys.executable, "-m", "dockc", *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )
    if "namespace" in done.stderr and "denied" in done.stderr:
        pytest.skip(f"this machine lets us make no namespaces: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def root_files(
    place: Path, scratch: Path, dockerfile: str, passes: str, name: str
) -> tuple[str, dict[str, tuple[object, ...]]]:
    """The operations, and the files of the result: name -> everything but times."""
    file = scratch / "Dockerfile"
    file.write_text(dockerfile)
    archive = scratch / f"{name}.tar"
    common = (str(place / "context"), "-f", str(file), "-O0", f"--passes={passes}")
    base = ("--build-context", f"base=oci-layout://{place / 'base'}")
    store = scratch / f"store-{name}"
    operations = dockc(scratch, "compile", *common, *base, "--emit=json", store=store)
    dockc(scratch, "build", *common, *base, "--progress=plain", "-o", f"type=tar,dest={archive}", store=store)
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            content = content_of(tar, member) if member.isfile() else b""
            facts = (member.type, member.mode, member.uid, member.gid, member.linkname, content)
            found[member.name.strip("./")] = facts
    return operations, found


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_files_are_the_same(case: str, place: Path, tmp_path: Path) -> None:
    passes, dockerfile = CASES[case]
    operations, before = root_files(place, tmp_path, dockerfile, "prune", "before")
    changed, after = root_files(place, tmp_path, dockerfile, passes, "after")
    assert (changed == operations) == (passes in CHANGES_NOTHING_HERE)
    assert after.keys() == before.keys()
    for name, facts in before.items():
        assert after[name] == facts, name


def test_every_pass_is_executed() -> None:
    used = {name.partition("{")[0] for passes, _ in CASES.values() for name in passes.split(",")}
    assert used == set(PASSES)
