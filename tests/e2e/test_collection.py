"""The store's space through the command line: sizes, plans that come true, and collection after builds."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from dockc.line.main import run
from tests.e2e.conftest import Dockc, MakeContext

_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}


def sums(text: str) -> dict[str, float]:
    found = re.findall(r"^([A-Z][a-z ]+): +([\d.]+)([kMG]?B)$", text, re.MULTILINE)
    return {name: float(number) * _UNITS[unit] for name, number, unit in found}


def records(dockc: Dockc, *more: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in dockc.run("du", "--json", *more).stdout.splitlines()]


def du(path: Path) -> int:
    return int(subprocess.run(["du", "-s", "--block-size=1", path], check=True, capture_output=True, text=True).stdout.split()[0])


def test_the_total_is_what_is_on_the_disk(dockc: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    folder = context(
        "FROM base AS one\nRUN head -c 3000000 /dev/urandom > /big; ln /big /same; ln /big /again\n"
        "FROM base\nCOPY . /src\nRUN --mount=type=cache,target=/c head -c 500000 /dev/urandom > /c/x\nCOPY --from=one /big /big\n",
        **{f"d__{number}": "x" * number for number in range(200)},
    )
    dockc.build(folder, *with_base, "-t", "app")
    shown = sums(dockc.run("du").stdout)
    assert shown["Total"] == pytest.approx(du(dockc.store), rel=0.01)
    assert shown["Private"] + shown["Shared"] == pytest.approx(shown["Records"], rel=0.01)
    (linked,) = [one for one in records(dockc) if "again" in str(one["description"])]
    assert 3_000_000 <= int(str(linked["size"])) < 7_000_000, "one file and its layer, whatever names it has"
    tree = dockc.run("du", "--tree").stdout
    assert re.search(r"^[├└]─ \w{25} +regular .* image app:latest", tree, re.MULTILINE), "the two stages end in any order"
    details = dockc.run("du", "-v", "--filter", "type==exec.cachemount").stdout
    assert "Collected:   not now: within the limits\n" in details
    assert "Usage count: 1\n" in details
    assert "Total:" not in details, "of some there is no sum"
    assert dockc.run("du", "--format", "{{.Type}} {{.UsageCount}}", "--filter", "mutable").stdout == "exec.cachemount 1\n"


def test_what_a_clock_has_put_into_the_future_is_shown(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    """The clock was a year ahead when it was built, and has been put right since."""
    root.build(context("FROM base\nRUN echo x > /x\n"), *with_base, "-o", "type=cacheonly")
    known = {str(one["id"]) for one in records(root)}
    with contextlib.closing(sqlite3.connect(root.store / "store.db")) as database, database:
        database.execute("UPDATE record SET created_at = created_at + ?1, last_used_at = last_used_at + ?1", (365 * 86400 * 10**9,))
    assert {str(one["id"]) for one in records(root)} == known
    assert records(root, "--filter", "until=1h") == []


def test_what_pruning_says_it_freed_is_what_came_free(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    """The journal that the databases have while the command runs is not the store's."""
    root.build(context("FROM base\n" + "".join(f"RUN echo {number} > /{number}\n" for number in range(9))), *with_base, "-o", "type=cacheonly")
    root.run("history", "rm", "--all")
    before = du(root.store)
    (said,) = re.findall(r"^Total: ([\d.]+)([kMG]?B)$", root.run("prune", "--all").stdout, re.MULTILINE)
    assert float(said[0]) * _UNITS[said[1]] == pytest.approx(before - du(root.store), rel=0.01)


def test_layers_of_a_build_whose_name_is_taken_go(dockc: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    """Both images have the same empty layer on top: it holds what the image with the name stands on, and no more."""
    folder = context("FROM base\nCOPY a /a\nRUN cat /a\n", a="first" * 9999)
    dockc.build(folder, *with_base, "-t", "app")
    (folder / "a").write_text("second" * 9999)
    dockc.build(folder, *with_base, "-t", "app")
    held = dockc.run("du", "-v").stdout
    dockc.run("prune", "--all")
    assert sum("COPY a /a" in str(one["description"]) for one in records(dockc)) == 1, held
    assert dockc.run("run", "app", "cat", "/a").stdout == "second" * 9999
    assert "healthy" in dockc.run("doctor", "--full").stdout
    assert dockc.build(folder, *with_base, "-t", "app").rstrip().endswith("0 steps run, 2 cached")


def test_what_a_plan_says_is_done(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    folder = context("FROM base\nRUN head -c 400000 /dev/urandom > /a\nRUN head -c 500000 /dev/urandom > /b\nRUN head -c 600000 /dev/urandom > /c\n")
    root.build(folder, *with_base, "-o", "type=cacheonly")
    limit = sum(int(str(one["size"])) for one in records(root)) - 900_000
    limits = ("--max-used-space", str(limit), "--filter", "description~=urandom")
    planned = [json.loads(line) for line in root.run("prune", *limits, "--plan", "--json").stdout.splitlines()]
    going = [one["id"] for one in planned if one["rule"] == 1]
    assert len(going) == 2
    assert {one["stays"] for one in planned if not one["rule"]} == {"no rule is about it", "within the limits"}
    assert len(records(root)) == len(planned), "a plan removes nothing"
    shown = root.run("prune", *limits, "--plan").stdout
    assert re.match(r"rule 1: description~=urandom, beyond [\d.]+MB\n", shown)
    done = root.run("prune", *limits, "--format", "{{.ID}}").stdout.split()
    assert done == going
    assert sorted(str(one["id"]) for one in records(root)) == sorted(one["id"] for one in planned if not one["rule"])
    assert root.run("prune", "-f", *limits).stdout.startswith("Total: ")
    assert len(records(root, "--filter", "type=regular", "--filter", "description~=urandom")) < len(records(root, "--filter", "type=regular"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("prune", "--policy", "--all"), "--policy goes by the settings"),
        (("prune", "--keep-storage", "1", "--reserved-space", "2"), "older word"),
        (("prune", "--filter", "until=1h", "--keep-duration", "2h"), "say the same"),
        (("prune", "--min-free-space", "lots"), "invalid disk space: lots"),
        (("prune", "--json", "--verbose"), "cannot be used together"),
        (("du", "--tree", "--format", "json"), "cannot be used together"),
        (("builder", "prune", "--addr", "unix:///nowhere", "--max-used-space", "10%"), "nothing is known of the builder's disk"),
        (("builder", "du"), "no builder is chosen"),
    ],
)
def test_what_cannot_be_asked(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("DOCKC_STORE", str(tmp_path / "store")), ("HOME", str(tmp_path)), ("XDG_CONFIG_HOME", "")):
        monkeypatch.setenv(name, value)
    assert run(list(words)) == 2
    assert said in capsys.readouterr().err


def test_builds_collect_by_the_settings(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    def built(number: int) -> str:
        folder = context(f"FROM base\nRUN echo {number}; head -c 2000000 /dev/urandom > /f\n")
        return root.build(folder, *with_base, "-o", "type=cacheonly")

    settings = root.home / ".config" / "dockc" / "config.toml"
    settings.parent.mkdir(parents=True)
    built(0)
    limit = sum(int(str(one["size"])) for one in records(root)) + 5_000_000
    settings.write_text(f"[gc]\n[[gc.policy]]\nall = true\nmaxUsedSpace = {limit}\n")
    for number in range(1, 4):
        built(number)
    assert sum(int(str(one["size"])) for one in records(root)) <= limit
    assert "1 cached" in built(3), "what was used last is here"
    assert "0 cached" in built(0), "what was used longest ago is gone"
    assert root.run("prune", "--policy").stdout.startswith("Total: "), "collection has left nothing to do"
    settings.write_text('[gc]\nmaxUsed = "1GB"\n')
    assert "unknown key gc.maxUsed" in root.run("build", context("FROM base\n"), *with_base, status=2).stderr
    settings.write_text("[gc]\nmaxUsedSpace = 1\n")
    (root.store / "dockc.toml").write_text("[gc]\nenabled = false\n")
    before = sums(root.run("du").stdout)["Records"]
    built(7)
    assert sums(root.run("du").stdout)["Records"] > before + 2_000_000, "the store's own word comes first"
    assert "stays: no rule is about it" in root.run("prune", "--policy", "--plan").stdout


def _end(*command: bytes) -> None:
    """End a program of a step, which waits for as long as the test needs."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if tuple((folder / "cmdline").read_bytes().split(b"\0")[:-1]) == command:
                os.kill(int(folder.name), signal.SIGKILL)


def test_a_running_build_keeps_what_it_uses(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    folder = context("FROM base\nCOPY f /f\nRUN --mount=type=cache,target=/c touch /c/here; sleep 314159265; cat /f; ls /c\n", f="kept\n")
    build = root.start("build", folder, *with_base, "-o", "type=cacheonly", "--progress=plain")
    assert build.stderr is not None
    for line in build.stderr:
        if "RUN" in line and "[" in line:
            break
    held = [one for one in records(root) if one["in_use"]]
    assert any(f"process {build.pid}" in str(one["held_by"]) for one in held)
    gone = root.run("prune", "--all", "--json").stdout
    assert not {json.loads(line)["id"] for line in gone.splitlines()} & {one["id"] for one in held if one["type"] != "source.local"}
    _end(b"sleep", b"314159265")
    _, shown = build.communicate(timeout=60)
    assert build.returncode == 0, shown
    assert "kept" in shown and "here" in shown
