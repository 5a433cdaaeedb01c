"""Commands on the store and on built images: `images`, `run`, `du`, `prune`, `doctor`, `base`."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Dockc, MakeContext


@pytest.fixture
def app(dockc: Dockc, context: MakeContext, with_base: tuple[str, str]) -> Dockc:
    """A store with an image `app` that says what it was started with."""
    folder = context(
        "FROM base\nENV A=image B=image\nRUN mkdir -p /w/deep && chmod 777 /w/deep\nCOPY --chmod=755 show /show\nWORKDIR /w\n"
        'ENTRYPOINT ["/show"]\nCMD ["default"]\n',
        show='#!/bin/sh\necho "args=$*"; echo "A=$A B=$B pwd=$PWD"; id -u; id -g; echo err >&2\n',
    )
    dockc.build(folder, *with_base, "-t", "app")
    return dockc


def test_run_passes_on_what_it_is_given(app: Dockc) -> None:
    ran = app.run("run", "app")
    assert ran.stdout == "args=default\nA=image B=image pwd=/w\n0\n0\n"
    assert ran.stderr == "err\n"
    ran = app.run("run", "--env", "A=x", "-e", "C=y", "--workdir", "/w/deep", "app", "one", "--two", "-e", "three")
    assert ran.stdout.startswith("args=one --two -e three\nA=x B=image pwd=/w/deep\n")
    missing = app.run("run", "none:1", status=1)
    assert missing.stderr.startswith("error: no such image")


def test_run_ends_as_its_program_ends(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    root.build(context('FROM base\nCMD ["/bin/sh", "-c", "exit 7"]\n'), *with_base, "-t", "app")
    assert root.run("run", "app", status=None).returncode == 7
    killed = root.run("run", "app", "sh", "-c", "sh -c 'kill -9 $$'; exit $?", status=None)
    assert killed.returncode == 137
    gone = root.run("run", "app", "/no/such/program", status=None)
    assert gone.returncode in {1, 126, 127}
    assert "no such file" in gone.stderr.lower()
    assert "Traceback" not in gone.stderr
    assert root.run("run", "--user", "5:6", "app", "sh", "-c", "id -u; id -g").stdout == "5\n6\n"
    assert root.run("run", "--workdir", "/made", "app", "sh", "-c", "pwd; echo x > /made/f; ls").stdout == "/made\nf\n"
    assert root.run("run", "app", "ls", "/made", status=None).returncode != 0, "nothing of a run is kept"


def test_run_is_ended_by_signals_that_the_program_does_not_take(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    root.build(context('FROM base\nCMD ["sleep", "161803"]\n'), *with_base, "-t", "app")
    # The first process of a container has no default action: the program does not end, and the third signal ends it.
    for sent in (signal.SIGTERM, signal.SIGINT):
        process = root.start("run", "app")
        deadline = time.monotonic() + 60
        while not running("161803") and time.monotonic() < deadline:
            time.sleep(0.05)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(sent)
            time.sleep(0.5)
        _, shown = process.communicate(timeout=120)
        assert process.returncode in {137, 128 + sent, -sent}, shown
        assert "Traceback" not in shown
        deadline = time.monotonic() + 60
        while running("161803") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not running("161803")
    assert root.run("doctor").stdout.rstrip().endswith("healthy")


def running(argument: str) -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if argument.encode() in arguments and arguments[0].endswith(b"sleep"):
                return True
    return False


def test_images_are_listed_and_forgotten(app: Dockc) -> None:
    table = app.run("images").stdout.splitlines()
    assert re.match(r"NAME\s+DIGEST\s+PLATFORMS\s+SIZE$", table[0])
    assert re.match(r"app:latest\s+[0-9a-f]{12}\s+linux/\w+\s+\S+[kM]B$", table[1])
    one = json.loads(app.run("images", "--json").stdout)
    assert one["name"] == "app:latest"
    assert one["digest"].startswith("sha256:")
    assert "error: " in app.run("images", "--remove", "none", status=1).stderr
    app.run("images", "--remove", "app")
    assert app.run("images", "--json").stdout == ""


def test_usage_and_prune(app: Dockc) -> None:
    records = [json.loads(line) for line in app.run("du", "--json").stdout.splitlines()]
    assert {"id", "type", "size", "description", "parents"} <= records[0].keys()
    assert any("RUN" in one["description"] or "mkdir" in one["description"] for one in records)
    assert app.run("du").stdout.count("\n") > len(records)
    some = [json.loads(line) for line in app.run("du", "--json", "--filter", "type==source.local").stdout.splitlines()]
    assert some
    assert all(one["type"] == "source.local" for one in some)
    for args, message in [
        (("du", "--filter", "=="), "filter"),
        (("du", "--verbose", "--json"), "cannot be used together"),
        (("prune", "--filter", "until=soon"), "invalid duration: soon"),
        (("prune", "--keep-storage", "much"), "invalid disk space: much"),
    ]:
        assert message in app.run(*args, status=2).stderr
    assert app.run("prune", "--filter", "until=1h").stdout.startswith("Total: "), "every record was used just now"
    assert app.run("prune", "--keep-storage", "10GB").stdout.startswith("Total: ")
    assert len(app.run("du", "--json").stdout.splitlines()) == len(records)
    pruned = app.run("prune", "--filter", "type==source.local").stdout
    assert "source.local" in pruned
    assert pruned.splitlines()[-1].startswith("Total: ")
    assert [json.loads(line)["type"] for line in app.run("du", "--json").stdout.splitlines()].count("source.local") == 0
    app.run("prune", "--all")
    assert app.run("run", "app").stdout.startswith("args=default\n"), "what has a name stays"
    assert app.run("doctor").stdout.rstrip().endswith("healthy")


def test_doctor_finds_and_mends_damage(app: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    blobs = sorted((app.store / "content" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob = blobs[-1]
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 0xFF
    blob.chmod(0o644)
    blob.write_bytes(bytes(data))
    found = app.run("doctor", status=1).stdout
    assert blob.name in found
    assert found.splitlines()[-1].endswith("damaged")
    app.run("doctor", "--fix", status=None)
    assert app.run("doctor").stdout.rstrip().endswith("healthy")
    app.build(app.home / "context", *with_base, "-t", "app")
    assert app.run("run", "app").stdout.startswith("args=default\n")


def test_base_makes_a_layout_that_a_build_can_use(root: Dockc, context: MakeContext, tmp_path: Path) -> None:
    written = root.run("base", "cat", "/etc/hostname", "-o", tmp_path / "layout", "--name", "tiny:1").stdout
    assert written.startswith(f"{tmp_path / 'layout'}: ")
    assert written.rstrip().split()[-1].startswith("sha256:")
    folder = context('FROM tiny\nRUN ["cat", "/etc/hostname"]\n')
    root.build(folder, "--build-context", f"tiny=oci-layout://{tmp_path / 'layout'}:tiny:1", "-o", "type=cacheonly", status=None)
    root.build(folder, "--build-context", f"tiny=oci-layout://{tmp_path / 'layout'}", "-o", "type=cacheonly")
    refused = root.run("base", "no-such-program-here", "-o", tmp_path / "other", status=None)
    assert refused.returncode in {1, 2}
    assert "no-such-program-here" in refused.stderr
    root.run("base", "cat", "-o", tmp_path / "base.tar")
    assert (tmp_path / "base.tar").is_file()
