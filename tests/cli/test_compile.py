"""`dockc compile`: what goes in, and every form that comes out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dockc.llb.definition import Definition
from tests.cli.conftest import Cli, Ended
from tests.golden.collect import Case, Golden

REPO = Path(__file__).resolve().parents[2]


def image_of(ended: Ended) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


# --- forms ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["cst", "ast", "ir", "llb", "dot", "json", "image"])
def test_text_forms(cli: Cli, two_stages: Path, form: str, golden: Golden) -> None:
    ended = cli("compile", "--platform=linux/amd64", f"--emit={form}")
    assert ended.stderr == ""
    assert ended.text == golden(Case("compiler/forms", "two-stages"), f"out.{form}")


def test_protobuf_is_what_a_pipe_gets(cli: Cli, two_stages: Path, tmp_path: Path) -> None:
    piped = cli("compile", "--platform=linux/amd64").stdout
    assert piped == cli("compile", "--platform=linux/amd64", "--emit=pb").stdout
    cli("compile", "--platform=linux/amd64", "-o", tmp_path / "out.pb")
    assert (tmp_path / "out.pb").read_bytes() == piped
    assert len(Definition.parse(piped).ops) == 6


def test_a_pipe_to_buildctl(two_stages: Path, cli: Cli) -> None:
    buildctl = shutil.which("buildctl", path=os.pathsep.join([os.environ.get("DOCKC_BUILDKIT_BIN", ""), os.environ.get("PATH", "")]))
    if buildctl is None:
        pytest.skip("buildctl is not installed")
    dumped = subprocess.run(
        [buildctl, "debug", "dump-llb"], input=cli("compile").stdout, capture_output=True, check=True
    )
    theirs = [json.loads(line) for line in dumped.stdout.splitlines()]
    ours = [json.loads(line) for line in cli("compile", "--emit=json").stdout.splitlines()]
    assert [one["Digest"] for one in theirs] == [one["Digest"] for one in ours]
    assert theirs == ours


def test_unknown_forms_and_files_that_cannot_be_written(cli: Cli, two_stages: Path) -> None:
    ended = cli("compile", "--emit=poetry", status=2)
    assert (
        ended.stderr == "error: unknown form poetry\n  help: Choose one of cst, ast, ir, llb, dot, json, pb, image.\n"
    )
    ended = cli("compile", "-o", "no/such/folder", status=2)
    assert ended.stderr == "error: cannot write no/such/folder: No such file or directory\n"


# --- options --------------------------------------------------------------------------------------------


def test_targets(cli: Cli, two_stages: Path) -> None:
    assert "mkfile" in cli("compile", "--target=files", "--emit=llb").text
    assert cli("compile", "--target=FILES").stdout == cli("compile", "--target=files").stdout
    assert image_of(cli("compile", "--target=files", "--emit=image")).get("config", {}).get("Entrypoint") is None
    ended = cli("compile", "--target=file", status=1)
    assert ended.stderr == 'error: target stage "file" could not be found (did you mean files?)\n'


def test_build_arguments_from_the_command_line_and_from_the_environment(cli: Cli, two_stages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hello world" in cli("compile", "--emit=ir").text
    assert "bye world" in cli("compile", "--emit=ir", "--build-arg", "GREETING=bye").text
    assert '" world\\n"' in cli("compile", "--emit=ir", "--build-arg", "GREETING=").text
    monkeypatch.delenv("GREETING", raising=False)
    assert "hello world" in cli("compile", "--emit=ir", "--build-arg", "GREETING").text
    monkeypatch.setenv("GREETING", "good = day")
    assert "good = day world" in cli("compile", "--emit=ir", "--build-arg", "GREETING").text
    assert "hello world" in cli("compile", "--emit=ir").text
    ended = cli("compile", "--build-arg", "=x", status=2)
    assert "invalid value =x for --build-arg" in ended.stderr


def test_platforms(cli: Cli, two_stages: Path) -> None:
    both = cli("compile", "--platform=linux/amd64,linux/arm64/v8", "--emit=image").stdout.splitlines()
    assert [json.loads(line)["architecture"] for line in both] == ["amd64", "arm64"]
    repeated = cli("compile", "--platform=linux/amd64", "--platform", "linux/arm64", "--emit=image").stdout.splitlines()
    assert [json.loads(line)["architecture"] for line in repeated] == ["amd64", "arm64"]
    assert cli("compile", "--platform=linux/amd64,linux/arm64", "--emit=ir").text.count("platform linux/") == 2
    ended = cli("compile", "--platform=linux/amd64,linux/arm64", "--emit=pb", status=2)
    assert ended.stderr == "error: protobuf output holds one platform\n  help: Choose one with --platform.\n"
    assert image_of(cli("compile", "--platform=local", "--emit=image"))["os"] == "linux"
    assert "cannot parse platform specifier" in cli("compile", "--platform=a/b/c/d", status=1).stderr


def test_labels(cli: Cli, two_stages: Path) -> None:
    image = image_of(cli("compile", "--emit=image", "--label", "a=b=c", "--label=kind=other", "--label", "empty"))
    assert image["config"]["Labels"] == {"a": "b=c", "kind": "other", "empty": ""}
    assert "expected NAME=VALUE" in cli("compile", "--label", "=x", status=2).stderr


def test_options_of_the_frontend(cli: Cli, two_stages: Path) -> None:
    assert "opt world" in cli("compile", "--emit=ir", "--opt", "build-arg:GREETING=opt").text
    assert (
        "short world"
        in cli("compile", "--emit=ir", "--opt", "build-arg:GREETING=opt", "--build-arg=GREETING=short").text
    )
    assert "mkfile" in cli("compile", "--emit=ir", "--opt", "target=files").text
    assert "expected KEY=VALUE" in cli("compile", "--opt", "=x", status=2).stderr


def test_no_cache_marks_every_step(cli: Cli, two_stages: Path) -> None:
    def ignoring(*args: str) -> int:
        return cli("compile", "--emit=json", *args).text.count('"ignore_cache":true')

    assert ignoring() == 0
    assert ignoring("--no-cache") >= 3
    assert 0 < ignoring("--opt", "no-cache=files") < ignoring("--no-cache")


def test_named_contexts(cli: Cli, folder: Path, tmp_path: Path) -> None:
    (folder / "Dockerfile").write_text("FROM base\nCOPY --from=more /x /x\n")
    (tmp_path / "more").mkdir()
    layout, digest = layout_of({"Env": ["A=b"]}, tmp_path / "layout", "v1")
    base = ("--platform=linux/amd64", "--build-context", f"more={tmp_path / 'more'}", "--emit=ir", "--build-context")
    for value in (
        f"oci-layout://{layout}",
        f"oci-layout://{layout}:v1",
        f"oci-layout://{layout}@{digest}",
        f"oci-layout://{layout}:v1@{digest}",
    ):
        text = cli("compile", *base, f"base={value}").text
        assert f'/base@{digest}"' in text
        assert "local://more" in text
    assert (
        image_of(cli("compile", *base[:-2], "--emit=image", "--build-context", f"base=oci-layout://{layout}"))[
            "config"
        ]["Env"][0]
        == "A=b"
    )
    answers = {
        "version": 1,
        "images": [
            {
                "ref": "docker.io/library/other:1",
                "platform": "linux/amd64",
                "digest": digest,
                "config": {"rootfs": {"diff_ids": [digest]}},
            }
        ],
    }
    (folder / "answers.json").write_text(json.dumps(answers))
    text = cli("compile", *base, "base=docker-image://other:1", "--answers=answers.json").text
    assert "docker-image://docker.io/library/other:1" in text
    for value, message in [
        ("base", "invalid context value: base, expected key=value"),
        (f"base={folder / 'none'}", "is not a directory"),
        (f"base=oci-layout://{folder / 'none'}", "none"),
        (f"base=oci-layout://{layout}:v2", "v2"),
        (f"base=oci-layout://{layout}@sha256:{'0' * 64}", "0000"),
    ]:
        ended = cli("compile", *base, value, status=None)
        assert ended.status in {1, 2}
        assert message in ended.stderr, ended.stderr


def layout_of(config: dict[str, Any], folder: Path, tag: str) -> tuple[Path, str]:
    """An OCI layout with an image whose layer nobody needs; the folder and the manifest's digest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(value: object, kind: str) -> dict[str, Any]:
        data = json.dumps(value).encode()
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}.v1+json", "digest": f"sha256:{name}", "size": len(data)}

    image = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
    }
    layer = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": "sha256:" + "1" * 64,
        "size": 1,
    }  # never asked for
    manifest = put({"schemaVersion": 2, "config": put(image, "config"), "layers": [layer]}, "manifest")
    index = {"schemaVersion": 2, "manifests": [manifest | {"annotations": {"org.opencontainers.image.ref.name": tag}}]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return folder, manifest["digest"]


# --- questions ------------------------------------------------------------------------------------------


def test_offline_says_what_is_missing(cli: Cli, folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM debian:12 AS a\nFROM a\nCOPY --from=busybox /bin /bin\n")
    ended = cli("compile", "--offline", "--platform=linux/arm64", status=1)
    assert "/v2/library/debian/manifests/12: not asked, because of --offline" in ended.stderr
    assert "/v2/library/busybox/manifests/latest: not asked, because of --offline" in ended.stderr
    assert "help: Ask online, or supply what is missing with --answers." in ended.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not an answers file"),
        ('{"version": 9}', "version 9 is not supported"),
        ('{"images": [{}]}', "is missing"),
    ],
)
def test_answers_that_are_none(cli: Cli, two_stages: Path, text: str, message: str) -> None:
    (two_stages / "answers.json").write_text(text)
    assert message in cli("compile", "--answers=answers.json", status=2).stderr
    assert (
        cli("compile", "--answers=none.json", status=2).stderr
        == "error: cannot read none.json: No such file or directory\n"
    )


# --- passes ---------------------------------------------------------------------------------------------


def test_default_levels_change_no_bytes(cli: Cli, two_stages: Path) -> None:
    plain = cli("compile").stdout
    assert (
        plain
        == cli("compile", "-O0").stdout
        == cli("compile", "-O1").stdout
        == cli("compile", "-O1", "--verify-each").stdout
    )
    optimised = cli("compile", "-O2", "--verify-each")
    assert Definition.parse(optimised.stdout).ops
    assert cli("compile", "-O3", status=2).stdout == b""


def test_observers_of_passes_write_to_standard_error(cli: Cli, two_stages: Path) -> None:
    plain = cli("compile").stdout
    ended = cli("compile", "--print-after=prune")
    assert ended.stdout == plain
    assert ended.stderr.count("# --- after") == 1
    ended = cli("compile", "--print-after-all", "-O2", "--emit=ir")
    assert ended.stderr.count("# --- after") == 8
    assert ended.stderr.endswith(ended.text)
    times = cli("compile", "--time-passes").stderr.splitlines()
    assert [line.split()[-1] for line in times] == ["prune", "canonicalize"]
    ended = cli("compile", "--print-after=dead-code", status=2)
    assert "help: Running: canonicalize, prune." in ended.stderr


def test_passes_by_name(cli: Cli, two_stages: Path) -> None:
    assert "# --- after link-copies" in cli("compile", "--passes=link-copies", "--print-after-all", "--emit=ir").stderr
    assert (
        "unknown pass dead-cod\n  help: did you mean dead-code?" in cli("compile", "--passes=dead-cod", status=2).stderr
    )
    assert "cannot read passes" in cli("compile", "--passes={", status=2).stderr


def test_squash_makes_fewer_operations(cli: Cli, folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY a /a\nCOPY b /b\nCOPY c /c\n")
    counts = [len(Definition.parse(cli("compile", f"--squash={level}").stdout).ops) for level in (0, 1, 2, 3)]
    assert counts[0] == 5
    assert counts[1] < counts[0]
    assert counts[1] >= counts[2] >= 3


# --- input ----------------------------------------------------------------------------------------------


def test_standard_input(cli: Cli, two_stages: Path) -> None:
    data = (two_stages / "Dockerfile").read_bytes()
    (two_stages / "Dockerfile").unlink()
    assert "mkfile" in cli("compile", "-f", "-", "--emit=llb", stdin=data).text
    assert "failed to read dockerfile: open Dockerfile: no such file or directory" in cli("compile", status=1).stderr


def test_other_names(cli: Cli, two_stages: Path) -> None:
    (two_stages / "sub").mkdir()
    (two_stages / "Dockerfile").rename(two_stages / "sub" / "My.dockerfile")
    assert 'file @0 "My.dockerfile"' in cli("compile", "-f", "sub/My.dockerfile", "--emit=ir").text
    (two_stages / "sub" / "My.dockerfile").rename(two_stages / "dockerfile")
    assert 'file @0 "dockerfile"' in cli("compile", "--emit=ir").text
    assert "is a directory" in cli("compile", "-f", "sub", status=1).stderr
    ended = cli("compile", "nowhere", status=2)
    assert "path 'nowhere' does not exist" in ended.stderr


def test_warnings_go_to_standard_error_with_their_place(cli: Cli, folder: Path) -> None:
    ended = cli("compile", "-f", "-", "--emit=llb", stdin=b"from scratch\nMAINTAINER me\nENV a b\n")
    assert set(ended.stderr.splitlines()) >= {
        "Dockerfile:2: warning: Maintainer instruction is deprecated in favor of using label (MaintainerDeprecated)",
        'Dockerfile:3: warning: "ENV key=value" should be used instead of legacy "ENV key value" format (LegacyKeyValueFormat)',
    }
    assert "warning" not in ended.text


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"FROM scratch\nCOPY a /\xff\nENV a\xff b\n", 0),
        (b"FROM scratch\nfrom x\xff AS \xff\xfe\n", 1),
        (b"FROM scratch\nFO\xff b\xe9\n", 1),
        (b"FROM scratch AS B\xff\n", 1),
        (b"FROM scratch\nCOPY --fo\xffo a b\n", 1),
        (b"\xff\xfeF\0R\0O\0M\0", 1),
        (b"FROM scratch\nENV a=$\xff{\n", 1),
        (b"FROM scratch\nEXPOSE \xff\n", 1),
        (b"ARG \xff=1\nFROM scratch\nRUN \xff\n", 1),
    ],
)
@pytest.mark.parametrize("form", ["cst", "ast", "ir", "llb", "image", "json", "dot"])
def test_bytes_that_are_no_text_never_crash(cli: Cli, folder: Path, data: bytes, status: int, form: str) -> None:
    ended = cli("compile", "-f", "-", f"--emit={form}", "--offline", stdin=data, status=None)
    assert ended.status in {0, 1}
    assert "Traceback" not in ended.stderr
    ended.stderr.encode("utf-8")
    assert "\\udc" not in ended.stderr, "what the terminal cannot show is U+FFFD"


def test_a_reader_that_goes_away_is_no_crash(folder: Path) -> None:
    text = "FROM scratch\n" + "".join(f"LABEL a{n}=b\n" for n in range(3000))
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(REPO), *(p for p in sys.path if p.endswith("-packages"))])
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "dockc", "compile", "-f", "-", "--emit=ast"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.write(text.encode())
    process.stdin.close()
    shown = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(60) == 141
    assert shown == ""
