"""`--offline` after a build online: nobody is asked, and nothing is different."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Dockc, MakeContext


class Web:
    """A web server over a folder that notes what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        asked = self.asked

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

            def end_headers(self) -> None:
                if self.path.endswith("/named"):
                    self.send_header("Content-Disposition", 'attachment; filename="real.txt"')
                super().end_headers()

            def log_message(self, *args: object) -> None:
                asked.append(self.path)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder, work = tmp_path / "web", tmp_path / "work"
    folder.mkdir()
    (folder / "file.txt").write_text("file\n")
    (folder / "named").write_text("named\n")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(work))
    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    (work / "Dockerfile").write_text("FROM scratch\nCOPY f /f\n")
    (work / "f").write_text("one")
    for command in (["add", "."], ["commit", "-qm", "1"], ["tag", "light"], ["tag", "-am", "x", "heavy"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(folder / "r.git")], check=True, capture_output=True)
    subprocess.run(["git", "-C", str(folder / "r.git"), "update-server-info"], check=True)
    subprocess.run(["tar", "-C", str(work), "-cf", str(folder / "c.tar"), "Dockerfile", "f"], check=True)
    (folder / "far.Dockerfile").write_text("FROM scratch\nCOPY f /far\n")
    made = Web(folder)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_what_was_asked_for_once_needs_no_asking(root: Dockc, context: MakeContext, web: Web, tmp_path: Path) -> None:
    repo = f"{web.url}/r.git"
    adds = "".join(f"ADD {what} /{number}/\n" for number, what in enumerate((f"{web.url}/file.txt", f"{web.url}/named")))
    gits = "".join(f"ADD {repo}{ref} /g{number}/\n" for number, ref in enumerate(("", "#main", "#light", "#heavy")))
    here = context(f"FROM scratch\n{adds}{gits}COPY --from=n f /n\n", f="x")
    builds: dict[str, tuple[object, ...]] = {
        "all": (here, "--build-context", f"n={repo}#heavy"),
        "git": (f"{repo}#main", "--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"),
        "default": (repo,),
        "tar": (f"{web.url}/c.tar",),
        "file": (here, "-f", f"{web.url}/far.Dockerfile"),
    }

    def image(name: str, *more: str) -> str:
        first, *rest = builds[name]
        done = root.run("build", str(first), *rest, *more, "-q", "--provenance=false")
        assert done.stdout.startswith("sha256:"), done
        return done.stdout

    online = {name: image(name, "--build-arg", "SOURCE_DATE_EPOCH=0") for name in builds}
    web.asked.clear()
    offline = {name: image(name, "--build-arg", "SOURCE_DATE_EPOCH=0", "--offline") for name in builds}
    assert offline == online
    assert web.asked == []
    # A branch that has moved is what it was, until somebody asks.
    subprocess.run(["git", "-C", str(web.folder / "r.git"), "update-ref", "-d", "refs/tags/light"], check=True)
    subprocess.run(["git", "-C", str(web.folder / "r.git"), "update-server-info"], check=True)
    assert image("all", "--build-arg", "SOURCE_DATE_EPOCH=0", "--offline") == online["all"]
    assert "ref light" in root.build(here, "--build-context", f"n={repo}#heavy", status=1)
    # What was never asked is an error that says so, and not one of git's.
    for text in (f"ADD {repo}#other /", f"ADD {web.url}/c.tar /"):
        said = root.build(context(f"FROM scratch\n{text}\n"), "--offline", status=1)
        assert "not asked, because of --offline" in said and "help: Ask online" in said


def test_an_address_is_said_once(root: Dockc, web: Web) -> None:
    said = root.build(f"{web.url}/none.tar", status=1)
    assert f"error: failed to solve: {web.url}/none.tar: invalid response status 404\n" in said
    assert "HttpRequest" not in said
