"""The same Dockerfiles built by dockc and by a real buildkitd: every layer's entries and the image config must be equal.

Compared are names, types, modes, owners, links, contents and extended attributes, and the config but for times. buildkitd and
buildctl are found on PATH or in `$DOCKC_BUILDKIT_BIN`.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dockc import llb
from tests.conftest import member
from tests.e2e.conftest import PYTHON_PATH, Dockc

pytestmark = pytest.mark.peer


def need(program: str) -> str:
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("DOCKC_BUILDKIT_BIN", ""), os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


@pytest.fixture(scope="module")
def buildctl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """A daemon of our own on a private socket; the command that speaks to it."""
    buildkitd, client = need("buildkitd"), need("buildctl")
    if os.geteuid() != 0:
        pytest.skip("buildkitd needs root")
    folder = tmp_path_factory.mktemp("buildkitd")
    address = f"unix://{folder}/s"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([buildkitd, "--addr", address, "--root", str(folder / "root")], stdout=log, stderr=log)
        try:
            command = [client, "--addr", address]
            deadline = time.monotonic() + 60
            while subprocess.run([*command, "debug", "workers"], capture_output=True, check=False).returncode != 0:
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.skip("buildkitd does not start here: " + (folder / "log").read_text()[-500:])
                time.sleep(0.2)
            yield command
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A web server with a file and an archive."""
    root = tmp_path_factory.mktemp("web")
    (root / "file.txt").write_bytes(b"one\n")
    (root / "a.tar.gz").write_bytes(gzip.compress(archive_bytes(), mtime=0))
    for path in root.iterdir():
        os.utime(path, (1_600_000_000, 1_600_000_000))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def archive_bytes() -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, kind, mode, data, link in [
            ("in", tarfile.DIRTYPE, 0o750, b"", ""),
            ("in/file", tarfile.REGTYPE, 0o640, b"data", ""),
            ("in/hard", tarfile.LNKTYPE, 0o640, b"", "in/file"),
            ("in/soft", tarfile.SYMTYPE, 0o777, b"", "../in/file"),
            ("set", tarfile.REGTYPE, 0o4755, b"x", ""),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.linkname, info.size, info.uid, info.gid, info.mtime = kind, mode, link, len(data), 7, 8, 1_500_000_000
            archive.addfile(info, io.BytesIO(data))
    return raw.getvalue()


CASES = {
    "copy": """
        FROM base
        COPY one.txt two.txt /d/
        COPY one.txt /e
        COPY sub /sub
        COPY sub/ /sub2/
        COPY su* /glob/
        COPY --chmod=600 one.txt /m600
        COPY --chmod=4755 one.txt /m4755
        COPY --chmod=u+x,go-r one.txt /msym
        COPY --chmod=750 sub /m750
        COPY --chown=5:6 sub /owned
        COPY --chown=5 one.txt /owned1
        COPY --chown=root:root one.txt /named
        COPY link /resolved
        COPY links /links
        COPY . /all
    """,
    "names-that-are-no-utf-8": """
        FROM base
        COPY odd*.bin lnk? /glob/
        COPY o?d/ /folder/
        COPY --parents o?d/*in? /p/
        COPY --exclude=*out o?d /most
        RUN : > "$(printf '/made\\377')" && rm /glob/odd*
        COPY --link . /all/
    """,
    "copy-onto": """
        FROM base
        RUN mkdir -p /a/b && chmod 700 /a && ln -s /a /la && echo old > /a/one.txt && ln -s ../e /a/dangling
        COPY one.txt /la/x/
        COPY one.txt /la/
        COPY sub /a
        COPY sub /a/b/
        COPY --link one.txt /la/linked
        COPY one.txt /a/dangling
    """,
    "link-parents-exclude": """
        FROM scratch
        COPY --link one.txt /x/y/
        COPY --link --chown=3:4 --chmod=700 sub /s
        COPY --parents sub/deep/./er/f.md one.txt /p/
        COPY --parents **/*.md /pm/
        COPY --exclude=*.md sub /no-md
        COPY --exclude=**/*.md --exclude=one* . /no-deep-md
        COPY --parents --exclude=sub/b.md sub/*.md /px/
    """,
    "from-stage": """
        FROM base AS s
        RUN mkdir -p /o/p && echo a > /o/a && ln /o/a /o/hard && ln -s a /o/soft && chmod 2755 /o/p && chmod 1777 /o && chown 9:10 /o/a
        FROM base
        COPY --from=s /o /o1
        COPY --from=s /o/ /o2/
        COPY --from=s /o/* /o3/
        COPY --from=s --chown=1:1 /o /o4
        COPY --from=s /o/soft /o5
        COPY --from=0 /o/a /o/p /o6/
    """,
    "add": """
        FROM base
        ADD a.tar /t1
        ADD a.tar.gz /t2/
        ADD --chown=5:6 a.tar /t3
        ADD --chmod=777 a.tar /t4
        ADD --unpack=false a.tar /t5/
        ADD one.txt a.tar /t6/
        ADD not.tar /t7
    """,
    "add-url": """
        FROM base
        ADD WEB/file.txt /u1
        ADD WEB/file.txt /u2/
        ADD --chmod=755 --chown=4:5 WEB/file.txt /u3
        ADD --checksum=sha256:2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806 WEB/file.txt /u4
        ADD WEB/a.tar.gz /u5/
        ADD --unpack WEB/a.tar.gz /u6/
    """,
    "heredoc": """
        FROM base
        ARG who=me
        COPY <<one <<"two" /h/
        hello ${who}
        one
        hello ${who}
        two
        COPY --chmod=755 --chown=2:3 <<-EOF /script
        TABtabs
        EOF
        RUN <<EOF
        mkdir /made
        echo $who > /made/who
        EOF
        RUN <<EOF sh -e
        echo x > /made/x
        EOF
        RUN cat <<a > /made/two && cat <<b >> /made/two
        1
        a
        2
        b
    """,
    "run": """
        FROM base
        RUN mkdir -p /d/e && echo 1 > /d/f && echo 2 > /d/e/g && echo 3 > /h && ln /h /hard && ln -s /h /soft
        RUN rm /d/f && rm -r /d/e && mkdir /d/e && echo new > /d/e/n
        RUN chmod 4711 /h && chown 12:13 /d && touch /empty && mkfifo /fifo && chmod 1777 /d/e
        RUN rm -r /d && echo file > /d
        RUN rm /hard && mkdir /hard
        RUN rm /soft && echo gone
        RUN true
    """,
    "mounts": """
        FROM base AS tools
        RUN mkdir /t && echo tool > /t/f
        FROM base
        RUN --mount=type=bind,from=tools,source=/t,target=/t cat /t/f > /got
        RUN --mount=type=bind,target=/ctx cat /ctx/one.txt > /got2
        RUN --mount=type=bind,target=/rwctx,rw echo x > /rwctx/new && cat /rwctx/new > /got3
        RUN --mount=type=cache,target=/c/d echo x > /c/d/x
        RUN --mount=type=tmpfs,target=/tm,size=1m echo x > /tm/x && ls /tm > /got4
        RUN --mount=type=cache,target=/c2,mode=0700,uid=3,gid=4 stat -c '%a %u %g' /c2 > /got5
        RUN --mount=type=bind,from=tools,source=/t/f,target=/deep/new/file cat /deep/new/file > /got6
    """,
    "config": """
        FROM base
        ENV A=1 B="two words"
        LABEL a=b "c d"="e f"
        EXPOSE 80/tcp 90-92/udp
        VOLUME /v1 /v2
        USER 7:8
        WORKDIR /w/x
        WORKDIR y
        STOPSIGNAL SIGKILL
        HEALTHCHECK --interval=5s --timeout=1s --start-period=2s --start-interval=1s --retries=3 CMD ["true"]
        SHELL ["/bin/sh", "-ec"]
        ONBUILD RUN echo onbuild
        ENTRYPOINT ["/e"]
        CMD a b
        MAINTAINER someone
        RUN id -u > /tmp/u 2>/dev/null || true
    """,
    "workdir-user": """
        FROM base
        USER 100:200
        WORKDIR /made/by/workdir
        COPY one.txt .
        COPY --chown=100:200 one.txt two
        USER 0
        RUN echo hi > here
        WORKDIR rel
        RUN echo hi > there
    """,
    "dockerignore": """
        FROM scratch
        COPY . /
    """,
    "env-seen-by-run": """
        FROM base
        ARG V=1
        ENV W=$V-2
        RUN for v in $(env | sort); do case $v in OTEL*|TRACE*) ;; *) echo $v ;; esac; done > /env
        RUN --network=none echo "$V $W" > /vw
        RUN cat /etc/hosts > /hosts; ls -l /etc/resolv.conf > /dev/null; cat /proc/1/comm > /comm || true
        RUN ls / > /ls && (cd /dev && for d in *; do case $d in otel*) ;; *) echo $d ;; esac; done) > /lsdev && id > /id
        RUN stat -c '%a %u %g %F %n' / /dev /proc /sys /tmp /dev/null /dev/shm /dev/pts /etc/hosts /etc/resolv.conf > /stat || true
    """,
    "copy-corners": """
        FROM base
        COPY sub/. /dot/
        COPY ./ ./rel/
        COPY ["sp ace", "/json dir/"]
        COPY empty /e/
        COPY empty /e2
        COPY sub/*.txt sub/deep/* /w/
        COPY s?b/[a-b].* /q/
        COPY one.txt /etc/passwd2
        COPY --chmod=0705 links /links
        COPY --chmod=g+w,o= sub /sym
        COPY --chown=3:4 --chmod=2775 empty /owned/empty
        COPY hard1 hard2 /hard/
        COPY big /big
        COPY mode444 mode000 /modes/
    """,
    "layers-replace": """
        FROM base
        RUN mkdir -p /a/b/c /k/l && echo 1 > /a/b/f && echo 2 > /a/g && chown 3:4 /a/g && ln -s /a/b /sl
        RUN rm -r /a/b && ln -s /k /a/b
        RUN rm /a/b && mkdir -p /a/b/d
        RUN chmod 600 /a/g
        RUN touch /a/g
        RUN mkdir /a/tmp && rm -r /a/tmp
        RUN echo x >> /sl/new
        COPY one.txt /sl/copied
        RUN rm -r /a && mkdir /a && echo again > /a/g
        COPY sub /a/g2/
    """,
    "layers-corners": """
        FROM base
        RUN mkdir -p /o/k/m /o/z && touch /o/k/m/1 /o/k/2 /o/3 && ln /o/3 /o/33 && chmod 1777 /o/z
        RUN ln /o/3 /other && ln /o/3 /o/z/in
        RUN rm -r /o/k && mkdir -p /o/k/m && touch /o/k/m/new
        RUN rm -r /o && mkdir /o && touch /o/other && ln /o/other /o/another
        RUN mkdir /o/tmp && rm -r /o/tmp
        RUN rm -r /o && mkdir -p /o/k/m && touch /o/k/m/1 && ln -s x /o/33
        RUN cp /bin/cat /o/cat && ln /o/cat /o/dog && rm /o/cat
        COPY --parents **/*.md /o/
        COPY --parents --exclude=**/er sub/./deep sub /o/p/
    """,
    "users": """
        FROM base
        RUN echo 'app:x:1234:1235::/home/app:/bin/sh' >> /etc/passwd && echo 'grp:x:1235:' >> /etc/group && echo 'extra:x:77:app' >> /etc/group
        COPY --chown=app one.txt /c1
        COPY --chown=app:extra one.txt /c2
        COPY --chown=9:grp one.txt /c3
        ADD --chown=:grp one.txt /c4
        USER app
        WORKDIR /home/app/work
        RUN id > who && umask > mask && echo $HOME > home && touch f
        USER app:extra
        RUN id > who2
        USER 1234
        RUN id > who3
        USER :77
        RUN id > /tmp/who4
    """,
    "shell-and-env": """
        FROM base
        SHELL ["/bin/sh", "-exc"]
        ENV PATH=/bin:/usr/bin X="a b" Y=$X
        RUN echo "$Y" > /y
        RUN ["sh", "-c", "echo exec $X > /exec"]
        ARG HTTP_PROXY=http://localhost:1
        RUN echo "$HTTP_PROXY" > /proxy
        RUN pwd > /pwd; echo $0 > /zero; cat /proc/self/status > /dev/null
        WORKDIR /x$X
        RUN pwd > here; ls -ld . > /dev/null
        RUN grep -c . /proc/self/mounts > /dev/null 2>&1 || true; cat /proc/self/status | while read k v; do case $k in Cap*|Seccomp:|NoNewPrivs:) echo $k $v ;; esac; done > /caps
        RUN ulimit -n > /dev/null; cat /proc/sys/kernel/hostname > /host; cat /etc/hostname > /hn 2>/dev/null || true
    """,
    "multi-from-merge": """
        FROM base AS a
        RUN echo a > /a
        FROM base AS b
        COPY --link --from=a /a /x/a
        COPY --link <<EOF /x/b
        b
        EOF
        RUN echo c > /x/c
        COPY --link one.txt /x/d
    """,
}


def make_context(folder: Path, dockerfile: str) -> None:
    """Files of all kinds with fixed modes."""
    files = {
        "one.txt": "one\n", "two.txt": "two\n", "sub/a.txt": "a", "sub/b.md": "b", "sub/deep/c.txt": "c", "sub/deep/er/f.md": "f",
        "links/target": "t", "not.tar": "no archive", ".hidden": "h", "ignored/x": "x", "ignored/keep": "k", "log.tmp": "l", "Dockerfile": dockerfile,
    }  # fmt: skip
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    (folder / "sub" / "a.txt").chmod(0o755)
    (folder / "empty").mkdir()
    (folder / "sp ace").write_text("s")
    (folder / "hard1").write_text("hard")
    (folder / "hard2").hardlink_to(folder / "hard1")
    (folder / "big").write_bytes(bytes(range(256)) * 20_000)
    for mode in ("444", "000"):
        (folder / f"mode{mode}").write_text(mode)
        (folder / f"mode{mode}").chmod(int(mode, 8))
    (folder / "sub" / "deep").chmod(0o700)
    for raw in (b"odd\xe9.bin", b"o\xffd/in\xfe", b"o\xffd/left\xf0out"):
        path = folder / os.fsdecode(raw)
        path.parent.mkdir(exist_ok=True)
        path.write_text("odd")
    (folder / os.fsdecode(b"lnk\xfd")).symlink_to(os.fsdecode(b"odd\xe9.bin"))
    (folder / "link").symlink_to("one.txt")
    (folder / "links" / "rel").symlink_to("target")
    (folder / "links" / "abs").symlink_to("/one.txt")
    (folder / "links" / "dir").symlink_to("../sub")
    (folder / "a.tar").write_bytes(archive_bytes())
    (folder / "a.tar.gz").write_bytes(gzip.compress(archive_bytes(), mtime=0))


def entries(layer: bytes) -> dict[str, tuple[object, ...]]:
    """What a layer says of each path, times aside."""
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:*") as archive:
        for info in archive:
            data = member(archive, info) if info.isreg() else b""
            xattrs = {key: value for key, value in info.pax_headers.items() if "xattr" in key.lower()}
            content = hashlib.sha256(data).hexdigest()[:12] if len(data) > 400 else data
            found[info.name.strip("/")] = (info.type, oct(info.mode), info.uid, info.gid, info.linkname, content, str(xattrs))
    return found


def image(archive: Path) -> tuple[dict[str, Any], list[dict[str, tuple[object, ...]]]]:
    """Config and layers of an OCI archive."""
    with tarfile.open(archive) as opened:

        def blob(digest: str) -> bytes:
            return member(opened, "blobs/" + digest.replace(":", "/"))

        manifest = json.loads(blob(json.loads(member(opened, "index.json"))["manifests"][0]["digest"]))
        while "manifests" in manifest:
            manifest = json.loads(blob(manifest["manifests"][0]["digest"]))
        config = json.loads(blob(manifest["config"]["digest"]))
        return config, [entries(blob(layer["digest"])) for layer in manifest["layers"]]


def timeless(config: dict[str, Any]) -> dict[str, Any]:
    config = json.loads(json.dumps(config))
    config.pop("created", None)
    for entry in config.get("history", ()):
        entry.pop("created", None)
    config["rootfs"]["diff_ids"] = len(config["rootfs"]["diff_ids"])
    return config


def dedent(text: str) -> str:
    lines = text.strip("\n").split("\n")
    return "".join(line.removeprefix("        ") + "\n" for line in lines).rstrip(" ")


@pytest.mark.parametrize("name", CASES)
def test_the_same_image(root: Dockc, base: Path, with_base: tuple[str, str], buildctl: list[str], web: str, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "context"
    folder.mkdir()
    make_context(folder, dedent(CASES[name]).replace("WEB", web).replace("TAB", "\t"))
    if name == "dockerignore":
        (folder / ".dockerignore").write_text("# comment\nignored\n!ignored/keep\n*.tmp\n**/*.md\nDockerfile\n/link?\n.dockerignore\n")
    ours, theirs = tmp_path / "ours.tar", tmp_path / "theirs.tar"
    root.build(folder, *with_base, "-o", f"type=oci,dest={ours}")
    digest = json.loads((base / "index.json").read_text())["manifests"][0]["digest"]
    subprocess.run(
        [
            *buildctl, "build", "--frontend=dockerfile.v0", "--local", f"context={folder}", "--local", f"dockerfile={folder}",
            "--oci-layout", f"base={base}", "--opt", f"context:base=oci-layout://base@{digest}", "--output", f"type=oci,dest={theirs}",
        ],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    (our_config, our_layers), (their_config, their_layers) = image(ours), image(theirs)
    assert timeless(our_config) == timeless(their_config)
    assert len(our_layers) == len(their_layers)
    for number, (mine, wanted) in enumerate(zip(our_layers, their_layers, strict=True)):
        assert list(mine) == list(wanted), f"names and order of layer {number}, ours and theirs"
        differing = {path: (mine.get(path), wanted.get(path)) for path in {*mine, *wanted} if mine.get(path) != wanted.get(path)}
        assert not differing, f"layer {number}, ours and theirs"


DIFFERENCES = {
    "touched": "touch /d && : >> /d/f",
    "made and removed": "mkdir /d/x && rm -r /d/x && chmod 700 /d",
    "changed below": "echo n > /d/e/n",
    "removed below": "rm /d/e/g",
    "replaced": "rm -r /o && mkdir -p /o/p && echo new > /o/p/new",
    "of another type": "rm /d/f && mkdir /d/f && touch /d/f/z",
    "a further name": "ln /d/f /d/hard",
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """dockc's daemon, as `buildctl` reaches it."""
    client, folder = need("buildctl"), tmp_path_factory.mktemp("dockcd")
    address = f"unix://{folder}/s"
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "dockc", "daemon", "--addr", address, "--root", str(folder / "root")]
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": PYTHON_PATH})
        try:
            deadline = time.monotonic() + 60
            while subprocess.run([client, "--addr", address, "debug", "workers"], capture_output=True, check=False).returncode != 0:
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-500:]
                time.sleep(0.2)
            yield [client, "--addr", address]
        finally:
            process.terminate()
            process.wait(60)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_same_difference(base: Path, buildctl: list[str], daemon: list[str], name: str) -> None:
    digest = json.loads((base / "index.json").read_text())["manifests"][0]["digest"]
    image_ = llb.oci_layout(f"base/x@{digest}", store="base")
    setup = "mkdir -p /d/e /o/p && echo 1 > /d/f && echo 2 > /o/p/q && echo 3 > /d/e/g && chmod 700 /d"
    before = image_.run(setup, shell=True)
    difference = llb.diff(before, before.run(DIFFERENCES[name], shell=True))
    other = llb.scratch().file(llb.mkdir("/d", 0o750), llb.mkfile("/d/own", "x"), llb.mkdir("/o", 0o711), llb.mkfile("/o/own", "y", 0o600))

    def tree(command: list[str], state: llb.State) -> dict[str, tuple[object, ...]]:
        argv = [*command, "build", "--oci-layout", f"base={base}", "--output", "type=tar"]
        return entries(subprocess.run(argv, input=state.marshal(platform="linux/amd64").to_bytes(), capture_output=True, check=True).stdout)

    for state in (difference, llb.merge(other, difference), llb.diff(image_.run("echo o > /z", shell=True), before)):
        assert tree(daemon, state) == tree(buildctl, state)


def test_a_lock_files_policy_is_one_to_buildkit(root: Dockc, buildctl: list[str], tmp_path: Path) -> None:
    from dockc.compiler.questions import Answers, ImageAnswer
    from dockc.engine.lock import source_policy

    pinned = "sha256:" + "1" * 64
    answers = Answers(images={("localhost:1/x:1", "linux/amd64", ""): ImageAnswer("localhost:1/x:1", pinned, b"{}")})
    (tmp_path / "policy.json").write_text(json.dumps(source_policy(answers)))
    (tmp_path / "Dockerfile").write_text("FROM localhost:1/x:1\n")
    command = ["build", "--frontend=dockerfile.v0", "--local", f"context={tmp_path}", "--local", f"dockerfile={tmp_path}"]
    refused = subprocess.run(
        [*buildctl, *command, "--source-policy-file", str(tmp_path / "policy.json")], capture_output=True, text=True, check=False, timeout=60
    )
    assert f"localhost:1/v2/x/manifests/{pinned}" in refused.stderr, "the daemon asks for the digest that the policy names"
