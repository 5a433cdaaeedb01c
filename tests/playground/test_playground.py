"""The playground: its build, its server, and its page in a real browser (playground/test has what is asked of the page)."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockc.commands.serve import folder_of
from dockc.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "playground"
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server of a small folder."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text("<p>page")
    (folder / "app.js").write_text("1")
    (folder / "python.zip.gz").write_bytes(b"\x1f\x8b")
    (folder / "outside").symlink_to("/etc/passwd")
    (folder / "sub").mkdir()
    (tmp_path / "secret").write_text("no")
    process = start("--folder", folder)
    yield address(process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (130, "")


def start(*args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dockc", "playground", "--port=0", *map(str, args)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+/", line)
    assert found is not None, line
    return found[0]


def test_files_are_served_with_the_policy(served: str) -> None:
    for name, kind in [("", "text/html"), ("app.js", "text/javascript"), ("app.js?x=1", "text/javascript"), ("python.zip.gz", "application/octet-stream")]:
        with urllib.request.urlopen(served + name) as answer:
            assert answer.headers["Content-Type"].partition(";")[0] == kind
            assert "Content-Encoding" not in answer.headers
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self' 'wasm-unsafe-eval'")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["none.js", "sub", "sub/", "outside", "../secret", "%2e%2e%2fsecret", "..%5csecret", ".git", "a%00b", "%ff", "/etc/passwd"])
def test_nothing_else_is_served(served: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404") as refused:
        urllib.request.urlopen(served + path)
    refused.value.close()


def test_what_a_browser_has_it_need_not_fetch_again(served: str) -> None:
    with urllib.request.urlopen(served + "app.js") as answer:
        tag = answer.headers["ETag"]
    asked = urllib.request.Request(served + "app.js", headers={"If-None-Match": tag})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(asked)
    with caught.value as told:
        assert (told.code, told.read()) == (304, b"")
        assert told.headers["Content-Security-Policy"]
    with urllib.request.urlopen(urllib.request.Request(served + "app.js", headers={"If-None-Match": '"other"'})) as answer:
        assert answer.read() == b"1"



def test_only_reading_is_answered(served: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="501") as refused:
        urllib.request.urlopen(urllib.request.Request(served, method="PUT", data=b"x"))
    refused.value.close()


def test_browsers_that_go_away_leave_no_trace(served: str) -> None:
    port = int(served.rsplit(":", 1)[1].strip("/"))
    for sent in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 70000):
        with socket.create_connection(("127.0.0.1", port)) as one:
            one.sendall(sent)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    with urllib.request.urlopen(served) as answer:
        assert answer.read() == b"<p>page"


def test_a_port_that_is_taken_is_said(served: str) -> None:
    port = served.rsplit(":", 1)[1].strip("/")
    done = subprocess.run([sys.executable, "-m", "dockc", "playground", f"--port={port}", "--folder", str(HERE / "src")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr


def test_a_folder_without_a_playground_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no playground in"):
        folder_of(str(tmp_path))


def test_page_and_server_have_one_policy() -> None:
    from dockc.commands.serve import POLICY

    written = re.search(r'Content-Security-Policy" content="(.*?)"', (HERE / "src/index.html").read_text())
    assert written is not None
    assert written[1] + "; frame-ancestors 'none'" == POLICY  # which a page cannot say of itself


PANES = """
import json, sys
sys.path.insert(0, sys.argv[1])
import playground_answers as answers
for pane in ("formatted", "graph", "explain", "ir", "llb", "image"):
    asked = {"id": 1, "text": "FROM a AS b\\nRUN c\\nFROM d\\nCOPY --from=b / /\\n", "line": 2, "pane": pane}
    reply = json.loads(answers.answer(json.dumps(asked)))
    assert reply["error"] is None and reply["pane"], (pane, reply)
answers.fix(json.dumps({"id": 1, "text": "from a\\n"}))
print(*sorted({name.split(".")[1] for name in sys.modules if name.startswith("dockc.")}))
"""


def test_answers_load_only_what_the_page_has(tmp_path: Path) -> None:
    (tmp_path / "playground_answers.py").write_bytes((HERE / "src" / "answers.py").read_bytes())
    done = subprocess.run([sys.executable, "-c", PANES, str(tmp_path)], cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    left_out = re.search(r"LEFT_OUT = new Set\(\[(.*?)\]", (HERE / "build.mjs").read_text())
    assert left_out is not None
    assert set(done.stdout.split()) & set(re.findall(r'"(\w+)"', left_out[1])) == set()


@pytest.fixture(scope="module")
def built() -> Path:
    """The built playground."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on this machine")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < 20:
        pytest.skip(f"Node {version} is older than the 20 that builds the playground; .ci/run brings a newer one by npm")
    done = subprocess.run(["node", str(HERE / "build.mjs")], capture_output=True, text=True, check=False, timeout=600)
    if "npm install ended" in done.stderr:
        pytest.skip("npm cannot install what the playground is made of: " + done.stderr[-300:])
    assert done.returncode == 0, done.stdout + done.stderr
    return HERE / "dist"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_in_a_browser(built: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    assert sum(file.stat().st_size for file in built.iterdir() if file.name != "licences.txt") <= 8_000_000
    environment = os.environ | {"CHROMIUM": CHROMIUM, "DOCKC": json.dumps([sys.executable, "-m", "dockc"]), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["node", "--test", "test/"], cwd=HERE, env=environment, capture_output=True, text=True, check=False, timeout=840)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert re.search(r"^# pass (1[5-9]|[2-9]\d)$", done.stdout, flags=re.M)


@pytest.mark.slow
def test_nothing_of_a_registry_is_recorded(built: Path) -> None:
    assert not (HERE / "package-lock.json").exists()
    ignored = subprocess.run(["git", "check-ignore", "playground/dist", "playground/node_modules"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout.split() == ["playground/dist", "playground/node_modules"]
    licences = (built / "licences.txt").read_text()
    for name in ("pyodide", "@codemirror/state", "@lezer/highlight"):
        assert f"\n{name} " in licences
