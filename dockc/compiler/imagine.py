"""Made-up answers, for where nobody asks a registry: they say as little as possible and are the same everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from dockc.base.hashing import sha256
from dockc.base.record import Record, made
from dockc.compiler.questions import (
    Answers,
    ContextRequest,
    GitAnswer,
    GitRequest,
    HttpAnswer,
    HttpRequest,
    ImageAnswer,
    ImageRequest,
    Request,
)
from dockc.golang.ospaths import DEFAULT_PATH
from dockc.oci import reference as references
from dockc.oci.platform import Platform

#: The platform of made-up builds: they say the same on every machine.
PLATFORM = "linux/amd64"


class Known(Record):
    """What is known all the same.

    Attributes:
        ignore_file: the context's `.dockerignore`; None where there is none.
        architectures: those of images that are not of the platform asked for, by familiar name.
    """

    ignore_file: bytes | None = None
    architectures: Mapping[str, str] = made(dict)


def made_up(requests: Iterable[Request], known: Known | None = None) -> Answers:
    """Answers that say as little as possible: an image has a PATH and nothing else."""
    known = known or Known()
    images: dict[tuple[str, str, str], ImageAnswer] = {}
    files: dict[tuple[str, str], bytes | None] = {}
    http: dict[str, HttpAnswer] = {}
    git: dict[str, GitAnswer] = {}
    for request in requests:
        match request:
            case ImageRequest():
                images[request.key] = _image(request.ref, request.platform, known)
            case ContextRequest():
                for name in request.files:
                    wanted = request.name == "context" and name == ".dockerignore"
                    files[request.name, name] = known.ignore_file if wanted else None
            case HttpRequest():
                http[request.key] = HttpAnswer(_digest(request.url), "2024-01-02T03:04:05Z")
            case GitRequest():
                git[request.identifier] = GitAnswer("0" * 40)
    return Answers(images, files, http, git)


def _image(ref: str, platform: Platform, known: Known) -> ImageAnswer:
    name = references.parse_normalized(ref).familiar_name()
    architecture = known.architectures.get(name)
    if architecture:
        platform = Platform(platform.os, architecture)
    config: dict[str, object] = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        config["variant"] = platform.variant
    config["rootfs"] = {"type": "layers", "diff_ids": [_digest(f"layer:{ref}")]}
    config["config"] = {"Env": [f"PATH={DEFAULT_PATH}"]} if platform.os != "windows" else {}
    return ImageAnswer(ref, _digest(ref), json.dumps(config).encode())


def _digest(text: str) -> str:
    return "sha256:" + sha256(text.encode("utf-8", "surrogateescape"))
