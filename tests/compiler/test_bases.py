"""Base images that are looked up together: one that is wrong does not silence what is said about another."""

from __future__ import annotations

import pytest

from dockc.compiler.compile import compile, compiling, read
from dockc.compiler.options import CompileOptions
from dockc.compiler.questions import Answers, ContextRequest, ImageAnswer, ImageRequest, Request, Unanswered, converse
from dockc.errors import CompileError
from dockc.grammar.source import Source
from dockc.linter.checks import check
from dockc.linter.options import LintOptions
from dockc.llb.rewrite import sources_of


def test_warnings_about_other_bases_stay_with_an_error() -> None:
    front = read(Source.from_text("FROM arm\nRUN x\nFROM a[b\nRUN y\n"))
    result = check(front, LintOptions(images={"arm": "arm64"}))
    assert result.error is not None
    assert result.error.message == 'failed to parse stage name "a[b": invalid reference format'
    assert [w.rule for w in result.warnings] == ["InvalidDefaultArgInFrom", "InvalidBaseImagePlatform"]


def test_a_base_that_cannot_be_had_comes_with_what_can_be_done() -> None:
    front = read(Source.from_text("FROM private/app\nRUN x\n"))
    with pytest.raises(Unanswered) as asked:
        compile(front)
    (request,) = (one for one in asked.value.requests if isinstance(one, ImageRequest))
    refused = ImageAnswer(request.ref, error="pull access denied", hint="log in first")
    files = {("dockerfile", "Dockerfile.dockerignore"): None, ("context", ".dockerignore"): None}
    with pytest.raises(CompileError) as error:
        compile(front, answers=Answers(images={request.key: refused}, files=files))
    assert (error.value.message, error.value.hint) == ("private/app: pull access denied", "log in first")


def _told(dockerfile: str, answer: ImageAnswer, attrs: dict[str, str] | None = None) -> None:
    """Compile where every image is `answer`."""

    def ask(requests: tuple[Request, ...]) -> Answers:
        files = {(each.name, file): None for each in requests if isinstance(each, ContextRequest) for file in each.files}
        return Answers(images={each.key: answer for each in requests if isinstance(each, ImageRequest)}, files=files)

    options = CompileOptions.from_attrs(attrs or {})
    converse(compiling(Source("Dockerfile", dockerfile.encode()), options), ask)


@pytest.mark.parametrize("use", ["FROM q\nRUN x\n", "FROM alpine\nCOPY --from=q a b\n"])
def test_a_named_context_that_resolves_to_no_reference_is_refused_once_it_is_used(use: str) -> None:
    answer = ImageAnswer("docker.io/library/UP", config=b'{"architecture":"amd64","os":"linux"}')
    attrs = {"context:q": "docker-image://im"}
    if "alpine" in use:
        attrs["context:alpine"] = "docker-image://scratch"
    with pytest.raises(CompileError, match="must be lowercase"):
        _told(use, answer, attrs)
    _told("FROM q AS unused\nRUN x\nFROM scratch\nCOPY a b\n", answer, attrs)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (b'{"created":"2024-01-02T03:04:05+24:00"}', "json: error calling MarshalJSON"),
        (b'{"history":[{"created":"2024-01-02T03:04:05-24:30"}]}', "failed to marshal image config: json: error calling"),
    ],
)
def test_a_base_made_a_day_away_is_refused(config: bytes, message: str) -> None:
    with pytest.raises(CompileError, match=r"timezone hour outside of range \[0,23\]") as caught:
        _told("FROM im\nENV a=b\n", ImageAnswer("docker.io/library/im:latest", config=config))
    assert caught.value.message.startswith(message)
    _told("FROM im AS a\nFROM scratch\nCOPY --from=a a b\n", ImageAnswer("docker.io/library/im:latest", config=config))
    _told("FROM im\n", ImageAnswer("docker.io/library/im:latest", config=config.replace(b"24:", b"23:")))


def _converted(dockerfile: str, becomes: dict[str, str], context: str) -> tuple[list[str], list[str]]:
    """Compile where rules put `becomes` in the place of images; what was asked for, and the sources of the result."""
    asked: list[str] = []

    def ask(requests: tuple[Request, ...]) -> Answers:
        asked.extend(each.ref if isinstance(each, ImageRequest) else f"{each.name}" for each in requests if isinstance(each, ImageRequest | ContextRequest))
        files = {(each.name, file): None for each in requests if isinstance(each, ContextRequest) for file in each.files}
        images = {
            each.key: ImageAnswer(each.ref, becomes=becomes.get(each.ref, ""), config=b'{"architecture":"amd64","os":"linux"}')
            for each in requests
            if isinstance(each, ImageRequest)
        }
        return Answers.load(Answers(images=images, files=files).dump())  # what files of answers keep of it is enough

    options = CompileOptions.from_attrs({"context:dep": context})
    compiled = converse(compiling(Source("Dockerfile", dockerfile.encode()), options), ask)
    return asked, sorted(op.source.identifier for _, op in sources_of(compiled.definition))


def test_a_named_image_that_a_rule_turns_into_something_else_is_loaded_as_that() -> None:
    image, other = "docker.io/library/alpine:1", "docker.io/library/other:2"
    copies = "FROM scratch\nCOPY --from=dep /a /\n"
    asked, used = _converted(copies, {image: "local://instead"}, "docker-image://alpine:1")
    assert (asked[-2:], used) == ([image, "instead"], ["local://instead"])
    _, used = _converted(copies, {image: "https://example.com/a.tar"}, "docker-image://alpine:1")
    assert used == ["https://example.com/a.tar"]
    # Rules may lead on; each image on the way is asked about once.
    asked, used = _converted(copies, {image: f"docker-image://{other}", other: "local://last"}, "docker-image://alpine:1")
    assert (asked.count(image), asked.count(other), used) == (1, 1, ["local://last"])


def test_rules_that_lead_in_a_circle_and_bases_that_become_no_image_are_refused() -> None:
    one, two = "docker.io/library/a:1", "docker.io/library/b:1"
    with pytest.raises(CompileError, match="context recursion limit exceeded"):
        _converted("FROM dep\nRUN x\n", {one: f"docker-image://{two}", two: f"docker-image://{one}"}, "docker-image://a:1")
    with pytest.raises(CompileError, match=f"ref mutated by policy to non-image: docker-image://{two} -> local://x"):
        _converted("FROM b:1\nRUN x\n", {two: "local://x"}, "docker-image://a:1")
