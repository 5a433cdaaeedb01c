"""`dockc opt`, `passes` and `decompile`: IR and LLB as files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dockc.llb.definition import Definition
from tests.cli.conftest import Cli

PLATFORM = "--platform=linux/amd64"


def test_ir_goes_out_and_in_again(cli: Cli, two_stages: Path) -> None:
    text = cli("compile", PLATFORM, "--emit=ir").stdout
    assert cli("opt", stdin=text).stdout == text
    (two_stages / "a.ir").write_bytes(text)
    assert cli("opt", "a.ir").stdout == text
    assert cli("opt", "a.ir", "--emit=pb").stdout == cli("compile", PLATFORM).stdout
    for form in ("llb", "dot", "json"):
        assert cli("opt", "a.ir", f"--emit={form}").stdout == cli("compile", PLATFORM, f"--emit={form}").stdout
    cli("opt", "a.ir", "--emit=pb", "--output", "a.pb")
    assert (two_stages / "a.pb").read_bytes() == cli("compile", PLATFORM).stdout


@pytest.mark.parametrize("options", [("-O0",), ("-O2",), ("--squash=2",), ("--passes=link-copies,canonicalize",)])
def test_passes_do_the_same_on_text_as_on_a_dockerfile(cli: Cli, two_stages: Path, options: tuple[str]) -> None:
    text = cli("compile", PLATFORM, "--emit=ir").stdout
    assert cli("opt", *options, "--verify-each", stdin=text).stdout == cli("compile", PLATFORM, *options, "--emit=ir").stdout


def test_observers_of_opt(cli: Cli, two_stages: Path) -> None:
    text = cli("compile", PLATFORM, "--emit=ir").stdout
    ended = cli("opt", "--passes=prune,canonicalize", "--print-after-all", "--time-passes", stdin=text)
    assert ended.stderr.count("# --- after ") == 2
    assert [line.split()[-1] for line in ended.stderr.splitlines() if " ms  " in line] == ["prune", "canonicalize"]
    assert ended.stderr.partition("# --- after prune ---\n")[2].startswith(text.decode())
    assert "the pass does not run" in cli("opt", "--print-after=squash", stdin=text, status=2).stderr


def test_what_is_wrong_with_words_is_said_before_anything_is_asked(cli: Cli, folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM localhost:1/nothing-here\n")
    assert "unknown form lbl\n  help: did you mean llb?" in cli("compile", "--emit=lbl", status=2).stderr
    assert "unknown pass squish" in cli("compile", "--passes=squish", status=2).stderr


def test_misspelled_options_are_named(cli: Cli, two_stages: Path) -> None:
    ended = cli("compile", PLATFORM, "--opt=traget=files", "--opt=buildarg:X=1", "--opt=mine:own=1", "--opt=whatever=2", "--opt=build-arg:Y=1")
    assert [line for line in ended.stderr.splitlines() if line.startswith("warning: the frontend")] == [
        "warning: the frontend has no option traget (did you mean target?)",
        "warning: the frontend has no option buildarg:X (did you mean build-arg:X?)",
    ]


def test_optimised_ir_is_the_same_when_optimised_again(cli: Cli, two_stages: Path) -> None:
    once = cli("opt", "-O2", stdin=cli("compile", PLATFORM, "--emit=ir").stdout).stdout
    assert cli("opt", "-O2", stdin=once).stdout == once


@pytest.mark.parametrize(
    ("args", "data", "status", "message"),
    [
        ((), b"garbage\n", 1, "line 1: unknown statement garbage"),
        ((), b"\x00\xff", 1, "line 1"),
        (("none.ir",), b"", 2, "cannot read none.ir: No such file or directory"),
        (("--emit=cst",), b"platform linux/amd64\n", 2, "unknown form cst"),
        (("--passes=nothing",), b"platform linux/amd64\n", 2, "unknown pass nothing"),
        (("--emit=pb",), b"platform linux/amd64\n", 1, "the IR has no result"),
        ((), b'platform linux/amd64\n%0 = file %1 {\n rm "/a"\n}\nresult %0\n', 1, "line 2"),
        ((), b'platform linux/amd64\n%0 = file scratch {\n rm "a"\n}\nresult %0\n', 1, "paths of file actions are absolute"),
    ],
)
def test_what_is_no_ir(cli: Cli, args: tuple[str, ...], data: bytes, status: int, message: str) -> None:
    ended = cli("opt", *args, stdin=data, status=status)
    assert message in ended.stderr
    assert ended.stdout == b""


def test_passes_are_listed_with_their_levels(cli: Cli) -> None:
    lines = cli("passes").text.splitlines()
    listed = {line.split()[0]: line for line in lines}
    assert "-O1 -O2" in listed["canonicalize"]
    assert "-O2" in listed["link-copies"]
    assert "-O" not in listed["squash"]
    assert all(line.endswith(".") for line in lines)


# --- decompile ------------------------------------------------------------------------------------------

PLAIN = {
    "copies": "FROM scratch\nCOPY a b /d/\nCOPY --chown=1:2 --chmod=640 c /c\n",
    "stages": "FROM scratch AS one\nCOPY a /a\nFROM scratch AS two\nCOPY b /b\nFROM scratch\nCOPY --from=one /a /1\nCOPY --from=two /b /2\n",
    "link": "FROM scratch\nCOPY --link a /a\nCOPY --link b /b\n",
    "parents": "FROM scratch\nCOPY --parents x/./y/z /d/\nCOPY --exclude=*.md src /src\n",
    "heredoc": "FROM scratch\nCOPY <<a <<b /d/\none\na\ntwo $x\nb\n",
    "add": "FROM scratch\nADD a.tar /a\nADD --unpack=false b.tar /b\n",
    "run": "FROM base\nRUN echo a\nRUN --network=none echo b\nRUN --mount=type=cache,target=/c --mount=type=bind,from=base,source=/e,target=/f echo c\n",
    "env": "FROM base\nENV A=b\nWORKDIR /w\nUSER 1:2\nRUN echo $A\n",
    "secrets": "FROM base\nRUN --mount=type=secret,id=s,target=/s --mount=type=tmpfs,target=/t true\nRUN --security=insecure true\n",
    "url": f"FROM scratch\nADD --checksum=sha256:{'0' * 64} http://localhost:1/a /a\nADD http://localhost:1/b /b\n",
}


@pytest.mark.parametrize("name", PLAIN)
def test_llb_comes_back_as_a_dockerfile_that_compiles_to_it(cli: Cli, folder: Path, name: str) -> None:
    (folder / "Dockerfile").write_text(PLAIN[name])
    digest = "sha256:" + "1" * 64
    image = {"rootfs": {"diff_ids": [digest]}, "config": {"Env": ["PATH=/bin"]}, "os": "linux", "architecture": "amd64"}
    refs = ("docker.io/library/base:latest", f"docker.io/library/base:latest@{digest}")
    images = [{"ref": ref, "platform": "linux/amd64", "digest": digest, "config": image} for ref in refs]
    (folder / "answers.json").write_text(json.dumps({"version": 1, "images": images}))
    compiled = cli("compile", PLATFORM, "--answers=answers.json").stdout
    written = cli("decompile", stdin=compiled)
    again = cli("compile", PLATFORM, "--answers=answers.json", "-f", "-", stdin=written.stdout).stdout
    assert sorted(graph(again)) == sorted(graph(compiled)), written.text


def graph(data: bytes) -> list[str]:
    """Digests of what a definition does; its names and places in a file are another matter."""
    return [digest for digest, _ in Definition.parse(data).ops]


def test_an_image_comes_back_as_a_dockerfile(cli: Cli, folder: Path) -> None:
    (folder / "Dockerfile").write_text(
        "FROM scratch\nENV A='b c'\nLABEL k=\"v w\"\nEXPOSE 80 53/udp\nVOLUME /v\nUSER u\nWORKDIR /w\nSTOPSIGNAL 9\n"
        'HEALTHCHECK --interval=5s CMD true\nSHELL ["/bin/bash", "-c"]\nENTRYPOINT ["/e"]\nCMD ["a", "b"]\n'
    )
    before = cli("compile", PLATFORM, "--emit=image").stdout
    written = cli("decompile", stdin=before)
    after = cli("compile", PLATFORM, "--emit=image", "-f", "-", stdin=written.stdout).stdout
    assert json.loads(after)["config"] == json.loads(before)["config"], written.text


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (b"garbage", 1, "error: not LLB: "),
        (b'{"a":', 2, "not an image config"),
        (b"{}" * 3, 2, "not an image config"),
    ],
)
def test_what_cannot_be_decompiled(cli: Cli, data: bytes, status: int, message: str) -> None:
    assert message in cli("decompile", stdin=data, status=status).stderr


@pytest.mark.parametrize("data", [b'{"history": 1}', b'{"config": []}', b'{"config": {"Env": 1}}', b'{"history": [1, {"created_by": []}]}'])
def test_strange_image_configs_never_crash(cli: Cli, data: bytes) -> None:
    assert cli("decompile", stdin=data, status=None).status in {0, 1, 2}
