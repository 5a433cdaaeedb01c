"""Why steps ran: one change of each kind is told as that kind and no other, and nothing is told of what was cached."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dockc.console.why import why_lines
from dockc.engine import history
from dockc.engine.missed import misses
from dockc.errors import UsageError
from dockc.solver.keydiff import Missed
from tests.e2e.conftest import Dockc, MakeContext, base, context, root, tmp_path, with_base  # noqa: F401  fixtures
from tests.runtime.registry_servers import Answer, Script

DOCKERFILE = """\
FROM base AS one
ARG X=1
ENV E=1
RUN echo one > /one
RUN --mount=type=secret,id=s echo $X > /x
FROM base AS two
ARG Y=1
COPY a.txt /a-$Y
COPY dir /dir
FROM two
COPY --from=one /x /one /taken/
"""


def first(store: Path, **more: str) -> list[Missed]:
    return [one for one in misses(store, "last", **more).misses if one.first]


def told(store: Path, **more: str) -> list[tuple[str, int]]:
    return [(str(one.diff.reason), one.line) for one in first(store, **more)]


class Builder:
    """A process that builds on one store, as often as it is asked to."""

    def __init__(self, store: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("builder.py")), str(store)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip

    def __call__(self, context: Path, **asked: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"context": str(context), **asked}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Builder]:
    builder = Builder(tmp_path / "store")
    yield builder
    builder.close()


def test_each_kind_of_change_is_told_as_that_kind(build: Builder, context: MakeContext, base: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    folder = context(DOCKERFILE, **{"a.txt": "a\n", "dir__kept": "k\n", "dir__old": "o\n"})
    (folder / "dir/old").chmod(0o644)
    shutil.copytree(folder, tmp_path / "original")
    other = tmp_path / "other-base"
    subprocess.run([sys.executable, "-m", "dockc", "base", "sh", "cat", "env", "--output", str(other)], check=True, capture_output=True)
    contexts = {"base": f"oci-layout://{base}"}
    assert "cache miss" not in build(folder, contexts=contexts)["shown"], "of a first build there is nothing to say"
    assert {str(one.diff.reason) for one in misses(store, "last").misses} <= {"unknown", "input"}
    build(folder, contexts=contexts)
    assert misses(store, "last").misses == ()

    def rewrite(old: str, new: str) -> Callable[[], object]:
        return lambda: (folder / "Dockerfile").write_text(DOCKERFILE.replace(old, new))

    changes: list[tuple[str, Callable[[], object], dict[str, str], list[tuple[str, int]], str]] = [
        ("time", lambda: os.utime(folder / "a.txt", (1, 1)), {}, [], ""),
        ("text", rewrite("echo one", "echo two"), {}, [("instruction", 4)], "instruction: `RUN echo one > /one` -> `RUN echo two > /one`"),
        ("argument", lambda: None, {"build-arg:X": "2"}, [("argument", 4)], "argument X: 1 -> 2"),
        ("default", rewrite("ARG Y=1", "ARG Y=2"), {}, [("argument", 8)], "argument Y: 1 -> 2"),
        ("environment", rewrite("ENV E=1", "ENV E=2"), {}, [("environment", 4)], "environment E: 1 -> 2"),
        ("mount", rewrite("id=s", "id=t"), {}, [("mount", 5)], "mount secret id: s -> t"),
        ("content", lambda: (folder / "a.txt").write_text("b\n"), {}, [("content", 8)], "file a.txt: content"),
        ("mode", lambda: (folder / "dir/old").chmod(0o755), {}, [("content", 9)], "file dir/old: mode 0644 -> 0755"),
        ("added", lambda: (folder / "dir/new").write_text("n\n"), {}, [("content", 9)], "file dir/new: added"),
        ("removed", lambda: (folder / "dir/old").unlink(), {}, [("content", 9)], "file dir/old: removed"),
        ("user", rewrite("ENV E=1", "ENV E=1\nUSER 0"), {}, [("operation", 5)], "option user: (none) -> 0"),
        ("no cache", lambda: None, {"no-cache": "one"}, [("told", 4)], "told: "),
    ]  # fmt: skip
    for name, change, attrs, expected, words in changes:
        change()
        shown = build(folder, contexts=contexts, attrs=attrs)["shown"]
        assert told(store) == expected, f"{name}:\n{shown}"
        assert [line for one in first(store) for line in why_lines(one.diff) if not line.startswith(words)] == [], name
        assert [line.split("cache miss: ")[1][: len(words)] for line in shown.splitlines() if "cache miss" in line] == [words] * bool(words), name
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "original", folder)
        build(folder, contexts=contexts)  # what the next is compared with is the newest of all that are as near

    shown = build(folder, contexts={"base": f"oci-layout://{other}"})["shown"]
    assert {str(one.diff.reason) for one in first(store)} == {"base"}, shown


MORE = """\
FROM base AS one
ARG X=1
ENV E=$X
WORKDIR /w
RUN --mount=type=secret,id=s --mount=type=ssh echo one > one
RUN --mount=type=cache,target=/c echo two > two
RUN <<EOF
echo three > three
EOF
COPY --chmod=644 a.txt /a
COPY --link b.txt /b
COPY --exclude=*.log dir /dir
COPY --parents dir/kept /p/
ADD --chown=0:0 link /l/
COPY <<T /t
text
T
FROM one
COPY --from=one /w/one /taken/
RUN --network=none cat /taken/one > /last
"""


def test_more_kinds_of_changes(build: Builder, context: MakeContext, base: Path, tmp_path: Path) -> None:
    """Attributes of files, parts of instructions and options of the build; what is in no key changes nothing."""
    store = tmp_path / "store"
    files = {"a.txt": "a\n", "b.txt": "b\n", "dir__kept": "k\n", "dir__old": "o\n", "dir__x.log": "x\n", ".dockerignore": "no\n"}
    folder = context(MORE, **files)
    link = folder / "link/s"
    link.parent.mkdir()
    link.symlink_to("a")
    for path in (folder / "a.txt", folder / "b.txt", folder / "dir/kept"):
        path.chmod(0o644)
    (folder / "dir").chmod(0o755)
    shutil.copytree(folder, tmp_path / "original", symlinks=True)

    def rewrite(old: str, new: str) -> Callable[[], object]:
        assert old in MORE
        return lambda: (folder / "Dockerfile").write_text(MORE.replace(old, new, 1))

    def nothing() -> None:
        pass

    def another_link() -> None:
        link.unlink()
        link.symlink_to("b")

    changes: list[tuple[str, Callable[[], object], dict[str, str], list[tuple[str, int]], str]] = [
        ("mode", lambda: (folder / "a.txt").chmod(0o600), {}, [("content", 10)], "file a.txt: mode 0644 -> 0600"),
        ("mode below a link", lambda: (folder / "b.txt").chmod(0o600), {}, [("content", 11)], "file b.txt: mode 0644 -> 0600"),
        ("mode of a directory", lambda: (folder / "dir").chmod(0o700), {}, [("content", 12)], "file dir: mode 0755 -> 0700"),
        ("target of a link", another_link, {}, [("content", 14)], "file link/s: content"),
        ("another name", lambda: (folder / "dir/old").rename(folder / "dir/new"), {}, [("content", 12)], "file dir/"),
        ("an excluded file", lambda: (folder / "dir/x.log").write_text("y"), {}, [], ""),
        ("ignored", lambda: (folder / ".dockerignore").write_text("dir/old\n"), {}, [("content", 12)], "file dir/old: removed"),
        ("argument in a variable", nothing, {"build-arg:X": "2"}, [("environment", 5)], "environment E: 1 -> 2"),
        ("secret", rewrite("id=s", "id=t"), {}, [("mount", 5)], "mount secret id: s -> t"),
        ("agent", rewrite(" --mount=type=ssh", ""), {}, [("mount", 5)], "mount /run/buildkit/ssh_agent.0: ssh -> (none)"),
        ("cache mount", rewrite("target=/c", "target=/d"), {}, [("mount", 6)], "mount cache "),
        ("network", rewrite("--network=none ", ""), {}, [("operation", 20)], "option network: none -> default"),
        ("script", rewrite("echo three >", "echo drei >"), {}, [("instruction", 7)], "instruction: `RUN <<EOF echo three > three EOF` -> "),
        ("document", rewrite("text\n", "words\n"), {}, [("instruction", 15)], "instruction: `text` -> `words`"),
        ("link", rewrite("--link ", ""), {}, [("instruction", 11)], "instruction: `COPY --link b.txt /b` -> `COPY b.txt /b`"),
        ("parents", rewrite("--parents ", ""), {}, [("instruction", 13)], "instruction: `COPY --parents dir/kept /p/` -> "),
        ("exclude", rewrite("*.log", "*.tmp"), {}, [("instruction", 12)], "instruction: "),
        ("chmod", rewrite("chmod=644", "chmod=600"), {}, [("instruction", 10)], "instruction: "),
        ("chown", rewrite("chown=0:0", "chown=1:1"), {}, [("instruction", 14)], "instruction: "),
        ("shell", rewrite("RUN <<", 'SHELL ["/bin/sh","-e","-c"]\nRUN <<'), {}, [("operation", 8)], "option args[1]: (none) -> -e"),
        ("host name", nothing, {"hostname": "h"}, [("operation", 5)], "option hostname: (none) -> h"),
        ("shared memory", nothing, {"shm-size": "1048576"}, [("mount", 5)], "mount /dev/shm: (none) -> tmpfs"),
        ("times of files", nothing, {"build-arg:SOURCE_DATE_EPOCH": "1"}, [("operation", 4)], "option actions[0].mkdir.timestamp: -1 -> "),
        ("platform", nothing, {"platform": "linux/arm64"}, [("operation", 5)], "option platform: linux/amd64 -> linux/arm64"),
        ("target", nothing, {"target": "one"}, [], ""),
        ("proxy", nothing, {"build-arg:HTTP_PROXY": "http://x"}, [], ""),
        ("label", rewrite("ARG X=1", "LABEL a=b\n# said\nARG X=1"), {}, [], ""),
    ]  # fmt: skip
    contexts = {"base": f"oci-layout://{base}"}
    build(folder, contexts=contexts)
    for name, change, attrs, expected, words in changes:
        change()
        found = build(folder, contexts=contexts, attrs=attrs, plan=True)
        assert told(store) == expected, f"{name}:\n{found['shown']}"
        assert [line for one in first(store) for line in why_lines(one.diff) if not line.startswith(words)] == [], name
        for digest, step in found["steps"].items():
            state, why = found["plan"][digest]
            assert step["ran"] == bool(step["why"]) and not (step["ran"] and step["cached"]), (name, step)
            assert (state, step["ran"]) not in {("cached", True), ("run", False)}, (name, step)
            assert state != "run" or step["why"] == "input" or why == step["why"], (name, step)
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "original", folder, symlinks=True)
        build(folder, contexts=contexts)


def test_a_step_whose_result_was_pruned(root: Dockc, context: MakeContext) -> None:
    folder = context("FROM scratch\nCOPY a /a\n", a="1")
    root.build(folder)
    root.run("prune", "--all")
    assert "cache miss: removed: its result was taken from the cache by dockc prune at 20" in root.build(folder)
    assert told(root.store) == told(root.store, against="last") == [("result", 2)]


#: Changes of a context of which each gives another one.
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(("a", "d/b", "d/c")), st.sampled_from(("1", "2"))),
        st.tuples(st.just("chmod"), st.sampled_from(("a", "d/b", "d/c")), st.sampled_from(("644", "755"))),
        st.tuples(st.just("line"), st.sampled_from(("COPY a /1", "COPY d /2", "COPY --from=x / /3", "WORKDIR /w")), st.just("")),
        st.tuples(st.just("argument"), st.sampled_from(("X", "Y")), st.sampled_from(("1", "2"))),
        st.tuples(st.just("no-cache"), st.sampled_from(("", "x", "y")), st.just("")),
    ),
    min_size=2,
    max_size=8,
)


def apply(folder: Path, lines: list[str], attrs: dict[str, str], change: tuple[str, str, str]) -> None:
    """Make one change; a line of the last stage comes where it was not, and goes where it was."""
    kind, name, value = change
    attrs.pop("no-cache", None)
    match kind:
        case "write":
            (folder / name).write_text(value)
        case "chmod":
            (folder / name).chmod(int(value, 8))
        case "line":
            lines[:] = [one for one in lines if one != name] if name in lines else [*lines, name]
        case "argument":
            attrs[f"build-arg:{name}"] = value
        case "no-cache" if name:
            attrs["no-cache"] = name
    text = ["FROM scratch AS x", "ARG X=1", "COPY a /x-$X", "COPY d/b /b", "FROM scratch AS y", "ARG Y=1", "COPY d/c /c$Y", *lines]
    (folder / "Dockerfile").write_text("\n".join(text) + "\n")


@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(CHANGES)
@example([("chmod", "a", "755"), ("write", "d/c", "1"), ("chmod", "a", "644")])
@example([("argument", "Y", "2"), ("chmod", "d/b", "755"), ("write", "a", "2"), ("line", "WORKDIR /w", ""), ("write", "d/c", "2"), ("chmod", "d/b", "644")])
@example([("line", "COPY a /1", ""), ("write", "a", "1"), ("argument", "Y", "2"), ("write", "a", "0")])  # both were there, not together
def test_what_is_told_is_empty_exactly_where_a_step_was_cached_and_plans_come_true(changes: list[tuple[str, str, str]]) -> None:
    top = Path(tempfile.mkdtemp(prefix="dockc-misses-")).resolve()
    folder, lines, attrs = top / "context", ["COPY --from=x / /3"], {"build-arg:X": "1"}
    (folder / "d").mkdir(parents=True)
    for name in ("a", "d/b", "d/c"):
        (folder / name).write_text("0")
    builder = Builder(top / "store")
    try:
        for change in (("argument", "X", "1"), *changes):
            apply(folder, lines, attrs, change)
            found = builder(folder, attrs=attrs, plan=True)
            for digest, step in found["steps"].items():
                assert step["ran"] == (not step["cached"]) == bool(step["why"]), step
                assert step["one"] == [step["why"]] * bool(step["why"])
                state, why = found["plan"][digest]
                assert state != "cached" or step["cached"], (step, found["plan"])
                assert state != "run" or step["ran"], (step, found["plan"])
                assert bool(why) == (state == "run")
                if state == "run" and step["why"] != "input":
                    assert why == step["why"], step
    finally:
        builder.close()
        shutil.rmtree(top, ignore_errors=True)


def test_a_step_by_name_line_or_number_and_as_json(root: Dockc, context: MakeContext) -> None:
    folder = context("FROM scratch\nCOPY a /a\nCOPY b /b\n", a="1", b="1")
    root.build(folder)
    (folder / "b").write_text("2")
    root.build(folder)
    (last, _) = history.records(root.store)
    cached = root.run("explain", "--miss", "COPY a")
    assert (cached.stdout, cached.stderr) == ("", f"note: step COPY a of the build {last.ref} did not miss the cache\n")
    assert root.run("explain", "--miss", "line:2", "--format=json").stdout == "[]\n"
    assert root.run("explain", "--miss", folder).stdout == root.run("explain", "--miss").stdout != ""
    found = json.loads(root.run("explain", "--miss", "Dockerfile:3", "--format=json").stdout)
    assert [(one["reason"], one["line"], one["files"]) for one in found] == [
        ("content", 3, [{"path": "b", "what": "content", "old": "", "new": ""}])
    ]
    (record, earlier) = history.records(root.store)
    assert found[0]["build"] == earlier.ref
    assert told(root.store, against=earlier.ref) == [("content", 3)]
    with pytest.raises(UsageError, match="no step that has a key"):
        misses(root.store, record.ref, step="load build definition")
    assert "are for --miss" in root.run("explain", ".", "--against", "last", status=2).stderr


def test_equal_files_of_other_names_are_told_by_their_own(root: Dockc, context: MakeContext) -> None:
    folder = context("FROM scratch\nCOPY a /\nCOPY b /\nCOPY c /\nFROM scratch\nCOPY --from=0 / /\n", a="same", b="same", c="same")
    root.build(folder)
    for name in "abc":
        (folder / name).write_text("new")
        assert f"cache miss: file {name}: content\n" in root.build(folder)


def test_a_new_machine_is_told_of_the_imported_cache(root: Dockc, context: MakeContext, tmp_path: Path) -> None:
    folder = context("FROM scratch\nCOPY a /a\n", a="1")
    root.build(folder, "--cache-to", f"type=local,dest={tmp_path}/cache")
    (folder / "a").write_text("2")
    fresh = Dockc(tmp_path / "fresh", tmp_path)
    shown = fresh.build(folder, "--cache-from", f"type=local,src={tmp_path}/cache")
    assert "cache miss: new: no step like it was built here, and the imported cache has none (local " in shown
    assert told(fresh.store) == [("import", 2)]


def test_secret_arguments_are_in_no_record(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    folder = context("FROM base\nARG NPM_TOKEN\nRUN echo $NPM_TOKEN >/dev/null\n", a="1")
    root.build(folder, *with_base, "--build-arg", "NPM_TOKEN=hunter2hunter2")
    shown = root.build(folder, *with_base, "--build-arg", "NPM_TOKEN=hunter3hunter3")
    assert "cache miss: argument NPM_TOKEN has another value" in shown
    written = b"".join(path.read_bytes() for path in (root.store / "history").rglob("*") if path.is_file())
    assert b"hunter" not in written


def test_a_quiet_build_says_nothing(root: Dockc, context: MakeContext) -> None:
    folder = context("FROM scratch\nCOPY a /a\n", a="1")
    root.build(folder)
    (folder / "a").write_text("2")
    assert "miss" not in root.run("build", folder, "--quiet").stderr
    assert told(root.store) == [("content", 2)]


STILL_MORE = """\
# syntax=docker/dockerfile:1
FROM base AS one
WORKDIR /w
RUN --mount=type=bind,source=dir,target=/in echo b > b
RUN --mount=type=bind,from=other,target=/o echo o > o
RUN --mount=type=cache,id=c,target=/c,sharing=shared,mode=0755 echo c > c
RUN --mount=type=tmpfs,target=/t,size=1m echo t > t
RUN --mount=type=secret,id=s,target=/s,mode=0400 --mount=type=secret,id=v,env=V echo s > s
RUN <<EOF
echo h > h
EOF
COPY --from=other x /x
COPY a.txt /a
ADD http://SERVER/file /f
COPY deep /deep/
EXPOSE 1
"""


def can_have_attributes(folder: Path) -> bool:
    """Whether files there take extended attributes of users."""
    probe = folder / "probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.x", b"1")
    except OSError:
        return False
    return True


def test_mounts_contexts_and_what_is_in_no_key(build: Builder, context: MakeContext, base: Path, tmp_path: Path) -> None:
    """Every part of a mount, contexts by name, files of a server, options that steps feel, and those that they do not."""
    store = tmp_path / "store"
    served = [b"one"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "x").write_text("x\n")
    with Script(lambda seen: Answer(200, served[0], {"ETag": f'"{len(served[0])}"'})) as server:
        text = STILL_MORE.replace("SERVER", server.address)
        folder = context(text, **{"a.txt": "a\n", "dir__kept": "k\n", "dir2__kept": "k\n", "deep__one__two": "2\n"})
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        shutil.copytree(folder, tmp_path / "original", symlinks=True)

        def rewrite(old: str, new: str) -> Callable[[], object]:
            assert old in text
            return lambda: (folder / "Dockerfile").write_text(text.replace(old, new, 1))

        def nothing() -> None:
            pass

        def attributes() -> None:
            if can_have_attributes(tmp_path):
                os.setxattr(folder / "a.txt", "user.x", b"1")

        def hard_link() -> None:
            (folder / "dir2/kept").unlink()
            (folder / "dir2/kept").hardlink_to(folder / "dir/kept")

        def linked() -> None:
            (folder / "deep/one/two").unlink()
            (folder / "deep/one/two").symlink_to("/w/b")

        # A step gets one only where they are mounted, and its user may make one.
        groups = os.geteuid() == 0 and any(any(Path("/sys/fs/cgroup").glob(at)) for at in ("cgroup.procs", "*/cgroup.procs"))
        changes: list[tuple[str, Callable[[], object], dict[str, str], list[tuple[str, int]], str]] = [
            ("a file that is bound", lambda: (folder / "dir/kept").write_text("l\n"), {}, [("content", 4)], "file "),
            ("target of what is bound", rewrite("target=/in", "target=/on"), {}, [("mount", 4)], "mount "),
            ("source of what is bound, with the same files", rewrite("source=dir,", "source=dir2,"), {}, [], ""),
            ("what is bound may be written", rewrite("target=/in", "target=/in,rw"), {}, [("mount", 4)], "mount "),
            ("sharing", rewrite("sharing=shared", "sharing=locked"), {}, [("mount", 6)], "mount "),
            ("mode of a cache", rewrite("mode=0755", "mode=0700"), {}, [("operation", 6)], "option "),
            ("id of a cache", rewrite("id=c,", "id=d,"), {}, [], ""),
            ("size of a tmpfs", rewrite("size=1m", "size=2m"), {}, [("mount", 7)], "mount "),
            ("target of a secret", rewrite("target=/s,", "target=/s2,"), {}, [("mount", 8)], "mount "),
            ("mode of a secret", rewrite("mode=0400", "mode=0440"), {}, [("mount", 8)], "mount "),
            ("id of a variable's secret", rewrite("id=v,", "id=w,"), {}, [("mount", 8)], "mount secret id: v -> w"),
            ("variable of a secret", rewrite("env=V ", "env=W "), {}, [("mount", 8)], "mount secret env: V -> W"),
            ("group of the control group", nothing, {"cgroup-parent": "/x"} if groups else {}, [("operation", 4)] * groups, "option "),
            ("network of all", nothing, {"force-network-mode": "none"}, [("operation", 4)], "option network: "),
            ("attributes of a file", attributes, {}, [("content", 13)] * can_have_attributes(tmp_path), "file a.txt: attributes"),
            ("a hard link in the place of a copy", hard_link, {}, [], ""),
            ("another word around a script", rewrite("<<EOF\necho h > h\nEOF", "<<END\necho h > h\nEND"), {}, [], ""),
            ("a context by name", lambda: (other / "x").write_text("y\n"), {}, [("content", 5)], "file "),
            ("another name of a file", rewrite("COPY a.txt", "COPY Dockerfile"), {}, [("instruction", 13)], "instruction: "),
            ("what a server has", lambda: served.__setitem__(0, b"three"), {}, [("base", 14)], "source: http://"),
            ("a directory", lambda: (folder / "deep/new").mkdir(), {}, [("content", 15)], "file deep/new: added"),
            ("a link in the place of a file", linked, {}, [("content", 15)], "file deep/one/two: "),
            ("a mode far below", lambda: (folder / "deep/one").chmod(0o700), {}, [("content", 15)], "file deep/one: mode 0755 -> 0700"),
            ("set user", lambda: (folder / "a.txt").chmod(0o4644), {}, [("content", 13)], "file a.txt: mode 0644 -> 4644"),
            ("directory of work", rewrite("WORKDIR /w", "WORKDIR /v"), {}, [("instruction", 3)], "instruction: "),
            ("limits", nothing, {"ulimit": "nofile=99"}, [("operation", 4)], "option "),
            ("hosts", nothing, {"add-hosts": "far=10.0.0.1,farther=10.0.0.2"}, [("operation", 4)], "option extraHosts: (none) -> far, farther"),
            ("names of cache mounts", nothing, {"build-arg:BUILDKIT_CACHE_MOUNT_NS": "n"}, [], ""),
            ("owner", lambda: os.chown(folder / "a.txt", *((7, 7) if os.geteuid() == 0 else (-1, -1))), {}, [], ""),
            ("syntax", rewrite("dockerfile:1\n", "dockerfile:1.7\n"), {}, [], ""),
            ("what only the config has", rewrite("EXPOSE 1", "EXPOSE 2\nSTOPSIGNAL 9\nVOLUME /v"), {}, [], ""),
            ("a file that nobody reads", lambda: (folder / "unread").write_text("u"), {}, [], ""),
        ]  # fmt: skip
        contexts = {"base": f"oci-layout://{base}", "other": str(other)}
        build(folder, contexts=contexts)
        wrong: list[tuple[object, ...]] = []
        for name, change, attrs, expected, words in changes:
            change()
            found = build(folder, contexts=contexts, attrs=attrs, plan=True)
            lines = [line for one in first(store) for line in why_lines(one.diff)]
            if told(store) != expected or [line for line in lines if not line.startswith(words)]:
                wrong.append((name, told(store), lines))
            for digest, step in found["steps"].items():
                state, why = found["plan"][digest]
                if step["ran"] != bool(step["why"]) or (step["ran"] and step["cached"]):
                    wrong.append((name, step["why"], step["name"]))
                if (state, step["ran"]) in {("cached", True), ("run", False)}:
                    wrong.append((name, f"planned {state} {why}", step["name"]))
                if state == "run" and step["why"] != "input" and why != step["why"]:
                    wrong.append((name, f"planned because of {why}", step["why"]))
            served[0] = b"one"
            (other / "x").write_text("x\n")
            shutil.rmtree(folder)
            shutil.copytree(tmp_path / "original", folder, symlinks=True)
            build(folder, contexts=contexts)
        assert wrong == []
