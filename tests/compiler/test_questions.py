"""Questions and answers as data: asked in as few rounds as possible, written down and read back."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from dockc.compiler.compile import compile, compiling
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
    Memory,
    Request,
    Unanswered,
    converse,
)
from dockc.engine.world import converse_with
from dockc.errors import CompileError, DockcError, Fault, UsageError
from dockc.grammar.source import Source
from dockc.oci import platform as platforms

if TYPE_CHECKING:
    from dockc.compiler.questions import Asking

AMD64 = platforms.parse("linux/amd64")
OPTIONS = CompileOptions.from_attrs({}, build_platforms=(AMD64,), host_platform=AMD64)
CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["x"]}}'


def image(ref: str, config: bytes = CONFIG) -> Answers:
    request = ImageRequest(ref, AMD64)
    return Answers(images={request.key: ImageAnswer(ref, "sha256:" + "1" * 64, config)})


def test_everything_that_is_needed_is_asked_for_at_once() -> None:
    text = "FROM alpine AS a\nFROM busybox\nCOPY --from=a /x /x\nCOPY --from=debian /y /y\n"
    wanted = next(compiling(Source.from_text(text), OPTIONS))
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
    wanted = next(compiling(Source.from_text("FROM alpine AS a\nFROM busybox\nRUN x\n"), OPTIONS))
    assert [request.ref for request in wanted if isinstance(request, ImageRequest)] == [
        "docker.io/library/busybox:latest"
    ]


def test_triggers_of_a_base_may_ask_for_more() -> None:
    rounds = []

    def ask(requests: tuple[Request, ...]) -> Answers:
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

    memory = Memory()
    source = Source.from_text("FROM onbuild\n")
    compiled = converse(memory.heard(compiling(source, OPTIONS)), ask)
    assert len(rounds) == 2
    assert len(memory.answers.images) == 2
    again = compile(source, OPTIONS, memory.answers)
    assert again.definition.to_bytes() == compiled.definition.to_bytes()


def test_what_is_missing_is_named() -> None:
    with pytest.raises(Unanswered) as caught:
        compile(Source.from_text("FROM alpine:3\n"), OPTIONS)
    assert "image docker.io/library/alpine:3 for linux/amd64" in caught.value.message
    assert "--answers" in caught.value.hint


def test_a_resolver_that_leaves_something_open_is_no_endless_loop() -> None:
    with pytest.raises(Unanswered):
        converse(compiling(Source.from_text("FROM alpine\n"), OPTIONS), lambda requests: Answers())


def test_a_question_without_an_answer_is_an_error_where_it_was_asked() -> None:
    heard = []

    def conversation() -> Asking[str]:
        try:
            yield (HttpRequest("https://h/x"),)
        except DockcError as error:
            heard.append(error.message)
            yield (HttpRequest("https://h/y"),)
        return "end"

    def ask(requests: tuple[Request, ...]) -> Answers:
        if requests == (HttpRequest("https://h/x"),):
            raise DockcError("no route")
        return Answers(http={"https://h/y": HttpAnswer("d")})

    memory = Memory()
    assert converse(memory.heard(conversation()), ask) == "end"
    assert heard == ["no route"]
    assert set(memory.answers.http) == {"https://h/y"}


def test_what_was_answered_before_an_error_stays_known() -> None:
    memory = Memory()
    files = {("context", ".dockerignore"): None, ("dockerfile", "Dockerfile.dockerignore"): None}
    answers = image("docker.io/library/alpine:latest").merged(Answers(files=files))
    with pytest.raises(CompileError):
        converse(memory.heard(compiling(Source.from_text("FROM alpine\nENV\n"), OPTIONS)), lambda requests: answers)
    with pytest.raises(CompileError):
        converse(memory.heard(compiling(Source.from_text("FROM alpine\nVOLUME $a\n"), OPTIONS)), lambda _: answers)
    assert memory.answers.images == answers.images


def test_each_question_is_asked_once_and_before_the_first_instruction() -> None:
    asked: list[Request] = []
    stages = "".join(f"FROM im{n % 7} AS s{n}\nCOPY --from=other{n % 5} a /\nCOPY b /\n" for n in range(40))
    text = stages + "FROM scratch\n" + "".join(f"COPY --from=s{n} / /{n}\n" for n in range(40))
    conversation = compiling(Source.from_text(text), OPTIONS)
    asked += next(conversation)
    assert len(asked) == len(set(asked))
    answers = Answers(files={(r.name, file): None for r in asked if isinstance(r, ContextRequest) for file in r.files})
    for request in asked:
        if isinstance(request, ImageRequest):
            answers = answers.merged(image(request.ref))
    with pytest.raises(StopIteration) as end:
        conversation.send(answers)
    assert len(end.value.value.module.ops()) > 80


class Slow:
    """Answers on a loop, after others have had their turn; counts how often it is asked."""

    def __init__(self) -> None:
        self.rounds = 0

    async def __call__(self, requests: tuple[Request, ...]) -> Answers:
        self.rounds += 1
        for _ in range(20):
            await asyncio.sleep(0)
        answers = Answers()
        for request in requests:
            if isinstance(request, ImageRequest):
                answers = answers.merged(image(request.ref))
            elif isinstance(request, ContextRequest):
                answers = answers.merged(Answers(files={(request.name, file): None for file in request.files}))
        return answers


def test_more_conversations_at_once_than_there_are_threads() -> None:
    """With one thread for all of them: none holds it while it waits."""

    async def main() -> list[bytes]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        texts = [f"FROM im{n}\nCOPY --from=other{n} a b\n" for n in range(30)]
        asking = (converse_with(compiling(Source.from_text(text), OPTIONS), ask) for text in texts)
        return [each.image_json for each in await asyncio.gather(*asking)]

    ask = Slow()
    assert len(asyncio.run(main())) == 30
    assert ask.rounds == 30


def test_an_error_of_who_answers_ends_the_conversation_and_no_thread_stays() -> None:
    async def ask(requests: tuple[Request, ...]) -> Answers:
        raise CompileError("pull access denied", fault=Fault("image-not-available"))

    with pytest.raises(CompileError, match="pull access denied"):
        asyncio.run(converse_with(compiling(Source.from_text("FROM alpine\n"), OPTIONS), ask))


def test_a_conversation_that_is_cancelled_while_it_waits_is_closed() -> None:
    closed = []

    def conversation() -> Asking[None]:
        try:
            yield (HttpRequest("https://h/x"),)
        finally:
            closed.append(True)

    async def main() -> None:
        asked = asyncio.Event()

        async def ask(requests: tuple[Request, ...]) -> Answers:
            asked.set()
            return await asyncio.Future()

        task = asyncio.create_task(converse_with(conversation(), ask))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert closed == [True]


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
