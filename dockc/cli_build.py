"""The command `build`: the words of `docker buildx build` to a request, the call, a view of what came back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dockc.cli_options import (
    Answers,
    BuildArg,
    BuildContext,
    Context,
    Executor,
    File,
    Label,
    Level,
    Locked,
    NoCache,
    Offline,
    Opt,
    Passes,
    PlatformOption,
    Squash,
    Store,
    Target,
)

Tag = Annotated[list[str], typer.Option("--tag", "-t", metavar="NAME[:TAG]", help="Name the image; may be repeated.")]
OutputOption = Annotated[
    list[str],
    typer.Option("--output", "-o", metavar="type=TYPE[,KEY=VALUE]", help="What to make: type=oci, docker, local, tar, image or registry, with dest=PATH; or a directory. Default: the image stays in dockc's store."),
]
#: Options that say yes; Docker's take `=true` and `=false` as well.
FLAGS = ("--no-cache", "--pull", "--push", "--load", "--check", "--quiet", "--offline", "--rm", "--force-rm", "--compress")
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


def build(
    context: Context = ".",
    file: File = "",
    tag: Tag = [],  # noqa: B006  typer copies defaults
    output: OutputOption = [],  # noqa: B006
    target: Target = "",
    build_arg: BuildArg = [],  # noqa: B006
    platform: PlatformOption = [],  # noqa: B006
    label: Label = [],  # noqa: B006
    annotation: Annotated[list[str], typer.Option("--annotation", metavar="[TYPE:]KEY=VALUE", help="Annotate the image's manifest, or what TYPE says: manifest, index, manifest-descriptor, index-descriptor; manifest[linux/amd64] for one platform.")] = [],  # noqa: B006
    build_context: BuildContext = [],  # noqa: B006
    opt: Opt = [],  # noqa: B006
    no_cache: NoCache = False,
    no_cache_filter: Annotated[list[str], typer.Option("--no-cache-filter", metavar="STAGE", help="Run every step of these stages.")] = [],  # noqa: B006
    pull: Annotated[bool, typer.Option("--pull", help="Ask the registry about every base image; one that only the store has is an error.")] = False,
    call: Annotated[str, typer.Option("--call", metavar="METHOD", help="build, or only ask: check (lint as BuildKit does), outline (what can be set) or targets; with `,format=json` as JSON. Default: build.")] = "build",
    check: Annotated[bool, typer.Option("--check", help="Short for --call=check.")] = False,
    secret: Annotated[list[str], typer.Option("--secret", metavar="id=ID[,src=PATH|env=NAME]", help="A secret for `RUN --mount=type=secret`.")] = [],  # noqa: B006
    ssh: Annotated[list[str], typer.Option("--ssh", metavar="ID[=SOCKET|KEY]", help="An SSH agent or key for `RUN --mount=type=ssh`.")] = [],  # noqa: B006
    allow: Annotated[list[str], typer.Option("--allow", metavar="ENTITLEMENT", help="Allow network.host or security.insecure.")] = [],  # noqa: B006
    network: Annotated[str, typer.Option("--network", metavar="MODE", help="Network of RUN steps: default, none or host, which it allows.")] = "",
    add_host: Annotated[list[str], typer.Option("--add-host", metavar="HOST=IP", help="A line for /etc/hosts of RUN steps; the IP host-gateway is this machine.")] = [],  # noqa: B006
    shm_size: Annotated[str, typer.Option("--shm-size", metavar="SIZE", help="Size of /dev/shm in RUN steps, such as 128m.")] = "",
    ulimit: Annotated[list[str], typer.Option("--ulimit", metavar="NAME=SOFT[:HARD]", help="A resource limit of RUN steps.")] = [],  # noqa: B006
    cgroup_parent: Annotated[str, typer.Option("--cgroup-parent", metavar="PATH", help="Control group below which RUN steps get theirs, as root.")] = "",
    push: Annotated[bool, typer.Option("--push", help="Push the image: short for --output=type=registry.")] = False,
    load: Annotated[bool, typer.Option("--load", help="Short for --output=type=docker: load into the local Docker engine.")] = False,
    progress: Annotated[str, typer.Option("--progress", metavar="MODE", envvar="BUILDKIT_PROGRESS", help="auto, tty, plain, rawjson, quiet (the digest only) or none. Default: auto.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the image's digest only.")] = False,
    metadata_file: Annotated[Path | None, typer.Option("--metadata-file", metavar="FILE", help="Write the result's digests as JSON.")] = None,
    iidfile: Annotated[Path | None, typer.Option("--iidfile", metavar="FILE", help="Write the image's digest.")] = None,
    record: Annotated[Path | None, typer.Option("--record", metavar="FILE", help="Write times and sizes of the steps as JSON, for `dockc explain --graph`.")] = None,
    answers: Answers = None,
    offline: Offline = False,
    locked: Locked = None,
    level: Level = 1,
    passes: Passes = "",
    squash: Squash = 0,
    executor: Executor = "auto",
    snapshotter: Annotated[str, typer.Option("--snapshotter", metavar="NAME", help="How layers are stacked: auto, overlay or native.")] = "auto",
    parallelism: Annotated[int, typer.Option("--parallelism", min=0, help="Steps that run at once; 0: as many as there are cores.")] = 0,
    cache_from: Annotated[list[str], typer.Option("--cache-from", "--import-cache", hidden=True)] = [],  # noqa: B006
    cache_to: Annotated[list[str], typer.Option("--cache-to", "--export-cache", hidden=True)] = [],  # noqa: B006
    attest: Annotated[list[str], typer.Option("--attest", hidden=True)] = [],  # noqa: B006
    provenance: Annotated[str, typer.Option("--provenance", hidden=True)] = "",
    sbom: Annotated[str, typer.Option("--sbom", hidden=True)] = "",
    builder: Annotated[str, typer.Option("--builder", hidden=True)] = "",
    rm: Annotated[bool, typer.Option("--rm", hidden=True)] = False,
    force_rm: Annotated[bool, typer.Option("--force-rm", hidden=True)] = False,
    compress: Annotated[bool, typer.Option("--compress", hidden=True)] = False,
    store: Store = None,
) -> int:
    """Build an image. No daemon and no root needed."""
    values = dict(locals())
    from dockc.commands.build import build_command

    return build_command(values)


def plain_flags(arguments: Sequence[str]) -> list[str]:
    """A command line of `build` whose flags have no values: `--push=true` is `--push`, and `--push=false` nothing."""
    if not arguments or arguments[0] != "build":
        return list(arguments)
    found: list[str] = []
    for at, text in enumerate(arguments):
        if text == "--":
            return [*found, *arguments[at:]]
        flag, equals, value = text.partition("=")
        if equals and flag in FLAGS and value in _TRUE | _FALSE:
            found += [flag] if value in _TRUE else []
        else:
            found.append(text)
    return found
