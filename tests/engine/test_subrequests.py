"""Questions in place of a build, as clients of a frontend ask them."""

from __future__ import annotations

import asyncio
import json

import pytest

from dockc.compiler.questions import Answers, ContextRequest, Request, converse
from dockc.engine.request import inputs_of
from dockc.engine.subrequests import UnknownSubrequest, answer, described
from dockc.errors import CompileError

FILE = b"# a stage\nFROM scratch AS base\nARG A=1\nfrom base\nRUN --mount=type=secret,id=tok true\n"


def no_files(requests: tuple[Request, ...]) -> Answers:
    return Answers(files={(one.name, file): None for one in requests if isinstance(one, ContextRequest) for file in one.files})


def ask(name: str, file: bytes = FILE) -> dict[str, bytes]:
    async def talk(conversation: object) -> object:
        return converse(conversation, no_files)  # type: ignore[arg-type]

    return asyncio.run(answer(name, inputs_of({}, file), talk))


def test_lint() -> None:
    found = ask("frontend.lint")
    assert found["result.statuscode"] == b"1"
    assert found["version"] == b"1.0.0"
    (warning,) = json.loads(found["result.json"])["warnings"]
    assert warning["ruleName"] == "ConsistentInstructionCasing"
    assert warning["location"]["ranges"][0]["start"]["line"] == 4
    assert b">>> from base" in found["result.txt"]
    clean = ask("frontend.lint", b"FROM scratch\n")
    assert clean["result.statuscode"] == b"0"


def test_outline_and_targets() -> None:
    found = json.loads(ask("frontend.outline")["result.json"])
    assert found["secrets"][0]["name"] == "tok"
    listed = json.loads(ask("frontend.targets")["result.json"])
    assert [one.get("name", "") for one in listed["targets"]] == ["base", ""]
    assert b"base" in ask("frontend.targets")["result.txt"]


def test_what_can_be_asked() -> None:
    assert ask("frontend.subrequests.describe") == described()
    assert {one["name"] for one in json.loads(described()["result.json"])} >= {"frontend.lint", "frontend.outline", "frontend.targets"}
    with pytest.raises(UnknownSubrequest, match="unsupported request nonsense"):
        ask("nonsense")


def test_a_file_that_is_wrong() -> None:
    with pytest.raises(CompileError, match="unknown instruction"):
        ask("frontend.outline", b"FROM scratch\nNONSENSE\n")
