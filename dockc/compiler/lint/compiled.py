"""BuildKit's own checks as findings: the Dockerfile is lowered with made-up base images, and what the checks say is taken over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from dockc.compiler.checks import Warning as Check
from dockc.compiler.compile import Front, LintResult, lint
from dockc.compiler.lint.options import LintOptions
from dockc.compiler.options import CompileOptions
from dockc.compiler.resolve import (
    Answers,
    ContextRequest,
    GitAnswer,
    GitRequest,
    HttpAnswer,
    HttpRequest,
    ImageAnswer,
    ImageRequest,
    Request,
    Unanswered,
)
from dockc.errors import CompileError
from dockc.lean import sha256
from dockc.oci import reference as references
from dockc.oci.platform import Platform, normalize, parse

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ROUNDS = 50
#: The platform of made-up builds: lint must say the same on every machine.
PLATFORM = "linux/amd64"

__all__ = ["Check", "check", "made_up"]


def check(front: Front, options: LintOptions) -> LintResult:
    """What BuildKit's lint request would say about a file."""
    try:
        compile_options = CompileOptions.from_attrs(options.attrs, build_platforms=(normalize(parse(PLATFORM)),))
    except CompileError as error:
        return LintResult((), error)
    answers = Answers(_Images(options))
    for _ in range(_ROUNDS):
        try:
            return lint(front, compile_options, answers)
        except Unanswered as error:
            more = made_up(error.requests, options)
            answers = Answers(
                answers.images,
                {**answers.files, **more.files},
                {**answers.http, **more.http},
                {**answers.git, **more.git},
            )
    return LintResult((), CompileError("the file asks about too many images"))


def made_up(requests: Iterable[Request], options: LintOptions | None = None) -> Answers:
    """Answers that say as little as possible: an image has a PATH and nothing else."""
    options = options or LintOptions()
    images: dict[tuple[str, str, str], ImageAnswer] = {}
    files: dict[tuple[str, str], bytes | None] = {}
    http: dict[str, HttpAnswer] = {}
    git: dict[str, GitAnswer] = {}
    for request in requests:
        match request:
            case ImageRequest():
                images[request.key] = _image(request.ref, request.platform, options)
            case ContextRequest():
                for name in request.files:
                    wanted = request.name == "context" and name == ".dockerignore"
                    files[request.name, name] = options.ignore_file if wanted else None
            case HttpRequest():
                http[request.url] = HttpAnswer(_digest(request.url), "2024-01-02T03:04:05Z")
            case GitRequest():
                git[request.identifier] = GitAnswer("0" * 40)
    return Answers(images, files, http, git)


class _Images(Mapping[tuple[str, str, str], ImageAnswer]):
    """Answers for all images, made up when they are looked at: this saves asking for them, and lowering again."""

    def __init__(self, options: LintOptions) -> None:
        self._options = options
        self._known: dict[tuple[str, str, str], ImageAnswer] = {}

    def __getitem__(self, key: tuple[str, str, str]) -> ImageAnswer:
        if key not in self._known:
            self._known[key] = _image(key[0], parse(key[1]), self._options)
        return self._known[key]

    def __contains__(self, key: object) -> bool:
        return True

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _image(ref: str, platform: Platform, options: LintOptions) -> ImageAnswer:
    name = references.parse_normalized(ref).familiar_name()
    architecture = options.images.get(name)
    if architecture:
        platform = Platform(platform.os, architecture)
    config: dict[str, object] = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        config["variant"] = platform.variant
    config["rootfs"] = {"type": "layers", "diff_ids": [_digest(f"layer:{ref}")]}
    config["config"] = {"Env": [_PATH]} if platform.os != "windows" else {}
    return ImageAnswer(ref, _digest(ref), json.dumps(config).encode())


def _digest(text: str) -> str:
    return "sha256:" + sha256(text.encode("utf-8", "surrogateescape"))
