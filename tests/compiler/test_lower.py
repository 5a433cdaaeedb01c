"""Lowering, instruction by instruction: the operations, their names, the image and its history."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dockc.compiler.compile import compiling, linting, read
from dockc.compiler.ir.ops import Copy, ExecOp, FileOp, MergeOp, Mkdir, Mkfile, SourceOp
from dockc.compiler.options import CompileOptions
from dockc.compiler.questions import Answers, GitAnswer, GitRequest, ImageAnswer, ImageRequest, Request, converse
from dockc.errors import CompileError
from dockc.grammar.source import Source
from dockc.llb import caps
from dockc.llb.modes import Network, Security, Sharing
from dockc.oci import platform as platforms
from tests.compiler.conftest import HOST, World, op_of

Build = Any


# --- stages and bases ---------------------------------------------------------------------------------


def test_steps_are_numbered_in_their_stage(build: Build) -> None:
    names = build.names("FROM alpine AS a\nRUN x\nFROM debian\nWORKDIR /w\nCOPY --from=a /x /y\n")
    assert names == [
        "[stage-1 1/3] FROM docker.io/library/debian:latest@sha256:" + digest("docker.io/library/debian:latest"),
        "[stage-1 2/3] WORKDIR /w",
        "[a 1/2] FROM docker.io/library/alpine:latest@sha256:" + digest("docker.io/library/alpine:latest"),
        "[a 2/2] RUN x",
        "[stage-1 3/3] COPY --from=a /x /y",
    ]


def digest(ref: str) -> str:
    import hashlib

    return hashlib.sha256(ref.encode()).hexdigest()


def test_the_only_stage_has_no_name_in_its_steps(build: Build) -> None:
    assert build.names("FROM scratch\nCOPY a /\n")[-1] == "[1/1] COPY a /"


def test_stages_that_nothing_needs_are_left_out(build: Build) -> None:
    ops = build("FROM alpine AS a\nRUN x\nFROM scratch\nCOPY a /\n").module.ops()
    assert [type(op) for op in ops] == [SourceOp, FileOp]


def test_scratch_alone_is_an_empty_definition(build: Build) -> None:
    compiled = build("FROM scratch\n")
    assert compiled.definition.to_bytes() == b""
    assert compiled.image.working_dir == "/"


def test_a_base_may_be_given_by_an_argument(build: Build) -> None:
    text = "ARG B=alpine\nFROM $B\n"
    assert "alpine" in build.names(text)[0]
    assert "busybox" in build.names(text, {"build-arg:B": "busybox"})[0]


def test_a_platform_shows_in_names_when_several_are_built(build: Build) -> None:
    attrs = {"platform": "linux/arm64", "multi-platform": "1"}
    assert build.names("FROM alpine\nWORKDIR /a\n", attrs)[-1] == "[linux/arm64 2/2] WORKDIR /a"
    text = "FROM --platform=linux/amd64 alpine\nARG TARGETARCH\nRUN x\n"
    assert build.names(text, attrs)[-1] == "[linux/amd64->arm64 2/2] RUN x"


@pytest.mark.parametrize(
    ("text", "message", "lines"),
    [
        ("FROM Alpine\n", 'failed to parse stage name "Alpine": invalid reference format: repository name', [1]),
        ("FROM $X\n", "base name ($X) should not be blank", [1]),
        ("FROM --platform=$X alpine\n", "empty platform value from expression $X", [1]),
        ("FROM --platform=toaster alpine\n", "failed to parse platform toaster: ", [1, 1]),
        ("FROM a AS a\nCOPY --from=1 /x /y\n", "invalid stage index 1", []),
        ("FROM scratch\nCOPY --from=$X /x /y\n", "variable expansion is not supported for --from", []),
        ("FROM scratch AS a\nCOPY --from=b a b\nFROM scratch AS b\n", "cannot copy from stage", None),
        (
            "FROM scratch AS a\nCOPY --from=b a b\nFROM scratch AS b\nCOPY --from=a a b\n",
            "circular dependency detected on stage: a",
            [2, 4],
        ),
        ("FROM x AS a--b\nFROM a-\n", "failed to parse stage name", [2]),
        ("FROM x AS a-\n", "invalid context name a-: invalid reference format", []),
    ],
)
def test_wrong_bases(build: Build, text: str, message: str, lines: list[int] | None) -> None:
    if lines is None:
        text += "FROM a\n"
        lines = [2]
    error = build.error(text)
    assert message in error.message
    assert [location[0][0] for location in error.locations] == lines


def test_a_misspelt_target_is_answered_with_the_near_one(build: Build) -> None:
    error = build.error("FROM scratch AS build\n", {"target": "buld"})
    assert error.message == 'target stage "buld" could not be found (did you mean build?)'
    assert error.suggestion == "build"


def test_a_target_is_found_in_any_case(build: Build) -> None:
    assert build("FROM scratch AS a\nCMD x\nFROM scratch\n", {"target": "A"}).image.cmd[-1] == "x"


# --- ARG, ENV, WORKDIR, USER, SHELL -------------------------------------------------------------------


def test_all_values_of_env_are_expanded_before_the_first_is_set(build: Build) -> None:
    image = build("FROM scratch\nENV A=1\nENV A=2 B=$A\n").image
    assert image.env[1:] == ["A=2", "B=1"]


def test_a_process_sees_variables_in_the_order_of_assignment(build: Build) -> None:
    op = build.last("FROM scratch\nENV A=1 B=2\nENV A=3\nRUN x\n")
    assert op.env[1:] == ("B=2", "A=3")


def test_arg_takes_option_then_default_then_global(build: Build) -> None:
    text = "ARG G=g\nARG D=d\nFROM alpine\nARG G\nARG D=own\nARG O\nRUN x\n"
    assert build.history(text, {"build-arg:O": "o"})[-1] == "RUN |3 G=g D=own O=o /bin/sh -c x # buildkit"


def test_env_hides_arg_in_history(build: Build) -> None:
    assert build.history("FROM scratch\nARG A=1\nENV A=2\nRUN x\n")[-1] == "RUN |1 A=2 /bin/sh -c x # buildkit"


def test_workdir_makes_a_directory_owned_by_the_user(build: Build) -> None:
    (action,) = build.last("FROM scratch\nUSER me:7\nWORKDIR /a/../b\n").actions
    assert isinstance(action, Mkdir)
    assert (action.path, action.parents, action.mode) == ("/b", True, 0o755)
    assert action.owner is not None
    assert (action.owner.user, action.owner.group) == ("me", 7)


def test_workdir_at_the_root_makes_nothing(build: Build) -> None:
    compiled = build("FROM scratch\nWORKDIR /\n")
    assert compiled.module.result is None
    assert compiled.image.history[-1].empty_layer


def test_windows_paths(build: Build) -> None:
    attrs = {"platform": "windows/amd64"}
    image = build("FROM scratch\nWORKDIR C:\\\\app\nWORKDIR x\n", attrs).image
    assert image.working_dir == "\\app\\x"
    assert build.error("FROM scratch\nWORKDIR D:\\\\app\n", attrs).message == (
        "normalizing workdir: normalizing working directory: removing drive letter: "
        "The specified path is not on the system drive (C:)"
    )
    assert build.history("FROM scratch\nRUN dir\n", attrs)[-1] == "RUN cmd /S /C dir # buildkit"


def test_shell_is_used_by_later_shell_forms(build: Build) -> None:
    image = build('FROM scratch\nSHELL ["/bin/bash", "-c"]\nCMD a b\n').image
    assert image.cmd == ["/bin/bash", "-c", "a b"]


# --- RUN ----------------------------------------------------------------------------------------------


def test_run_flags(build: Build) -> None:
    assert build.last("FROM scratch\nRUN --network=none x\n").network == Network.NONE
    assert build.last("FROM scratch\nRUN x\n", {"force-network-mode": "host"}).network == Network.HOST
    assert build.last("FROM scratch\nRUN --security=insecure x\n").security == Security.INSECURE
    devices = build.last("FROM scratch\nRUN --device=a/b=c,required x\n", devices=(("d/e=f", True),)).devices
    assert devices == (("d/e=f", True), ("a/b=c", False))


def test_options_that_the_engine_does_not_know_are_left_out(build: Build) -> None:
    attrs = {"ulimit": "core=0", "cgroup-parent": "/x", "shm-size": "5", "memory": "9"}
    everything = build.last("FROM scratch\nRUN x\n", attrs)
    assert everything.ulimits == (("core", 0, 0),)
    assert everything.meta.resources is not None
    assert [mount.target for mount in everything.mounts] == ["/", "/dev/shm"]
    gone = {
        *(caps.EXEC_META_ULIMIT, caps.EXEC_META_CGROUP_PARENT, caps.EXEC_MOUNT_TMPFS_SIZE),
        caps.EXEC_META_LINUX_RESOURCES,
    }
    nothing = build.last("FROM scratch\nRUN x\n", attrs, caps=caps.ALL - gone)
    assert (nothing.ulimits, nothing.cgroup_parent, nothing.meta.resources) == ((), "", None)
    assert [mount.target for mount in nothing.mounts] == ["/"]


def test_a_script_heredoc_is_a_file_that_is_run(build: Build) -> None:
    op = build.last("FROM scratch\nRUN <<EOF\n#!/bin/sh\necho\nEOF\n")
    assert op.args == ("/bin/sh", "-c", "/dev/pipes/EOF")
    mount = op.mounts[1]
    assert (mount.target, mount.readonly, mount.selector) == ("/dev/pipes/", True, "/")
    (action,) = mount.source.op.actions
    assert isinstance(action, Mkfile)
    assert (action.path, action.mode, action.data) == ("/EOF", 0o755, b"#!/bin/sh\necho\n")


def test_other_heredocs_go_to_the_shell(build: Build) -> None:
    compiled = build("FROM scratch\nRUN <<-EOF\n\techo a\n\techo b\nEOF\n")
    (op,) = compiled.module.ops()
    assert op.args[-1] == "echo a\necho b\n"
    assert op.meta.name == "[1/1] RUN <<-EOF (echo a...)"
    assert build.last("FROM scratch\nRUN cat <<A <<B\n1\nA\n2\nB\n").args[-1] == "cat <<A <<B\n1\nA\n2\nB"


def test_a_run_without_arguments_is_an_error_only_where_it_is_needed(build: Build) -> None:
    assert build.error("FROM scratch\nRUN []\n").message == "arguments are required"
    build("FROM scratch AS a\nRUN []\nFROM scratch\n")


def test_secrets_are_masked_in_names(build: Build) -> None:
    compiled = build("FROM scratch\nENV T=1\nRUN --mount=type=secret,id=t,env=T echo $T\n")
    op = compiled.module.ops()[-1]
    assert op.meta.name.endswith("echo ****")
    (secret,) = op.secrets
    assert (secret.id, secret.env, secret.target, secret.optional) == ("t", "T", None, True)


def test_secret_and_ssh_files(build: Build) -> None:
    text = "FROM scratch\nRUN --mount=type=secret,id=t --mount=type=ssh,required,uid=3 x\n"
    op = build.last(text)
    assert (op.secrets[0].target, op.secrets[0].mode) == ("/run/secrets/t", 0o400)
    assert (op.ssh[0].uid, op.ssh[0].mode, op.ssh[0].optional) == (3, 0o600, False)
    assert "SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0" in op.env


def test_cache_mounts(build: Build) -> None:
    text = "FROM scratch\nWORKDIR /w\nRUN --mount=type=cache,target=c,sharing=locked,mode=0700 x\n"
    mount = build.last(text, {"build-arg:BUILDKIT_CACHE_MOUNT_NS": "ns"}).mounts[1]
    assert (mount.target, mount.cache_id, mount.sharing) == ("/w/c", "ns/c", Sharing.LOCKED)
    assert mount.selector == "/cache"
    assert mount.source.op.actions[0].mode == 0o700


def test_bind_mounts_name_what_they_use(build: Build) -> None:
    compiled = build("FROM scratch\nRUN --mount=target=/m,source=src,rw x\n")
    source = next(op for op in compiled.module.ops() if isinstance(op, SourceOp))
    assert dict(source.attrs)["local.followpaths"] == '["src"]'
    mount = compiled.module.ops()[-1].mounts[1]
    assert (mount.selector, mount.no_output, mount.readonly) == ("/src", True, False)


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ("type=bind,target=/", 'invalid mount target "/"'),
        ("type=ssh,source=x", "ssh does not support source"),
        ("from=b,target=/x", 'cannot mount from stage "b" to "/x", stage needs to be defined before'),
    ],
)
def test_wrong_mounts(build: Build, mount: str, message: str) -> None:
    error = build.error(f"FROM scratch AS a\nRUN --mount={mount} x\nFROM scratch AS b\nFROM a\n")
    assert message in error.message
    assert error.locations == (((2, 2),),)


# --- COPY and ADD -------------------------------------------------------------------------------------


def copies(build: Build, line: str, before: str = "", **more: Any) -> list[Copy]:
    op = build.last(f"FROM scratch\n{before}{line}\n", **more)
    assert isinstance(op, FileOp)
    return [action for action in op.actions if isinstance(action, Copy)]


@pytest.mark.parametrize(
    ("dest", "expected"),
    [("/x", "/x"), ("/x/", "/x/"), (".", "/w/"), ("x", "/w/x"), ("./x/.", "/w/x/."), ("/a/../b/", "/b/"), ("..", "/")],
)
def test_destinations(build: Build, dest: str, expected: str) -> None:
    (copy,) = copies(build, f"COPY a {dest}", "WORKDIR /w\n")
    assert copy.dest == expected


def test_sources_of_the_context(build: Build) -> None:
    (copy,) = copies(build, "COPY --chown=1:g --chmod=0640 --exclude=*.o ./a/../b /c")
    assert (copy.src, copy.mode, copy.exclude) == ("/b", 0o640, ("*.o",))
    assert copy.owner is not None
    assert (copy.owner.user, copy.owner.group) == (1, "g")
    assert (copy.follow_symlinks, copy.dir_contents, copy.wildcard, copy.unpack) == (True, True, True, False)


def test_parents(build: Build) -> None:
    (copy,) = copies(build, "COPY --parents a/./b/c /d/")
    assert (copy.src, copy.include, copy.required) == ("/a", ("b/c",), ("/a/b/c",))
    (copy,) = copies(build, "COPY --parents a/*.go /d/")
    assert (copy.src, copy.include, copy.required) == ("/", ("a/*.go",), ())


@pytest.mark.parametrize("mode", ["u+x", "a=rX,go-w", "+t", "g=u", "ugo=rwx"])
def test_symbolic_modes(build: Build, mode: str) -> None:
    (copy,) = copies(build, f"COPY --chmod={mode} a /b")
    assert copy.mode_str == mode


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("8", "invalid chmod parameter: '8'. it should be octal string and between 0 and 07777"),
        ("10000", "invalid chmod parameter: '10000'. it should be octal string and between 0 and 07777"),
        ("u+x,", "invalid syntax"),
        ("rwx", "invalid syntax"),
    ],
)
def test_wrong_modes(build: Build, mode: str, message: str) -> None:
    assert build.error(f"FROM scratch\nCOPY --chmod={mode} a /b\n").message == message


def test_linked_copies_are_layers_of_their_own(build: Build) -> None:
    compiled = build("FROM alpine\nCOPY --link a /b\n")
    _, _, file, merge = compiled.module.ops()
    assert isinstance(merge, MergeOp)
    assert file.base is None
    assert file.meta.progress_group is not None
    assert (file.meta.name, merge.meta.name) == ("[2/2] COPY --link a /b", "[2/2] LINK COPY --link a /b")
    assert merge.meta.progress_group is not None
    assert file.meta.progress_group.id == merge.meta.progress_group.id
    chmod = build("FROM alpine\nCOPY --link --chmod=1 a /b\n").module.ops()[-1]
    assert isinstance(chmod, FileOp)


def test_heredoc_files(build: Build) -> None:
    op = build.last('FROM scratch\nENV A=1\nCOPY <<F <<"G" /d/\n$A "x"\nF\n$A\nG\n')
    files = [copy.source.op.actions[0] for copy in op.actions]
    assert [(file.path, file.data) for file in files] == [("/F", b'1 "x"\n'), ("/G", b"$A\n")]


def test_add_of_urls_and_repositories(build: Build) -> None:
    checksum = "sha256:" + "a" * 64
    (copy,) = copies(build, f"ADD --checksum={checksum} https://h/a/b.tgz?x /d/")
    source = op_of(copy.source, SourceOp)
    assert (copy.src, copy.unpack) == ("/b.tgz", False)
    assert dict(source.attrs) == {"http.checksum": checksum, "http.filename": "b.tgz"}
    (copy,) = copies(build, "ADD --keep-git-dir https://h/r.git#v1:sub /d/")
    source = op_of(copy.source, SourceOp)
    attrs = dict(source.attrs)
    assert source.identifier == "git://h/r.git#v1:sub"
    assert (copy.src, attrs["git.keepgitdir"]) == ("/", "true")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("COPY https://h/x /y", "source can't be a URL for COPY"),
        ("COPY git@h:r /y", "source can't be a git ref for COPY"),
        ("ADD --checksum=sha256:x a /y", "checksum requires HTTP(S) or Git sources"),
        ("ADD --checksum=sha256:x https://a/ https://b/ /y", "checksum can't be specified for multiple sources"),
        ("ADD --checksum=x https://a/b /y", "invalid checksum digest format"),
        ("ADD https://h/r.git?ref=a#b /y", 'ref conflicts: "b" vs "a"'),
        ("ADD --keep-git-dir https://h/r.git?keep-git-dir=0 /y", "inconsistent keep-git-dir configuration"),
    ],
)
def test_wrong_sources(build: Build, line: str, message: str) -> None:
    assert build.error(f"FROM scratch\n{line}\n").message == message


def test_only_the_paths_that_are_used_are_asked_for(build: Build) -> None:
    def follow(text: str) -> str | None:
        source = next(op for op in build(text).module.ops() if isinstance(op, SourceOp))
        return dict(source.attrs).get("local.followpaths")

    assert follow("FROM scratch\nCOPY b a /x/\nADD ./c /y\n") == '["a","b","c"]'
    assert follow("FROM scratch\nCOPY . /x/\n") is None


# --- the image ----------------------------------------------------------------------------------------


def test_metadata(build: Build) -> None:
    text = (
        "FROM scratch\nMAINTAINER me\nLABEL a=1 b=2\nVOLUME /v\nEXPOSE 80-81 53/UDP\nSTOPSIGNAL sigterm\n"
        'HEALTHCHECK --interval=90s --timeout=1500ms CMD x\nENTRYPOINT e\nCMD ["c"]\nONBUILD RUN y\n'
    )
    compiled = build(text)
    image = compiled.image
    assert image.author == "me"
    assert image.labels == {"a": "1", "b": "2"}
    assert list(image.exposed_ports) == ["53/udp", "80/tcp", "81/tcp"]
    assert image.on_build == ["RUN y"]
    history = [entry.created_by for entry in image.history]
    assert history[-3:] == [
        "HEALTHCHECK {Test:[CMD-SHELL x] Interval:1m30s Timeout:1.5s StartPeriod:0s StartInterval:0s Retries:0}",
        'ENTRYPOINT ["/bin/sh" "-c" "e"]',
        'CMD ["c"]',
    ]
    assert json.loads(compiled.image_json)["config"]["StopSignal"] == "sigterm"


def test_an_entrypoint_drops_the_command_of_the_base(build: Build) -> None:
    images = {"docker.io/library/alpine:latest": {"Cmd": ["base"], "Entrypoint": ["e"]}}
    assert build("FROM alpine\nENTRYPOINT x\n", images=images).image.cmd == []
    assert build('FROM alpine\nCMD ["own"]\nENTRYPOINT x\n', images=images).image.cmd == ["own"]


@pytest.mark.parametrize(
    ("port", "message"),
    [
        ("x", "invalid containerPort: x"),
        ("80/icmp", 'invalid port: "80/icmp": invalid proto: icmp'),
        ("/tcp", 'invalid port: "/tcp": no port specified'),
        ("300.1.1.1:1:2", "invalid IP address: 300.1.1.1"),
        ("1-2:80-82", "invalid ranges specified for container and host Ports: 80-82 and 1-2"),
        ("81-80", "invalid containerPort: 81-80"),
        ("65536", "invalid containerPort: 65536"),
        ("x:80", "invalid hostPort: x"),
    ],
)
def test_wrong_ports(build: Build, port: str, message: str) -> None:
    assert build.error(f"FROM scratch\nEXPOSE {port}\n").message == message


def test_a_hostile_number_of_ports_is_refused(build: Build) -> None:
    assert "names more than" in build.error("FROM scratch\nEXPOSE" + " 0-65535" * 17 + "\n").message


def test_labels_of_the_options_win(build: Build) -> None:
    assert build("FROM scratch\nLABEL a=1 b=2\n", {"label:a": "9"}).image.labels == {"a": "9", "b": "2"}


# --- triggers, contexts, epoch ------------------------------------------------------------------------


def test_triggers_run_first_and_once(build: Build) -> None:
    images = {"docker.io/library/base:latest": {"OnBuild": ["RUN t", "COPY --from=dep /a /b"]}}
    text = "FROM alpine AS dep\nFROM base AS a\nRUN own\nFROM a\nRUN last\n"
    names = [name.partition("] ")[2] for name in build.names(text, images=images)]
    assert [name.partition("@")[0] for name in names] == [
        "FROM docker.io/library/base:latest",
        "ONBUILD RUN t",
        "FROM docker.io/library/alpine:latest",
        "ONBUILD COPY --from=dep /a /b",
        "RUN own",
        "RUN last",
    ]


def test_a_wrong_trigger_is_reported_at_its_from(build: Build) -> None:
    images = {"docker.io/library/base:latest": {"OnBuild": ["NOPE"]}}
    error = build.error("FROM scratch AS x\nFROM base\n", images=images)
    assert error.message.startswith("unknown instruction: NOPE")
    assert error.locations == (((2, 2),),)


def test_named_contexts(build: Build) -> None:
    text = "FROM alpine\nCOPY --from=files /a /b\n"
    attrs = {"context:alpine": "docker-image://busybox", "context:files": "local:dir"}
    names = build.names(text, attrs, session="s")
    assert names[:2] == ["[context alpine] busybox", "[context files] load from client"]
    source = build(text, attrs, session="s").module.ops()[1]
    assert source.identifier == "local://dir"
    assert dict(source.attrs)["local.followpaths"] == '["a"]'


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nothing", "invalid context specifier nothing for alpine"),
        ("ftp://x", "unsupported context source ftp for alpine"),
        ("oci-layout://s", 'oci-layout reference "s" has no digest'),
        ("input:x", "invalid input x for alpine"),
        ("git://h/r?x", 'query "x" has no value'),
    ],
)
def test_wrong_contexts(build: Build, spec: str, message: str) -> None:
    error = build.error("FROM alpine\n", {"context:alpine": spec})
    assert error.message == message
    assert error.locations == (((1, 1),),)


def test_a_remote_context_holds_the_dockerfile_too(build: Build) -> None:
    compiled = build("FROM scratch\nCOPY a /\n", {"context": "https://h/r.git#main:sub"})
    source, file = compiled.module.ops()
    assert source.identifier == "git://h/r.git#main:sub"
    assert file.meta.locations[0].source.origin.op is source


def test_the_epoch_stamps_history_and_directories(build: Build) -> None:
    compiled = build("FROM scratch\nWORKDIR /a\n", {"build-arg:SOURCE_DATE_EPOCH": "86400"})
    assert compiled.image.history[-1].created == "1970-01-02T00:00:00Z"
    (op,) = compiled.module.ops()
    assert op.actions[0].timestamp == 86400 * 10**9


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("yesterday", "invalid SOURCE_DATE_EPOCH: yesterday"),
        ("ts", "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD"),
    ],
)
def test_wrong_epochs(build: Build, value: str, message: str) -> None:
    error = build.error("FROM scratch AS ts\nFROM scratch\nRUN x\n", {"build-arg:SOURCE_DATE_EPOCH": value})
    assert message in error.message


def test_an_epoch_beyond_all_years_matters_once_an_image_holds_it(build: Build) -> None:
    attrs = {"build-arg:SOURCE_DATE_EPOCH": "253402300800"}
    assert "year outside of range" in build.error("FROM scratch\nUSER a\n", attrs).message
    assert build("FROM scratch\n", attrs).epoch.seconds == 253402300800
    assert "could not be found" in build.error("FROM scratch\nUSER a\n", attrs | {"target": "x"}).message
    early = build("FROM scratch\nUSER a\n", {"build-arg:SOURCE_DATE_EPOCH": "-62135596801"})
    assert early.image.history[0].created == "0000-12-31T23:59:59Z"


def test_an_epoch_without_a_time_is_no_epoch(build: Build) -> None:
    text = "FROM scratch AS ts\nADD https://h/x /\nFROM scratch\nARG SOURCE_DATE_EPOCH\nRUN x\n"
    compiled = build(text, {"build-arg:SOURCE_DATE_EPOCH": "ts"})
    assert compiled.epoch is None
    assert compiled.image.history[-1].created_by == "RUN |1 SOURCE_DATE_EPOCH= /bin/sh -c x # buildkit"


def test_stages_for_an_sbom(build: Build) -> None:
    text = "ARG BUILDKIT_SBOM_SCAN_CONTEXT\nARG BUILDKIT_SBOM_SCAN_STAGE=dep\nFROM alpine AS dep\nFROM scratch\nCOPY --from=dep /a /\n"
    compiled = build(text, {"no-cache": "dep", "build-arg:BUILDKIT_SBOM_SCAN_CONTEXT": "true"})
    assert list(compiled.extras) == ["context", "dep"]
    assert compiled.ignore_cache
    assert len(compiled.extra_definition("dep").ops) == 2
    with pytest.raises(KeyError):
        compiled.extra_definition("nothing")


def test_errors_are_compile_errors_with_places(build: Build) -> None:
    error = build.error("FROM scratch\nRUN a\n\nVOLUME $X\n")
    assert isinstance(error, CompileError)
    assert error.message == "VOLUME specified can not be an empty string"
    assert error.locations == (((4, 4),),)


def test_processes_carry_settings_of_their_stage(build: Build) -> None:
    images = {"docker.io/library/alpine:latest": {"User": "svc", "WorkingDir": "/home", "Env": ["X=1"]}}
    op = build.last("FROM alpine\nRUN x\n", {"hostname": "h", "build-arg:HTTP_PROXY": "p"}, images=images)
    assert isinstance(op, ExecOp)
    assert (op.user, op.cwd, op.hostname) == ("svc", "/home", "h")
    assert op.env[0] == "X=1" and op.env[1].startswith("PATH=")
    assert op.proxy is not None and op.proxy.http_proxy == "p"


def test_a_finding_about_an_image_that_is_only_mounted_has_no_place_in_the_file() -> None:
    class Foreign(World):
        def image(self, request: ImageRequest) -> ImageAnswer:
            return super().image(ImageRequest(request.ref, platforms.parse("linux/s390x")))

    text = "FROM scratch\nRUN --mount=from=im,target=/m x\n"
    options = CompileOptions.from_attrs({}, host_platform=HOST, build_platforms=(HOST,))
    compiled = converse(compiling(Source.from_text(text), options), Foreign())
    assert [(finding.rule, finding.lines) for finding in compiled.warnings] == [("InvalidBaseImagePlatform", ())]


def test_names_in_capitals_keep_letters_without_a_single_capital(build: Build) -> None:
    assert build.names("FROM scratch\nRUN\t\u00df\u0131 x\n")[-1] == "[1/1] RUN\t\u00dfI x"


@pytest.mark.parametrize(
    ("triggers", "message"),
    [
        ({"im": ["COPY --from=im a b"]}, "ONBUILD triggers of image im lead back to it"),
        ({"im": ["COPY --from=x a /m"], "x": ["COPY --from=im a b"]}, "lead back to it"),
        (
            {f"{'i' * n}m": [f"COPY --from={'i' * (n + 1)}m a b"] * 2 for n in range(1, 20)},
            "ONBUILD triggers lead to more than 1000 further images",
        ),
    ],
)
def test_triggers_without_end_are_refused(build: Build, triggers: dict[str, list[str]], message: str) -> None:
    images = {f"docker.io/library/{name}:latest": {"OnBuild": each} for name, each in triggers.items()}
    error = build.error("FROM scratch\n\nFROM im\n", images=images)
    assert message in error.message
    assert error.locations == (((3, 3),),)


def test_triggers_of_a_mounted_image_are_found_at_line_zero() -> None:
    images = {"docker.io/library/im:latest": {"OnBuild": ["ENV a b"]}}
    front = read(Source.from_text("FROM scratch\nRUN --mount=from=im,target=/m x\n"))
    options = CompileOptions.from_attrs({}, host_platform=HOST, build_platforms=(HOST,))
    found = converse(linting(front, options), World(images))
    assert [(each.rule, each.lines) for each in found.warnings] == [("LegacyKeyValueFormat", (0,))]


def test_an_epoch_in_a_zone_that_no_image_can_name() -> None:
    class Far(World):
        def answer(self, request: Request) -> Answers:
            if isinstance(request, GitRequest):
                commit = b"tree " + b"4" * 40 + b"\nauthor A <a@x> 1 +0000\ncommitter B <b@x> 1 +2500\n\n"
                return Answers(git={request.identifier: GitAnswer(commit_object=commit)})
            return super().answer(request)

    attrs = {"context": "https://h/r.git", "build-arg:SOURCE_DATE_EPOCH": "context"}
    options = CompileOptions.from_attrs(attrs, host_platform=HOST, build_platforms=(HOST,))
    with pytest.raises(CompileError, match=r"timezone hour outside of range \[0,23\]"):
        converse(compiling(Source.from_text("FROM scratch\nUSER a\n"), options), Far())


def test_wrong_triggers_are_reported_at_the_target_first(build: Build) -> None:
    images = {"docker.io/library/im:latest": {"OnBuild": ["COPY a"]}}
    error = build.error("FROM im AS a\nFROM im\nCOPY --from=a b c\n", images=images)
    assert error.locations == (((2, 2),),)


def test_undefined_variables_are_reported_in_the_order_of_their_look_up(build: Build) -> None:
    found = build.warnings("FROM scratch\nLABEL l=${Z:-$Y}$X$Y\n")
    assert [message.split("'")[1] for _, message in found] == ["$Y", "$Z", "$X"]
    found = build.warnings("FROM scratch$B$A\n")
    assert [message.split("'")[1] for _, message in found] == ["B", "A"]
