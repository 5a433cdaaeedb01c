"""What each instruction does, for `dockc explain`, the language server and the reference pages."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class InstructionDoc(NamedTuple):
    """One instruction.

    Attributes:
        keyword: upper case.
        syntax: its forms, one a line.
        summary: one sentence.
        text: what it does to the build and to the image, and what its cache key depends on.
        flags: name with dashes to meaning.
        example: a line or two.
        outside: the summary of one before the first FROM, where that is another; else "".
    """

    keyword: str
    syntax: tuple[str, ...]
    summary: str
    text: str
    example: str
    flags: Mapping[str, str] = MappingProxyType({})
    outside: str = ""


_COPY_FLAGS = {
    "--chown": "Owner of the files in the image, `user[:group]` by name or number; variables are expanded.",
    "--chmod": "Mode of the files, octal or symbolic (`u=rwX,go=rX`).",
    "--link": "Put the files in a layer of their own that does not depend on what the stage holds already.",
    "--exclude": "Leave out files that match the pattern; may be repeated.",
}

_DOCS = (
    InstructionDoc(
        "FROM",
        ("FROM [--platform=PLATFORM] IMAGE[:TAG|@DIGEST] [AS NAME]",),
        "Begins a build stage from a base image, an earlier stage, a named context, or `scratch`.",
        "Environment, user, working directory, shell and triggers come from the base's config. Only stages that the "
        "target needs are "
        "built. Variables in FROM are those of ARG instructions before the first FROM. The step's cache key is the "
        "digest that the "
        "image resolves to for the stage's platform.",
        "FROM --platform=$BUILDPLATFORM golang:1.23 AS build",
        {"--platform": "Platform of the base image; without it, the target platform."},
    ),
    InstructionDoc(
        "RUN",
        ("RUN [OPTIONS] COMMAND", 'RUN [OPTIONS] ["PROGRAM", "ARG"...]', "RUN [OPTIONS] <<EOF"),
        "Runs a command in the stage and keeps what it changes as a layer.",
        "The shell form runs through SHELL (`/bin/sh -c` by default); the exec form runs the program itself. The "
        "cache key is the command, "
        "the environment, user, working directory, the mounts and the stage so far; files of bind mounts count by "
        "content. "
        "Cache mounts and secrets do not count.",
        "RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt",
        {
            "--mount": "A mount for this command: type=bind, cache, tmpfs, secret or ssh.",
            "--network": "`default`, `none` or `host`.",
            "--security": "`sandbox` or `insecure`.",
            "--device": "A CDI device.",
        },
    ),
    InstructionDoc(
        "COPY",
        ("COPY [OPTIONS] SRC... DEST", 'COPY [OPTIONS] ["SRC"..., "DEST"]', "COPY <<NAME DEST"),
        "Copies files from the context, another stage, an image or a heredoc into the stage.",
        "Of a directory its contents are copied. A destination that ends in `/` is a directory. The cache key is the "
        "content of the files "
        "(names, modes, owners, bytes; not times), the destination and the flags.",
        "COPY --from=build --chown=65532 /out/app /usr/bin/app",
        {
            **_COPY_FLAGS,
            "--from": "Stage, image or named context to copy from, instead of the build context.",
            "--parents": "Keep the sources' directories below the destination.",
        },
    ),
    InstructionDoc(
        "ADD",
        ("ADD [OPTIONS] SRC... DEST", 'ADD [OPTIONS] ["SRC"..., "DEST"]'),
        "Like COPY, but also downloads URLs and git repositories, and unpacks local archives.",
        "Use COPY for plain files. A URL's cache key is what it serves; give a checksum to pin it.",
        "ADD --checksum=sha256:… https://example.org/tool.tar.gz /opt/",
        {
            **_COPY_FLAGS,
            "--checksum": "Digest of the download (`sha256:…`), or commit of a git source.",
            "--keep-git-dir": "Keep `.git` of a git source.",
            "--unpack": "Unpack archives: also downloaded ones, or with `=false` not even local ones.",
        },
    ),
    InstructionDoc(
        "ENV",
        ("ENV NAME=VALUE...",),
        "Sets environment variables for later instructions and for the image.",
        "Values are expanded with what was set before the instruction. They stay in the image, so they are no place "
        "for secrets. "
        "Every later RUN's cache key depends on them.",
        "ENV PATH=/opt/app/bin:$PATH",
    ),
    InstructionDoc(
        "ARG",
        ("ARG NAME[=DEFAULT]...",),
        "Declares a build argument, from here to the end of the stage.",
        "`--build-arg` sets it. Before the first FROM it is for FROM lines only, and must be declared again inside a "
        "stage. The value is in the "
        "environment of RUN and in the image's history: it is no place for secrets.",
        "ARG VERSION=1.0",
        outside="Declares a build argument for FROM lines; a stage that wants it declares it again.",
    ),
    InstructionDoc(
        "WORKDIR",
        ("WORKDIR PATH",),
        "Sets the working directory for later instructions and for the image; makes it if it is missing.",
        "A relative path starts from the previous one.",
        "WORKDIR /srv/app",
    ),
    InstructionDoc(
        "USER",
        ("USER NAME[:GROUP]", "USER UID[:GID]"),
        "Sets the user for later RUN instructions and for the image.",
        "Names are looked up in the image's own `/etc/passwd` and `/etc/group`. COPY and ADD still make files of "
        "root unless --chown is given.",
        "USER 65532:65532",
    ),
    InstructionDoc(
        "CMD",
        ('CMD ["PROGRAM", "ARG"...]', "CMD COMMAND"),
        "The image's default command, or the arguments of its ENTRYPOINT.",
        "Only the last one of a stage counts. The shell form runs through a shell, which does not pass signals on. "
        "It runs nothing during the build.",
        'CMD ["serve", "--port", "8080"]',
    ),
    InstructionDoc(
        "ENTRYPOINT",
        ('ENTRYPOINT ["PROGRAM", "ARG"...]', "ENTRYPOINT COMMAND"),
        "The program that a container of the image runs.",
        "With the exec form, CMD and the arguments of `docker run` are appended. The shell form ignores both. "
        "Setting it clears a CMD that came "
        "from the base image.",
        'ENTRYPOINT ["/usr/bin/app"]',
    ),
    InstructionDoc(
        "LABEL",
        ("LABEL NAME=VALUE...",),
        "Adds labels to the image config.",
        "No layer and no step comes of it.",
        'LABEL org.opencontainers.image.source="https://example.org/app"',
    ),
    InstructionDoc(
        "EXPOSE",
        ("EXPOSE PORT[/PROTOCOL]...",),
        "Says which ports the program listens on.",
        "It opens nothing by itself; the image config records it.",
        "EXPOSE 8080/tcp",
    ),
    InstructionDoc(
        "VOLUME",
        ("VOLUME PATH...", 'VOLUME ["PATH"...]'),
        "Says which directories hold data that outlives a container.",
        "Each container gets an anonymous volume there. What later steps write below the path stays in the image.",
        "VOLUME /var/lib/data",
    ),
    InstructionDoc(
        "STOPSIGNAL",
        ("STOPSIGNAL SIGNAL",),
        "The signal that asks the image's program to stop.",
        "A name or a number; SIGTERM by default.",
        "STOPSIGNAL SIGQUIT",
    ),
    InstructionDoc(
        "HEALTHCHECK",
        ("HEALTHCHECK [OPTIONS] CMD COMMAND", "HEALTHCHECK NONE"),
        "The command that tells whether a container is healthy.",
        "Exit status 0 is healthy, 1 is not. NONE drops one that the base image has.",
        'HEALTHCHECK --interval=30s CMD ["app", "health"]',
        {
            "--interval": "Time between checks, 30s by default.",
            "--timeout": "Time a check may take, 30s by default.",
            "--start-period": "Time a container may need to start, 0s by default.",
            "--start-interval": "Time between checks during the start period, 5s by default.",
            "--retries": "Failures in a row that make it unhealthy, 3 by default.",
        },
    ),
    InstructionDoc(
        "SHELL",
        ('SHELL ["PROGRAM", "ARG"...]',),
        "The shell for shell forms of RUN, CMD and ENTRYPOINT that follow.",
        "It stays in the image config, so that stages and images built on this one have it too.",
        'SHELL ["/bin/bash", "-o", "pipefail", "-c"]',
    ),
    InstructionDoc(
        "ONBUILD",
        ("ONBUILD INSTRUCTION",),
        "An instruction that runs when another Dockerfile builds on this image.",
        "Triggers run right after that Dockerfile's FROM, and are gone in its image.",
        "ONBUILD COPY . /srv/app",
    ),
    InstructionDoc(
        "MAINTAINER",
        ("MAINTAINER NAME",),
        "Deprecated: the author of the image. Use LABEL.",
        "Sets the config's author.",
        'LABEL org.opencontainers.image.authors="Ada"',
    ),
)

#: Keyword in upper case to its page.
INSTRUCTIONS: Mapping[str, InstructionDoc] = MappingProxyType({doc.keyword: doc for doc in _DOCS})
