"""Questions and answers as data: asked in as few rounds as possible, written down and read back."""

from __future__ import annotations

import json

import pytest

from dockc.compiler.compile import compile, compile_asking, read
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
    Unanswered,
    missing,
)
from dockc.errors import UsageError
from dockc.grammar.source import Source
from dockc.oci import platform as platforms

AMD64 = platforms.parse("linux/amd64")
OPTIONS = CompileOptions.from_attrs({}, build_platforms=(AMD64,), host_platform=AMD64)
CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["x"]}}'


def image(ref: str, config: bytes = CONFIG) -> Answers:
    request = ImageRequest(ref, AMD64)
    return Answers(images={request.key: ImageAnswer(ref, "sha256:" + "1" * 64, config)})


def test_everything_that_is_needed_is_asked_for_at_once() -> None:
    text = "FROM alpine AS a\nFROM busybox\nCOPY --from=a /x /x\nCOPY --from=debian /y /y\n"
    front = read(Source.from_text(text))
    assert front.result.dockerfile is not None
    wanted = missing(front.result.dockerfile, OPTIONS, Answers())
    assert {request.ref for request in wanted if isinstance(request, ImageRequest)} == {
        "docker.io/library/alpine:latest",
        "docker.io/library/busybox:latest",
        "docker.io/library/debian:latest",
    }
    assert {file for request in wanted if isinstance(request, ContextRequest) for file in request.files} == {
        ".dockerignore",
        "Dockerfile.dockerignore",
    }


def test_stages_that_nothing_needs_are_not_asked_for() -> None:
    front = read(Source.from_text("FROM alpine AS a\nFROM busybox\nRUN x\n"))
    assert front.result.dockerfile is not None
    wanted = missing(front.result.dockerfile, OPTIONS, Answers())
    assert [request.ref for request in wanted if isinstance(request, ImageRequest)] == [
        "docker.io/library/busybox:latest"
    ]


def test_triggers_of_a_base_may_ask_for_more() -> None:
    rounds = []

    def ask(requests: tuple[object, ...]) -> Answers:
        rounds.append(requests)
        answers = Answers()
        for request in requests:
            if isinstance(request, ImageRequest):
                trigger = json.loads(CONFIG)
                if "onbuild" in request.ref:
                    trigger["config"] = {"OnBuild": ["COPY --from=other /a /b"]}
                answers = answers.merged(image(request.ref, json.dumps(trigger).encode()))
            elif isinstance(request, ContextRequest):
                answers = answers.merged(Answers(files={(request.name, file): None for file in request.files}))
        return answers

    compiled, known = compile_asking(Source.from_text("FROM onbuild\n"), OPTIONS, ask)
    assert len(rounds) == 2
    assert len(known.images) == 2
    assert missing(compiled.dockerfile, OPTIONS, known) == ()


def test_what_is_missing_is_named() -> None:
    with pytest.raises(Unanswered) as caught:
        compile(Source.from_text("FROM alpine:3\n"), OPTIONS)
    assert "image docker.io/library/alpine:3 for linux/amd64" in caught.value.message
    assert "--answers" in caught.value.hint


def test_a_resolver_that_leaves_something_open_is_no_endless_loop() -> None:
    with pytest.raises(Unanswered):
        compile_asking(Source.from_text("FROM alpine\n"), OPTIONS, lambda requests: Answers())


ANSWERS = Answers(
    images={
        ("docker.io/library/a:1", "linux/amd64", ""): ImageAnswer(
            "docker.io/library/a:1", "sha256:" + "a" * 64, CONFIG
        ),
        ("docker.io/library/b:1", "linux/arm/v7", ""): ImageAnswer("mirror.example/b:1", "", b'{ "os": "linux" }'),
        ("docker.io/library/c@sha256:" + "c" * 64, "linux/amd64", "store"): ImageAnswer("", error="not found"),
    },
    files={("context", ".dockerignore"): b"*.log\n\xff", ("context", "none"): None},
    http={"https://h/x": HttpAnswer("sha256:" + "d" * 64, "2024-01-02T03:04:05Z", archive=True)},
    git={"git://h/r.git#main": GitAnswer("9f", b"tree x\ncommitter y <z> 1 +0000\n")},
)


def test_answers_survive_being_written_down() -> None:
    text = ANSWERS.dump()
    again = Answers.load(text)
    assert again.dump() == text
    assert again.files == ANSWERS.files
    assert again.http == ANSWERS.http
    assert again.git == ANSWERS.git
    for key, answer in ANSWERS.images.items():
        assert again.images[key].config == answer.config
        assert (again.images[key].digest, again.images[key].error) == (answer.digest, answer.error)


def test_an_answers_file_may_be_written_by_hand() -> None:
    answers = Answers.load(
        '{"images": [{"ref": "docker.io/library/x:1", "platform": "amd64", "config": {"os": "linux"}}]}'
    )
    assert answers.has(ImageRequest("docker.io/library/x:1", AMD64, "pull"))
    assert not answers.has(HttpRequest("https://h/x"))
    assert not answers.has(GitRequest("git://h/x"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not an answers file: expected an object"),
        ('{"version": 2}', "version 2 is not supported"),
        ('{"images": [{"ref": "x"}]}', "'platform' is missing"),
        ('{"images": [{"ref": 1, "platform": "amd64"}]}', "expected a string"),
        ('{"images": [{"ref": "x", "platform": "!"}]}', "not an answers file"),
    ],
)
def test_files_of_another_shape_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Answers.load(text, "my.json")
    assert caught.value.message.startswith("my.json: ")
    assert message in caught.value.message
