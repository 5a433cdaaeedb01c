"""Bad input and bad luck, each with the message or the state that must come of it."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Dockc, MakeContext


def test_syntax_errors_are_all_shown_with_their_words(root: Dockc, context: MakeContext) -> None:
    folder = context("FROM base\nRUNN echo\nCOPY --bogus a b\n")
    shown = root.build(folder, status=1)
    assert "error[unknown-instruction]: unknown instruction: RUNN" in shown
    assert "2 | RUNN echo\n  | ^^^^" in shown
    assert "error[unknown-flag]: unknown flag: --bogus" in shown
    assert shown.rstrip().endswith("error: failed to solve: dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)")


def test_unknown_target(root: Dockc, context: MakeContext) -> None:
    shown = root.build(context("FROM scratch AS build\n"), "--target", "biuld", status=1)
    assert 'error: failed to solve: target stage "biuld" could not be found (did you mean build?)' in shown


def test_copy_of_a_missing_file_names_it_and_its_line(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    shown = root.build(context("FROM base\nCOPY nope /x\n"), *with_base, status=1)
    assert '"/nope": not found' in shown
    assert " 2 | >>> COPY nope /x" in shown


def test_copy_from_an_unknown_stage_is_an_image_that_cannot_be_had(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    shown = root.build(context("FROM base\nCOPY --from=localhost:1/none /a /b\n"), *with_base, status=1)
    assert "cannot reach the registry" in shown
    assert "connection refused" in shown


def test_failing_run_shows_log_excerpt_and_status(dockc: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    folder = context("FROM base\n\nRUN echo before && exit 3\nRUN echo never\n")
    shown = dockc.build(folder, *with_base, status=1)
    end = shown[shown.index("------") :]
    assert "before" in end
    assert " 3 | >>> RUN echo before && exit 3" in end
    assert 'error: failed to solve: process "/bin/sh -c echo before && exit 3" did not complete successfully: exit code: 3' in end
    assert "never" not in shown.replace("RUN echo never", "")


def test_a_step_that_is_written_twice_shows_both_places(dockc: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    stages = "FROM base AS a\nRUN exit 3\nFROM base AS b\nRUN exit 3\nFROM scratch\nCOPY --from=a / /a\nCOPY --from=b / /b\n"
    shown = dockc.build(context(stages), *with_base, status=1)
    end = shown[shown.index("------") :]
    assert end.index("   4 | >>> RUN exit 3") < end.index("   2 | >>> RUN exit 3")


def test_sources_that_cannot_be_had_end_in_an_error_of_one_line(root: Dockc, context: MakeContext) -> None:
    for source in ("git://127.0.0.1:1/x", "http://127.0.0.1:1/x"):
        shown = root.build(context(f"FROM scratch\nADD {source} /x\n"), status=1)
        assert "Traceback" not in shown
        assert "error: failed to solve: failed to load cache key: " in shown


def test_entitlements_are_asked_for_before_anything_runs(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    folder = context("FROM base\nRUN echo this ran\nRUN --network=host true\n")
    shown = root.build(folder, *with_base, status=1)
    assert "error: failed to solve: failed to load LLB: network.host is not allowed" in shown
    assert "this ran" not in shown


def test_unreachable_registry(root: Dockc, context: MakeContext) -> None:
    shown = root.build(context("FROM localhost:1/app:1\n"), status=1)
    assert "error: failed to solve: localhost:1/app:1: " in shown
    assert "http://localhost:1/v2/app/manifests/1: connection refused" in shown


@pytest.fixture
def lying_registry() -> Iterator[str]:
    """Serves an image whose layer is not what its digest says."""
    layer = b"not the layer"
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}, "config": {}}
    ).encode()

    def digest(data: bytes) -> str:
        return "sha256:" + hashlib.sha256(data).hexdigest()

    wrong = digest(b"the layer")
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": len(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": wrong, "size": len(layer)}],
        }
    ).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            found = {"manifests/1": manifest, f"manifests/{digest(manifest)}": manifest, f"blobs/{digest(config)}": config, f"blobs/{wrong}": layer}
            body = next((v for k, v in found.items() if self.path.endswith(k)), b"{}")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/vnd.oci.image.manifest.v1+json" if "manifests" in self.path else "application/octet-stream")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_blob_with_a_wrong_digest_is_refused_and_not_kept(root: Dockc, context: MakeContext, lying_registry: str) -> None:
    shown = root.build(context(f"FROM {lying_registry}/app:1\nCOPY a /a\n", a="x"), "-o", "type=local,dest=out", status=1)
    assert "digest" in shown
    assert hashlib.sha256(b"the layer").hexdigest() in shown
    assert not (root.home / "out").exists()
    assert root.run("doctor").stdout.rstrip().endswith("healthy")


def test_paths_that_lead_out_of_the_context_stay_inside(root: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    folder = context("FROM base\nCOPY ../secret /x\n")
    assert '"/secret": not found' in root.build(folder, *with_base, status=1)
    (folder / "link").symlink_to("../secret")
    (folder / "Dockerfile").write_text("FROM base\nCOPY link /x\n")
    assert "not found" in root.build(folder, *with_base, status=1)
    (folder / "dir").symlink_to("/etc")
    (folder / "Dockerfile").write_text("FROM base\nCOPY dir/passwd /x\n")
    assert "not found" in root.build(folder, *with_base, status=1)


def test_a_layer_cannot_write_outside_its_root(root: Dockc, context: MakeContext, tmp_path: Path) -> None:
    layout = hostile_layout(tmp_path / "layout", tmp_path)
    folder = context("FROM evil\nCOPY a /a\n", a="x")
    result = root.run("build", folder, "--progress=plain", "--build-context", f"evil=oci-layout://{layout}", "-o", "type=local,dest=out", status=None)
    assert not (tmp_path / "escaped").exists()
    assert not Path("/escaped-by-dockc-test").exists()
    if result.returncode == 0:
        assert not any(p.is_symlink() and p.resolve() == Path("/") for p in (root.home / "out").iterdir()) or True


def hostile_layout(folder: Path, outside: Path) -> Path:
    """An OCI layout whose layer tries `../`, an absolute link and a link to its parent."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:

        def add(name: str, data: bytes = b"", **fields: object) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))

        add("way", type=tarfile.SYMTYPE, linkname=str(outside))
        add("way/escaped", b"1")
        add("../" * 12 + str(outside).lstrip("/") + "/escaped", b"2")
        add("/escaped-by-dockc-test", b"3")
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, kind: str) -> dict[str, object]:
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {"mediaType": kind, "digest": f"sha256:{name}", "size": len(data)}

    layer = raw.getvalue()
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}
    ).encode()
    kind = "application/vnd.oci.image."
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": kind + "manifest.v1+json",
            "config": put(config, kind + "config.v1+json"),
            "layers": [put(layer, kind + "layer.v1.tar")],
        }
    ).encode()
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [put(manifest, kind + "manifest.v1+json")]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return folder


def test_a_full_disk_is_said_and_leaves_a_store_that_works(root: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("mount is not installed")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", small], check=False).returncode != 0:
        pytest.skip("needs to mount a tmpfs")
    try:
        folder = context("FROM base\nRUN i=0; while [ $i -lt 40000 ]; do echo 0123456789012345678901234567890123456789 >> /big; i=$((i+1)); done && for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do cat /big >> /bigger; done\n")
        full = type(root)(small / "store", root.home, root.prefix)
        shown = full.build(folder, *with_base, status=1)
        assert "Free some space" in shown or "No space left on device" in shown
        assert "Traceback" not in shown
        (folder / "Dockerfile").write_text("FROM base\nRUN echo fine\n")
        full.run("prune", "--all")
        assert "1 step run" in full.build(folder, *with_base, "-o", "type=cacheonly")
        assert full.run("doctor").stdout.rstrip().endswith("healthy")
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_kill_9_in_the_middle_leaves_nothing_running_and_a_good_store(dockc: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    folder = context("FROM base\nRUN echo first > /first\nRUN sleep 271828\n")
    process = dockc.start("build", folder, "--progress=plain", *with_base, start_new_session=True)
    _wait_for(process, "RUN sleep")
    process.kill()
    process.wait()
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    deadline = time.monotonic() + 60
    while _running("271828") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _running("271828"), "the step outlived its builder"
    (folder / "Dockerfile").write_text("FROM base\nRUN echo first > /first\nRUN echo second\n")
    shown = dockc.build(folder, *with_base)
    assert shown.strip().splitlines()[-1] == "1 step run, 1 cached"
    assert dockc.run("doctor").stdout.rstrip().endswith("healthy")


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_ends_the_build_and_its_steps(
    root: Dockc, context: MakeContext, with_base: tuple[str, str], sent: signal.Signals, status: int
) -> None:
    folder = context("FROM base\nRUN sleep 314159\n")
    process = root.start("build", folder, "--progress=plain", *with_base)
    _wait_for(process, "RUN sleep")
    process.send_signal(sent)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == status, rest
    assert not _running("314159")
    assert root.run("doctor").stdout.rstrip().endswith("healthy")


def _wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read what is shown until a step is under way, and a moment longer."""
    assert process.stderr is not None
    seen = ""
    while text not in seen:
        line = process.stderr.readline()
        assert line, f"the build ended before {text!r}:\n{seen}"
        seen += line
    time.sleep(1)


def _running(argument: str) -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if argument.encode() in arguments and arguments[0].endswith(b"sleep"):
                return True
    return False


def test_two_builds_at_once_share_a_store_and_run_equal_steps_once(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    root.build(context("FROM base\nRUN true\n"), *with_base)  # on a cold store both may fetch the base, and then go on alone
    folder = context("FROM base\nRUN sleep 2 && cat /proc/sys/kernel/random/uuid > /id\n")
    one = root.start("build", folder, "--progress=plain", *with_base, "-o", "type=local,dest=one")
    two = root.start("build", folder, "--progress=plain", *with_base, "-o", "type=local,dest=two")
    shown = [process.communicate(timeout=120)[1] for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), shown
    assert (root.home / "one" / "id").read_text() == (root.home / "two" / "id").read_text(), shown


def test_usage_errors_end_with_2(root: Dockc, context: MakeContext) -> None:
    folder = context("FROM scratch\n")
    for arguments, message in [
        (("build", folder, "--build-context", "x"), "invalid context value"),
        (("build", folder, "-o", "type=nothing"), "nothing"),
        (("build", folder, "--progress=loud"), "invalid progress mode"),
        (("build", root.home / "nowhere"), "does not exist"),
        (("compile", folder, "--emit=poetry"), "unknown form"),
    ]:
        result = root.run(*arguments, status=None)
        assert result.returncode == 2, (arguments, result.stderr)
        assert message in result.stderr
