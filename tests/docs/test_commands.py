"""Commands on the pages are run as they stand, in an empty home: with the names of hosts, paths and files that the page says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from dockc.base.record import Record
from tests.tools import need

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
#: What a line of a block begins with where the block is of commands.
PROGRAMS = {"buildctl", "cat", "code", "docker", "dockc", "editors/vscode/package.sh", "export", "ln", "mkdir", "node", "pip", "sh", "skopeo", "./run-tests"}
#: Names on the pages are these machines': each has an address of its own, so that ports are the pages' too.
HOSTS = {
    "registry.example": "127.0.0.2", "registry.example.org": "127.0.0.2", "registry-1.docker.io": "127.0.0.2", "example.com": "127.0.0.2",
    "collector.example": "127.0.0.3",
    "builder.example": "127.0.0.4", "one.example": "127.0.0.5", "two.example": "127.0.0.6", "arm.example": "127.0.0.7",
    "far.example": "127.0.0.8",
}  # fmt: skip


def commands(page: Path) -> list[str]:
    """The commands of a page's blocks, in their order; lines that a backslash joins are one."""
    found = []
    for kind, text in re.findall(r"^```(sh|console|)\n(.*?)^```", page.read_text(), re.S | re.M):
        lines = re.sub(r"\\\n\s*", "", text).splitlines()
        if kind == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        lines = [line for line in lines if line.strip()]
        usage = len(lines) == 1 and re.search(r"\[[A-Z]| [A-Z]+$", lines[0])  # `dockc lint [OPTIONS] [FILES]...`
        if kind or (all(line.split()[0] in PROGRAMS for line in lines) and not usage):
            found += lines
    return list(dict.fromkeys(found))


class Scene(Record):
    """What a page's commands find, in shell, and which of them need another.

    Attributes:
        before: run first, in the empty directory that the commands are given in.
        then: run before the commands that begin so.
        others: a part of a command, and what stands there instead.
        beside: commands that serve until they are ended, and what waits for each.
        statuses: exit statuses other than 0.
        said: for a command, what its output has in it.
        shown: commands whose output is the block below them.
        after: run last; each must hold.
    """

    before: str = ""
    then: Mapping[str, str] = {}
    others: Mapping[str, str] = {}
    beside: Mapping[str, str] = {}
    statuses: Mapping[str, int] = {}
    said: Mapping[str, str] = {}
    shown: tuple[str, ...] = ()
    after: str = ""


BASE = 'dockc base sh ls cat cp sort mkdir du touch --output "$W/base"\n'
#: `debian:12` and `registry.example/base` are of this machine's programs.
PUSHED = BASE + "".join(
    f'printf "FROM base\\n" | dockc build -q -f - --build-context base="oci-layout://$W/base" -t {name} --push . >/dev/null\n'
    for name in ("debian:12", "registry.example/base")
)
APP = PUSHED + "printf 'FROM debian:12\\nWORKDIR /v\\nCOPY words.txt /w\\nRUN cat /w; echo error >&2\\n' > Dockerfile\necho edge > words.txt\n"
REF = '"$(dockc history ls -q | head -1)"'
WORDS = """cat > Dockerfile <<'E'
# Words in order.

FROM debian:12 AS words
WORKDIR /words
COPY words.txt .
RUN sort words.txt > sorted.txt

# The image has
# the list
# alone.
FROM debian:12
COPY --from=words /words/sorted.txt /usr/share/words.txt
CMD ["cat", "/usr/share/words.txt"]
E
echo edge > words.txt; dockc build -q . >/dev/null; echo digest >> words.txt
"""
MADE = """cat > Dockerfile <<'E'
FROM debian:12 AS build
# the rest is needed
# only
# in
# this
# stage
WORKDIR /src
COPY src /src
RUN sh /src/run.sh
FROM scratch
COPY --from=build /made /made
E
mkdir src; echo edge > src/app.py; echo 'cat /src/app.py > /made' > src/run.sh; dockc build -q . >/dev/null
echo digest >> src/app.py; chmod +x src/run.sh; dockc build . 2>"$W/missed"
"""
CLI = """cat > Dockerfile <<'E'
FROM debian:12 AS test
ARG VERSION=1.1
WORKDIR /v
COPY words.txt /w
RUN --mount=type=cache,id=pip,target=/c --mount=type=cache,target=/root/.npm cat /w > /c/w; cat /w > /root/.npm/w; echo error of $VERSION

FROM test

# the
# rest
LABEL a=b
CMD ["cat", "/w"]
E
mkdir -p src out ~/.local/share/bash-completion/completions ~/.zfunc ~/.config/fish/completions
dockc build -q -t app . >/dev/null; dockc save app -o app.tar; gzip -k app.tar; dockc history export last -o build.dockerbuild
dockc build -q -t registry.example/app:1 --push . >/dev/null
for one in builder far; do served $one.example; done
beside "dockc daemon --root $W/arm --addr tcp://arm.example:1234" "listening arm.example 1234"
beside "dockc daemon --root $W/local --addr unix:///run/buildkit/buildkitd.sock" "test -S /run/buildkit/buildkitd.sock"
"""
AGAIN = "for name in app registry.example/app:1; do dockc build -q -t $name . >/dev/null; done"
SCENES = {
    "how-to/base-image.md": Scene("printf 'FROM base\\nRUN ls / > /list\\n' > Dockerfile", after="test -f base/index.json"),
    "how-to/cache-mounts.md": Scene(
        PUSHED + "printf 'FROM registry.example/base\\nRUN --mount=type=cache,id=go-build,target=/c --mount=type=cache,target=/root/.npm"
        " echo kept > /c/a; echo kept > /root/.npm/a\\n' > Dockerfile",
        statuses={"dockc cache mounts import --from": 1},
        said={"dockc cache mounts ls": "go-build", "dockc cache mounts shell go-build du -sh .": "."},
        after="test -f go.tar; test -f /mnt/mounts/index.json; ! dockc cache mounts ls | grep go-build",
    ),
    "how-to/daemon.md": Scene(
        APP,
        others={"docker buildx": "${BUILDX:-: there is none:}"},
        beside={"dockc daemon --addr unix:///run/buildkit/buildkitd.sock": "test -S /run/buildkit/buildkitd.sock"},
        after='test -s app.tar; grep -q /v1/traces "$W/collected"',
    ),
    "how-to/remote-builders.md": Scene(
        "printf 'FROM scratch\\nCOPY Dockerfile /d\\n' > Dockerfile\n"
        + "".join(f"served {name}.example\n" for name in ("builder", "one", "two", "arm")),
        said={"dockc builder ls": "farm"},
        after="test -s app.tar; on builder.example | grep -q 2; on arm.example | grep -q 1; test $(($(on one.example) + $(on two.example))) = 1",
    ),
    "how-to/explain.md": Scene(
        PUSHED + WORDS,
        then={"dockc explain --miss  ": MADE, "dockc explain Dockerfile --graph  ": WORDS},
        others={"3f2": REF},
        shown=("dockc explain Dockerfile --plan", "dockc explain --miss  "),
        after='grep -qE "^#[0-9]+ cache miss: file src/app.py: content .and 1 more.$" "$W/missed"; grep -q "<table" build.html',
    ),
    "how-to/garbage-collection.md": Scene(APP + "dockc build -q -t app . >/dev/null"),
    "how-to/history.md": Scene(
        APP + "dockc build -q -t app . >/dev/null; dockc history export last -o other.dockerbuild",
        then={"dockc history export": "dockc build -q -t app . >/dev/null"},
        others={"3f2c": REF, "3f2": REF, "open last": "open last -o opened.html"},
        after="test -s b.dockerbuild; test -s build.html",
    ),
    "how-to/coming-from-other-tools.md": Scene(
        APP,
        others={} if shutil.which("docker") else {"docker dockc": "docker-dockc dockc"},  # as docker calls it
        statuses={"docker dockc build": 1},  # no engine runs here, into which the image would go
    ),
    "how-to/lint.md": Scene("mkdir web; printf 'FROM debian\\n' | tee Dockerfile > web/Dockerfile", statuses={"dockc lint": 1, "cat Dockerfile |": 1}),
    "reference/caches.md": Scene(APP),
    "reference/history.md": Scene(APP + "dockc build -q -t app . >/dev/null", others={"3f": REF}, statuses={"dockc history logs last 7": 1}),
    "reference/images.md": Scene(APP + "dockc build -q -t app . >/dev/null"),
    "reference/cli.md": Scene(
        APP + CLI,
        then={
            "dockc builder create far": "export BUILDX_BUILDER=default",
            "dockc builder use far": "dockc builder create far tcp://far.example:1234 --tlsdir ~/certs",
            "dockc cache mounts import --from": "dockc cache mounts rm pip /root/.npm; rm -f pip2.tar",
            "dockc cache mounts import pip -i": "dockc cache mounts rm pip",
            "dockc cache mounts shell": "dockc build -q --no-cache . >/dev/null",
            **dict.fromkeys(("dockc image push", "dockc image save", "dockc image rm", "dockc image tag", "dockc run app"), AGAIN),
        },
        others={
            "3f2": REF, "open last": "open last -o opened.html", "docker save app": "dockc save app", "| docker load": "> /dev/null",
            "| dot -Tsvg": ">/dev/null", "docker login": ": docker login", "skopeo inspect --config docker://registry.example/app": "dockc compile --emit=image .",
            "linux/amd64,linux/arm64": "linux/amd64", "dockc lsp": "dockc lsp </dev/null",
        },
        beside={
            "dockc daemon --addr unix:///run/dockc.sock --root /var/lib/dockc": "test -S /run/dockc.sock",
            "dockc playground": "true",
        },
    ),
    "how-to/offline.md": Scene(
        PUSHED + "printf 'FROM base\\nRUN ls / > /list\\n' > Dockerfile", then={"dockc lock  ": "printf 'FROM debian:12\\n' > Dockerfile; echo {} > policy.json"}
    ),
}


def output(told: str, command: str) -> str:
    """What a command has written, with digests as pages have them."""
    found = told.split(f"=== {command}", 1)[1].split("\n", 1)[1].split("\n\n===", 1)[0]
    return re.sub(r"\b[0-9a-f]{64}\b", "…", found)


def block_below(page: Path, command: str) -> str:
    """The next block on a page that is of no commands."""
    blocks = re.findall(r"^```\S*\n(.*?)\n```", page.read_text().split(f"\n{command}", 1)[1].split("\n```\n", 1)[1], re.S | re.M)
    return str(blocks[0])


def script(page: str, scene: Scene) -> str:
    lines = [scene.before]
    for line in commands(DOCS / page):
        lines += [text for beginning, text in scene.then.items() if line.startswith(beginning)]
        run = line
        for part, other in scene.others.items():
            run = run.replace(part, other)
        if (wait := scene.beside.get(line)) is not None:
            lines.append(f"beside {shlex.quote(run)} {shlex.quote(wait)}")
        else:
            status = next((status for part, status in scene.statuses.items() if line.startswith(part)), 0)
            lines.append(f"said {shlex.quote(line)}; {run}\nended $? {status}")
    return "\n".join([*lines, *(f"{{ {one.strip()}; }} || {{ echo 'does not hold: '{shlex.quote(one)} >&2; exit 1; }}" for one in scene.after.split(";") if one)])


#: What runs the commands of the other pages, or why nobody does.
ELSEWHERE = {
    "how-to/editor.md": "tests/lsp",
    "how-to/playground.md": "tests/playground",
    "tutorial/first-build.md": "tests/docs/test_first_build.py",
    "tutorial/lint-in-ci.md": "tests/docs/test_lint_tutorial.py",
}


def test_commands_of_all_pages_are_run() -> None:
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if commands(page)}
    assert pages == SCENES.keys() | ELSEWHERE.keys()
    assert all((ROOT / place).exists() for place in ELSEWHERE.values())


PRELUDE = r"""
set -uo pipefail
ip link set lo up
mount --bind "$W/hosts" /etc/hosts
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /mnt
mkdir "$W/page"; cd "$W/page"
said() { echo; echo "=== $1"; echo "=== $1" >&2; }
ended() { [ "$1" = "$2" ] || { echo "status $1 and not $2" >&2; exit 1; }; }
until_true() { for _ in $(seq 600); do eval "$1" 2>/dev/null && return; sleep 0.1; done; echo "never: $1" >&2; exit 1; }
on() { DOCKC_STORE="$W/roots/$1/store" dockc history ls -q | wc -l; }
beside() { said "$1"; eval "$1 </dev/null >>$W/beside.log 2>&1 &"; until_true "$2"; }
listening() { (: </dev/tcp/$1/$2) 2>/dev/null; }
served() {
  local tls="$HOME/certs"
  dockc daemon --root "$W/roots/$1" --addr "tcp://$1:1234" --tlscert "$tls/cert.pem" --tlskey "$tls/key.pem" --tlscacert "$tls/ca.pem" \
    </dev/null >>"$W/$1.log" 2>&1 &
  until_true "listening $1 1234"
}
"$PYTHON" "$W/collector.py" "$W/collected" </dev/null >"$W/collector.log" 2>&1 &
docker-registry serve "$W/registry.yml" </dev/null >"$W/registry.log" 2>&1 &
until_true "listening registry.example 443"
"""
COLLECTOR = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[1], "a") as file:
            file.write(self.path + "\\n")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.3", 4318), Handler).serve_forever()
"""


def prepare(work: Path) -> dict[str, str]:
    """An empty home, certificates, and programs by their names; gives the environment."""
    home, programs = work / "home", work / "bin"
    for folder in (home / "certs", home / ".docker", programs):
        folder.mkdir(parents=True)
    (programs / "dockc").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dockc "$@"\n')
    (programs / "docker-dockc").write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from dockc.__main__ import plugin; plugin()" "$@"\n')
    for name in ("dockc", "docker-dockc"):
        (programs / name).chmod(0o755)
    if shutil.which("buildctl") is None:
        shutil.copy(ROOT / "examples/daemon/buildctl", programs)
    (work / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in HOSTS.items()))
    (work / "collector.py").write_text(COLLECTOR)
    certs = home / "certs"
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=certs, check=True, capture_output=True)

    (work / "extensions").write_text("subjectAltName=" + ",".join(f"DNS:{name}" for name in HOSTS))
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    openssl("req", *key, "-keyout", "key.pem", "-out", "request", "-subj", "/CN=one")
    openssl("x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "cert.pem", "-days", "2", "-extfile", f"{work}/extensions")
    (work / "registry.yml").write_text(
        f"version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {work}/registry\n"
        f"http:\n  addr: 127.0.0.2:443\n  tls:\n    certificate: {certs}/cert.pem\n    key: {certs}/key.pem\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKC_", "DOCKER_", "XDG_", "BUILDKIT", "BUILDX"))}
    return kept | {
        "W": str(work), "HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}", "PYTHON": sys.executable, "PYTHONPATH": str(ROOT),
        "BUILDX": shutil.which("buildx") or "", "SSL_CERT_FILE": f"{certs}/ca.pem", "DOCKC_STORE": f"{work}/store",
    }  # fmt: skip


@pytest.mark.root
@pytest.mark.timeout(1200)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("page", sorted(SCENES))
def test_a_page(page: str, tmp_path: Path) -> None:
    """In a network and mounts of their own, with registries, builders and a collector under the names of the page."""
    for program in ("unshare", "ip", "openssl", "docker-registry"):
        need(program)
    environment = prepare(tmp_path)
    scene = SCENES[page]
    text = PRELUDE + script(page, scene)
    argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", text]
    done = subprocess.run(argv, env=environment, text=True, errors="replace", capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=1200)
    (tmp_path / "all").write_text(done.stdout + "\n--\n" + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "does not fit" not in done.stderr
    for command, words in scene.said.items():
        assert words in output(done.stdout, command)
    for command in scene.shown:
        assert output(done.stdout, command) == block_below(DOCS / page, command)
