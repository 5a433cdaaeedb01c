"""A compiler for tests: in its small world every image exists, and no file does."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

import pytest

from dockc.compiler.compile import Compiled, compiling
from dockc.compiler.ir.ops import Op, Value
from dockc.compiler.options import CompileOptions
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
    converse,
)
from dockc.errors import CompileError
from dockc.grammar.source import Source
from dockc.oci import platform as platforms

HOST = platforms.parse("linux/amd64")


AnyOp = TypeVar("AnyOp", bound=Op)


def op_of(value: Value | None, kind: type[AnyOp]) -> AnyOp:
    """The operation that a value comes from, which is of this kind."""
    assert value is not None
    assert isinstance(value.op, kind)
    return value.op


class World:
    """Answers every request; remembers what it was asked."""

    def __init__(self, images: dict[str, dict[str, Any]] | None = None) -> None:
        self.images = images or {}
        self.asked: list[Request] = []
        self.rounds = 0

    def __call__(self, requests: tuple[Request, ...]) -> Answers:
        self.rounds += 1
        self.asked += requests
        answers = Answers()
        for request in requests:
            answers = answers.merged(self.answer(request))
        return answers

    def answer(self, request: Request) -> Answers:
        match request:
            case ImageRequest():
                return Answers(images={request.key: self.image(request)})
            case ContextRequest():
                return Answers(files={(request.name, file): None for file in request.files})
            case HttpRequest():
                return Answers(http={request.url: HttpAnswer()})
            case GitRequest():
                return Answers(git={request.identifier: GitAnswer()})

    def image(self, request: ImageRequest) -> ImageAnswer:
        config = {
            "architecture": request.platform.architecture,
            "os": request.platform.os,
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]},
            "config": {"Env": ["PATH=/bin"]} | self.images.get(request.ref, {}),
        }
        digest = "sha256:" + hashlib.sha256(request.ref.encode()).hexdigest()
        return ImageAnswer(request.ref, digest, json.dumps(config).encode())


class Build:
    """Compiles texts in the small world."""

    def __call__(
        self,
        text: str,
        attrs: dict[str, str] | None = None,
        images: dict[str, dict[str, Any]] | None = None,
        **more: Any,
    ) -> Compiled:
        more.setdefault("build_platforms", (HOST,))
        options = CompileOptions.from_attrs(attrs or {}, host_platform=HOST, **more)
        return converse(compiling(Source.from_text(text), options), World(images))

    def names(self, text: str, attrs: dict[str, str] | None = None, **more: Any) -> list[str]:
        """The progress names of all operations, in order."""
        return [op.meta.name for op in self(text, attrs, **more).module.ops()]

    def history(self, text: str, attrs: dict[str, str] | None = None, **more: Any) -> list[str]:
        """What the image's history says."""
        return [entry.created_by for entry in self(text, attrs, **more).image.history]

    def last(self, text: str, attrs: dict[str, str] | None = None, **more: Any) -> Any:
        """The last operation."""
        return self(text, attrs, **more).module.ops()[-1]

    def error(self, text: str, attrs: dict[str, str] | None = None, **more: Any) -> CompileError:
        """The error that the text is refused with."""
        with pytest.raises(CompileError) as caught:
            self(text, attrs, **more)
        return caught.value

    def warnings(self, text: str, attrs: dict[str, str] | None = None, **more: Any) -> list[tuple[str, str]]:
        """What the checks find: rule and message."""
        return [(warning.rule, warning.message) for warning in self(text, attrs, **more).warnings]


@pytest.fixture(scope="session")
def build() -> Build:
    """A compiler in a small world: every image exists, no file does."""
    return Build()
