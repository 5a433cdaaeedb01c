"""Dockerfiles out of LLB and out of image histories."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockc import llb
from dockc.compiler.compile import Compiled, compiling
from dockc.compiler.decompile.check import checked
from dockc.compiler.decompile.history import decompile_history
from dockc.compiler.decompile.llb import decompile
from dockc.errors import CompileError
from dockc.oci.platform import Platform
from tests.conformance.llb.run import Case, Run, load
from tests.conformance.llb.world import compile_options

AMD64 = Platform("linux", "amd64")
WORLD = ("images", "http", "git", "target_platform", "build_platforms", "disabled_caps", "session_id")
# What a Dockerfile cannot say by itself: options, contexts, times, and the name of a cache's owner.
SAID_ELSEWHERE = {"contexts", "epoch", "options", "lint", "windows"}
KNOWN = {
    "add/git-and-http-and-local",
    "add/http-and-local-mixed",
    "arg/proxy-arg-both-cases",
    "arg/proxy-arg-declared",
    "arg/proxy-args",
    "env/base-env-without-equals",
    "from/image-full-config",
    "mounts/cache-namespace",
    "run/options-everything",
    "run/user-from-base",
    "workdir-user/epoch-created-time",
}


def compiled(case: Case) -> Compiled:
    run = Run(case)
    options = compile_options(case.options)
    return run.asking(compiling(run.front, options))


def test_what_is_decompiled_compiles_to_the_same_operations(shared: Path) -> None:
    """On the conformance cases beside this checkout (in ../shared)."""
    same = 0
    for case in load(shared / "conformance" / "llb"):
        if not case.expected["ok"] or case.expected.get("abridged"):
            continue
        first = compiled(case)
        text = decompile(first.definition, platform=first.platform)
        options = {k: v for k, v in case.options.items() if k in WORLD}
        again = compiled(Case(case.name, text.encode(), options, case.expected))
        exact = again.definition.digests == first.definition.digests
        assert exact or checked(text, first.definition, first.platform) != text or case.group == "contexts", case.name
        if case.group in SAID_ELSEWHERE or case.name in KNOWN:
            continue
        assert again.definition.digests == first.definition.digests, f"{case.name}\n{text}"
        same += 1
    assert same > 250


def test_what_does_not_come_back_is_named() -> None:
    state = llb.image("alpine", name="FROM alpine").extra_host("db", "10.0.0.1").run("true", name="RUN true").run("more", name="RUN more")
    definition = state.marshal()
    text = checked(decompile(definition, platform=AMD64), definition, AMD64)
    assert text.startswith("# not exact: 2 of 3 operations come out different, beginning with these.\n")
    assert "\n#   RUN true\n" in text
    assert "RUN more\n" not in text.partition("FROM")[0]


def test_directories_are_spelled_as_commands_spell_them() -> None:
    state = llb.image("alpine").env("PATH", "/bin").file(llb.mkdir("/app", 0o755, parents=True)).dir("/app/").run("true")
    definition = state.marshal()
    text = decompile(definition, platform=AMD64)
    assert text.splitlines()[1:] == ["WORKDIR /app/", "ENV PATH=/bin", 'RUN ["true"]']
    assert checked(text, definition, AMD64) == text


def test_what_comes_back_says_nothing() -> None:
    copy = llb.copy(llb.image("busybox"), "/a b", "/it's", create_dest=True, follow_symlinks=True, dir_contents=True, wildcard=True, empty_wildcard=True)
    mounts = [llb.cache("/c d,e", "//x"), llb.mount('/q"', llb.image("busybox"), readonly=True)]
    definition = llb.image("alpine").env("PATH", "/bin").file(copy).run("true", shell=True, mounts=mounts).marshal()
    text = decompile(definition, platform=AMD64)
    assert checked(text, definition, AMD64) == text, text


def test_stages_mounts_and_links() -> None:
    builder = llb.image("golang:1.22").file(llb.copy(llb.local("context"), "/", "/src", create_dest=True))
    builder = builder.dir("/src").run(
        "go build",
        shell=True,
        mounts=[llb.cache("/root/.cache", "//root/.cache"), llb.mount("/cfg", llb.image("alpine"), readonly=True)],
        secrets=[llb.Secret("tok", target="/run/secrets/tok", optional=True)],
    )
    app = llb.scratch().file(llb.copy(builder, "/src/app", "/app"))
    text = decompile(llb.merge(llb.image("debian:12", platform="linux/arm64"), app).marshal(), platform=AMD64)
    assert text == (
        "FROM golang:1.22 AS s0\n"
        "COPY . /src\n"
        "WORKDIR /src\n"
        "RUN --mount=type=bind,target=/cfg,from=alpine:latest"
        " --mount=type=cache,target=/root/.cache,id=/root/.cache --mount=type=secret,id=tok go build\n"
        "\n"
        "FROM --platform=linux/arm64 debian:12 AS s1\n"
        "COPY --from=s0 --link /src/app /app\n"
    )


def test_what_no_dockerfile_says_is_a_comment() -> None:
    state = llb.image("alpine").env("A", "x\ny").extra_host("db", "10.0.0.1").ulimit("nofile", 1, 2)
    state = state.run("true", exit_codes=[0, 3])
    state = llb.diff(llb.image("alpine"), state.file(llb.mkdir("/d", 0o700), llb.rm("/x"), llb.symlink("a", "/b")))
    text = decompile(state.marshal(), platform=AMD64)
    assert "# ENV A: no Dockerfile can hold a line break\n" in text
    assert "# --add-host db:10.0.0.1\n" in text
    assert "# --ulimit nofile=1:2\n" in text
    assert "# exit codes 0, 3 count as success\n" in text
    assert 'RUN ["mkdir", "-m", "700", "/d"]\nRUN ["rm", "-rf", "/x"]\nRUN ["ln", "-s", "a", "/b"]\n' in text
    assert "# not exact: what was removed is not removed here\n" in text


def test_config_comes_last() -> None:
    config = {
        "Env": ["A=1", 'B=$x "y"'],
        "WorkingDir": "/w",
        "User": "app",
        "Labels": {"k": "v w", "a": ""},
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["CMD-SHELL", "curl x"], "Interval": 30_000_000_000, "Retries": 3},
        "OnBuild": ["RUN x"],
        "Entrypoint": ["/e", "a b"],
        "Cmd": ["/bin/sh", "-c", "run it"],
    }
    text = decompile(llb.image("alpine").env("A", "1").run("x").marshal(), platform=AMD64, config=config)
    assert text.splitlines()[3:] == [
        'ENV B="\\$x \\"y\\""',
        "WORKDIR /w",
        "USER app",
        "STOPSIGNAL SIGINT",
        'LABEL a=""',
        'LABEL k="v w"',
        "EXPOSE 80/tcp",
        'VOLUME ["/data"]',
        "HEALTHCHECK --interval=30s --retries=3 CMD curl x",
        "ONBUILD RUN x",
        'ENTRYPOINT ["/e", "a b"]',
        "CMD run it",
    ]


def test_an_empty_definition() -> None:
    assert decompile(llb.scratch().marshal(), platform=AMD64) == "FROM scratch\n"


def test_history_of_both_builders() -> None:
    image = {
        "config": {"Env": ["PATH=/bin", "A=1 2", "B=x"], "Cmd": ["bash"], "WorkingDir": "/w", "User": "app"},
        "history": [
            {"created_by": "/bin/sh -c #(nop) ADD file:0123456789abcdef in / "},
            {"created_by": '/bin/sh -c #(nop)  CMD ["bash"]', "empty_layer": True},
            {"created_by": "ENV A=1 2 B=x", "empty_layer": True},
            {"created_by": "RUN |1 V=1 /bin/sh -c apt-get update # buildkit"},
            {"created_by": '/bin/sh -c echo "a\tb"'},
            {"created_by": "COPY --chown=app a /w # buildkit"},
            {"created_by": "WORKDIR /w"},
            {"created_by": "USER app", "empty_layer": True},
            {"created_by": "SHELL [/bin/bash -c]", "empty_layer": True},
            {"created_by": "RUN /bin/bash -c make # buildkit"},
            {"created_by": "EXPOSE map[80/tcp:{}]", "empty_layer": True},
            {"created_by": "", "empty_layer": False},
        ],
    }
    assert decompile_history(image).splitlines() == [
        "FROM scratch",
        "# ADD file:0123456789abcdef in /",
        'ENV A="1 2" B=x',
        "# with build arguments V=1",
        "RUN apt-get update",
        'RUN ["/bin/sh", "-c", "echo \\"a\\tb\\""]',
        "COPY --chown=app a /w",
        "WORKDIR /w",
        "USER app",
        'SHELL ["/bin/bash", "-c"]',
        "RUN make",
        "# a layer without a history",
        "ENV PATH=/bin",
        'CMD ["bash"]',
    ]


def test_history_that_is_nonsense() -> None:
    assert decompile_history({"history": [3, {"created_by": None}, {"created_by": "\n\0"}]}) == (
        "FROM scratch\n# a layer without a history\n# RUN \n"
    )
    assert decompile_history({}) == "FROM scratch\n"


def test_builds_inside_builds_are_refused() -> None:
    from dockc.llb import ops

    build = ops.Op(op=ops.BuildOp(-1)).encode()
    end = ops.Op((ops.Input(ops.parse(build).digest),)).encode()
    definition = llb.Definition.parse(b"".join(b"\n" + bytes((len(data),)) + data for data in (build, end)))
    with pytest.raises(CompileError, match="no form for BuildOp"):
        decompile(definition, platform=AMD64)
