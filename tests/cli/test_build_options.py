"""The words of `docker buildx build`: what they become, what is refused and how, and what is asked instead of built."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from dockc.commands import options
from dockc.commands.attrs import frontend_attrs
from dockc.commands.build import BuildOptions
from dockc.commands.options import refuse_environment
from dockc.errors import DockcError, UsageError
from dockc.line.read import plain_flags, read
from tests.cli.conftest import Cli

CHECKED = """\
FROM scratch AS one
ARG V=1
FROM scratch as two
MAINTAINER me
COPY --from=one /a /a
RUN --mount=type=secret,id=tok,required x
"""
FINDINGS = """\
Check complete, 2 warnings have been found!

WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/
'as' and 'FROM' keywords' casing do not match
Dockerfile:3
--------------------
   1 |     FROM scratch AS one
   2 |     ARG V=1
   3 | >>> FROM scratch as two
   4 |     MAINTAINER me
   5 |     COPY --from=one /a /a
--------------------

WARNING: MaintainerDeprecated - https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/
Maintainer instruction is deprecated in favor of using label
Dockerfile:4
--------------------
   2 |     ARG V=1
   3 |     FROM scratch as two
   4 | >>> MAINTAINER me
   5 |     COPY --from=one /a /a
   6 |     RUN --mount=type=secret,id=tok,required x
--------------------
"""


# --- options to attributes ------------------------------------------------------------------------------


def test_options_of_steps_become_frontend_options() -> None:
    assert options.step_attrs() == {}
    assert options.step_attrs(
        pull=True, network="none", hosts=["a=10.0.0.1", "b:::1", "c=[::1]", "d:host-gateway"], shm_size="64m", ulimits=["nofile=1:2", "core=0"], cgroup_parent="/x"
    ) == {
        "image-resolve-mode": "pull",
        "force-network-mode": "none",
        "add-hosts": "a=10.0.0.1,b=::1,c=::1,d=127.0.0.1",
        "shm-size": str(64 << 20),
        "ulimit": "nofile=1:2,core=0",
        "cgroup-parent": "/x",
    }
    assert options.step_attrs(network="default") == {}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"network": "bridge"}, "invalid network mode bridge"),
        ({"hosts": ["a"]}, "invalid host a"),
        ({"hosts": ["a=b"]}, "invalid host a=b"),
        ({"hosts": ["=1.2.3.4"]}, "invalid host =1.2.3.4"),
        ({"shm_size": "much"}, "invalid size: much"),
    ],
)
def test_options_of_steps_that_make_no_sense(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as error:
        options.step_attrs(**wrong)  # type: ignore[arg-type]
    assert error.value.message == message


def test_build_arguments_come_from_the_environment_where_they_have_no_value() -> None:
    environment = {"A": "1", "SOURCE_DATE_EPOCH": "5"}
    assert frontend_attrs(build_args=["A", "B", "C="], environment=environment) == {
        "build-arg:SOURCE_DATE_EPOCH": "5", "build-arg:A": "1", "build-arg:C": "",
    }  # fmt: skip
    assert frontend_attrs(opts=["build-arg:A", "build-arg:B", "no-cache", "build-arg:SOURCE_DATE_EPOCH=7"], environment=environment) == {
        "build-arg:SOURCE_DATE_EPOCH": "7", "build-arg:A": "1", "no-cache": "",
    }  # fmt: skip


def test_proxies_of_dockers_configuration_are_build_arguments(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    assert options.proxy_attrs(environ, {}) == {}
    config.write_text(json.dumps({"proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "a", "ftpProxy": 1}}}))
    assert options.proxy_attrs(environ, {"build-arg:NO_PROXY": "mine"}) == {
        "build-arg:HTTP_PROXY": "http://p:1", "build-arg:http_proxy": "http://p:1", "build-arg:no_proxy": "a",
    }  # fmt: skip
    for broken in ('{"proxies"', '{"proxies": []}', '{"proxies": {"default": []}}', '["proxies"]', '{"proxies": {"tcp://x": {}}}'):
        config.write_text(broken)
        assert options.proxy_attrs(environ, {}) == {}


def test_push_and_load_complete_the_outputs() -> None:
    def kinds(*texts: str, **more: Any) -> list[tuple[str, str, bool]]:
        return [(one.type, one.dest, one.flag("push")) for one in options.outputs(texts, **more)]

    assert kinds() == []
    assert kinds(push=True) == [("image", "", True)]
    assert kinds("type=image,name=a", "out", push=True) == [("image", "", True), ("local", "out", False)]
    assert kinds("out", push=True) == [("local", "out", False), ("image", "", True)]
    assert kinds(load=True) == [("docker", "", False)]
    assert kinds("type=docker", load=True) == [("docker", "", False)]
    assert kinds("type=docker,dest=a.tar", load=True) == [("docker", "a.tar", False), ("docker", "", False)]


def test_annotations_go_to_every_image() -> None:
    texts = ["a=b=c", "index,manifest-descriptor[linux/arm64]:org.x=1,2"]
    image, archive, folder = options.outputs(["type=image", "type=oci,dest=x", "out"], annotations=texts)
    for one in (image, archive):
        assert one.image.annotations_for("linux/arm64").manifest == {"a": "b=c"}
        assert one.image.annotations_for().index == {"org.x": "1,2"}
        assert one.image.annotations_for("linux/arm64").manifest_descriptor == {"org.x": "1,2"}
        assert one.image.annotations_for("linux/amd64").manifest_descriptor == {}
    assert folder.image.annotations == {}
    (kept,) = options.outputs([], annotations=["a=b"])
    assert (kept.type, kept.image.annotations_for().manifest) == ("image", {"a": "b"})
    for wrong, message in [("a", "invalid annotation 'a', expected key=value"), ("layer:a=b", "unknown annotation type 'layer'")]:
        with pytest.raises(UsageError) as error:
            options.outputs([], annotations=[wrong])
        assert error.value.message == message
    with pytest.raises(UsageError, match="annotations need an image to be on"):
        options.outputs(["out"], annotations=["a=b"])


def test_flags_take_values_as_dockers_do() -> None:
    rows = BuildOptions.table()
    words = ["--push=true", "--pull=1", "--load=false", "--no-cache=F", "--target=true", "."]
    assert plain_flags(rows, words) == ["--push", "--pull", "--target=true", "."]
    assert plain_flags(rows, ["--push=maybe"]) == ["--push=maybe"], "left to the library's own message"
    assert plain_flags(rows, ["--", "--push=true"]) == ["--", "--push=true"]
    assert read(BuildOptions, words, {}) == BuildOptions(push=True, pull=True, target="true", context=".")


def test_short_options_take_their_values_with_a_sign_too() -> None:
    """As docker's do: `-f=FILE`, `-q=true`."""
    rows = BuildOptions.table()
    words = ["-f=a/D", "-t=x:1", "-o=type=local,dest=o", "-q=true", "-D=0", "-m=", "-c==", "."]
    assert plain_flags(rows, words) == ["-fa/D", "-tx:1", "-otype=local,dest=o", "-q", "-m", "", "-c=", "."]
    found = read(BuildOptions, words, {})
    assert found == BuildOptions(
        file="a/D", tag=("x:1",), output=("type=local,dest=o",), quiet=True, memory="", cpu_shares="=", context="."
    )


# --- refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"provenance": "mode=max"}, "attestations are not supported yet (--provenance=mode=max)"),
        ({"sbom": "true"}, "attestations are not supported yet (--sbom=true)"),
        ({"attest": ["type=sbom"]}, "attestations are not supported yet (--attest=type=sbom)"),
    ],
)
def test_what_is_not_there_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(DockcError) as error:
        options.refuse(**given)  # type: ignore[arg-type]
    assert error.value.message == message


def test_attestations_may_be_declined() -> None:
    options.refuse(provenance="false", sbom="false", attest=["type=provenance,disabled=true"])


@pytest.mark.parametrize("option", ["--metadata-file", "--iidfile", "--record"])
def test_files_that_cannot_be_written_are_refused_before_anything_runs(cli: Cli, folder: Path, option: str) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\nRUN x\n")
    assert cli("build", option, "none/file", status=2).stderr == "error: cannot write none/file: no such directory\n"
    assert cli("build", option, ".", status=2).stderr == "error: cannot write .: is a directory\n"


# --- asked ----------------------------------------------------------------------------------------------


@pytest.fixture
def checked(folder: Path) -> Path:
    (folder / "Dockerfile").write_text(CHECKED)
    return folder


def test_checks_in_buildkits_form(cli: Cli, checked: Path) -> None:
    for arguments in (["--check"], ["--check=true"], ["--call=check"], ["--call", "lint"], ["--opt", "requestid=frontend.lint"]):
        found = cli("build", ".", *arguments, status=1)
        assert (found.text, found.stderr) == (FINDINGS, "")
    (checked / "Dockerfile").write_text("FROM scratch\nCOPY a /a\n")
    assert cli("build", "--check").text == "Check complete, no warnings found.\n"
    (checked / "Dockerfile").write_text("FROM scratch as a\nRUNN x\n")
    broken = cli("build", "--check", status=1)
    assert broken.text.startswith("Check complete, 1 warning has been found!\n")
    assert broken.stderr.endswith("error: dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)\n")
    found = json.loads(cli("build", "--call=check,format=json", status=1).text)
    assert [one["ruleName"] for one in found["warnings"]] == ["FromAsCasing"]
    assert found["buildError"] == {
        "message": "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)",
        "location": {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]},
    }


def test_outline_and_targets(cli: Cli, checked: Path) -> None:
    assert cli("build", "--call=outline").text == "TARGET: two\n\nBUILD ARG   VALUE   DESCRIPTION\nV           1       \n\nSECRET   REQUIRED\ntok      true\n\n"
    assert cli("build", "--call=outline", "--target=one").text == "TARGET: one\n\nBUILD ARG   VALUE   DESCRIPTION\nV           1       \n\n"
    assert json.loads(cli("build", "--call=outline,format=json").text)["secrets"][0]["name"] == "tok"
    assert cli("build", "--call=targets").text == "TARGET        DESCRIPTION\none           \ntwo (default) \n"
    assert [one["name"] for one in json.loads(cli("build", "--call=targets,format=json").text)["targets"]] == ["one", "two"]
    assert cli("build", "--call=outline", "--target=none", status=1).stderr.endswith('error: target stage "none" could not be found (did you mean one?)\n')
    refused = cli("build", "--check", "https://example.org/a.git", status=2).stderr
    assert refused.startswith("error: a call needs a Dockerfile that is here, not in a remote context or an archive\n")
    for call, message in [("summary", "unsupported request summary"), ("check,form=json", "invalid option form=json of --call")]:
        assert cli("build", f"--call={call}", status=2).stderr.startswith(f"error: {message}\n")


# --- standard input -------------------------------------------------------------------------------------


def test_standard_input_is_one_thing_at_a_time(cli: Cli, folder: Path) -> None:
    for arguments, stdin, message in [
        (("-", "-f", "-"), b"", "can't use stdin for both build context and dockerfile"),
        (("-", "-f", "x"), b"FROM scratch\n", "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles"),
    ]:
        assert cli("build", "--call=targets", *arguments, stdin=stdin, status=2).stderr.startswith(f"error: {message}\n")
    assert cli("build", "--call=targets", "-", stdin=b"FROM scratch AS a\n").text.endswith("a (default) \n")
    assert b"COPY a /a" in cli("compile", "-", stdin=b"FROM scratch\nCOPY a /a\n").stdout
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("Dockerfile"))
    refused = cli("compile", "-", stdin=raw.getvalue(), status=2)
    assert refused.stderr.startswith("error: standard input holds an archive, no Dockerfile\n")
    assert cli("compile", "-", "-f", "-", status=2).stderr.startswith("error: can't use stdin for both build context and dockerfile\n")


def test_a_relative_file_of_a_remote_context_is_in_it(cli: Cli, folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\n")
    refused = cli("compile", "https://example.org/a.git", "-f", "Dockerfile", status=2)
    assert refused.stderr.startswith("error: the Dockerfile of a remote context is not here\n")
    cli("compile", "https://example.org/a.git", "-f", folder / "Dockerfile")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "policy.json", "source policies are not supported yet"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:4317", "this exporter is not supported yet"),
        ("OTEL_METRICS_EXPORTER", "otlp", "metrics are not supported yet"),
        ("JAEGER_TRACE", "127.0.0.1:6831", "traces by Jaeger's own protocol are not supported yet"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318", ""),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=b", ""),
        ("OTEL_TRACES_EXPORTER", "otlp", ""),
        ("OTEL_TRACES_EXPORTER", "none", ""),
        ("OTEL_SERVICE_NAME", "ci", ""),
    ],
)
def test_variables_that_ask_for_what_is_not_there(name: str, value: str, message: str) -> None:
    if not message:
        refuse_environment({name: value})
        return
    with pytest.raises(DockcError, match=f"{message} \\({name} is set\\)"):
        refuse_environment({name: value})


# --- outputs and what they may ----------------------------------------------------------------------------


def test_hosts_may_be_several_in_one_word() -> None:
    assert options.step_attrs(hosts=["a=1.2.3.4,b:::1", "c=[::2]"]) == {"add-hosts": "a=1.2.3.4,b=::1,c=::2"}


@pytest.mark.parametrize("dest", [".", "..", "../beside", "/", "away", "away/more", "inside/../.."])
def test_an_output_that_deletes_elsewhere_must_be_allowed(
    dest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / "inside").mkdir(parents=True)
    (here / "away").symlink_to(tmp_path)
    monkeypatch.chdir(here)
    (output,) = options.outputs([f"type=local,dest={dest},mode=Delete"])
    with pytest.raises(UsageError, match=r"requires --allow=buildx\.local\.delete"):
        options.allowed(["network.host"], [output])
    allow = ["network.host", "", "buildx.local.delete"]
    assert options.allowed(allow, [output]) == {"network.host"}, "it is asked of nobody else"
    (copies,) = options.outputs([f"type=local,dest={dest}"])
    (below,) = options.outputs(["type=local,dest=inside/not-there/yet,mode=delete"])
    assert options.allowed([], [copies, below]) == frozenset()
    with pytest.raises(UsageError, match="does not accept a value"):
        options.allowed(["buildx.local.delete=true"], [])


@pytest.mark.parametrize(
    "texts", [("-", "type=oci"), ("type=tar", "type=tar,dest=/dev/stdout"), ("type=docker,dest=-", "type=oci,dest=/dev/fd/1")]
)
def test_one_output_is_on_standard_output(texts: tuple[str, ...]) -> None:
    from dockc.runtime.exporter import export

    with pytest.raises(UsageError, match="multiple outputs configured to write to stdout"):
        export.check(options.outputs(texts))
    export.check(options.outputs(["-", "type=oci,dest=x.tar", "type=cacheonly"]))


def test_an_empty_word_of_many_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    many = ["--secret", "--ssh", "--cache-from", "--cache-to", "--build-context", "--annotation", "--add-host", "--allow", "-o"]
    words = [word for option in many for word in (option, "")]
    argv = [sys.executable, "-m", "dockc", "build", str(tmp_path), "--progress=", "--call=", "--store", str(tmp_path / "store"), *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
