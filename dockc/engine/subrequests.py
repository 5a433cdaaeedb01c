"""Questions about a Dockerfile that a client asks in place of a build (option `requestid`), in the words and forms of
BuildKit's frontend.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from dockc.errors import CompileError, DockcError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dockc.compiler.checks import Warning
    from dockc.compiler.compile import LintResult
    from dockc.compiler.questions import Asking
    from dockc.engine.request import Inputs
    from dockc.grammar.source import Source

    Converse = Callable[[Asking[Any]], Awaitable[Any]]

CAPABILITY = "moby.buildkit.frontend.subrequests"
_RESULTS = [{"name": "result.json", "description": ""}, {"name": "result.txt", "description": ""}]
_KNOWN = {
    "frontend.outline": (
        "List all parameters current build target supports",
        [{"name": "target", "description": "Target build stage"}],
        _RESULTS,
    ),
    "frontend.targets": ("List all targets current build supports", [], _RESULTS),
    "frontend.subrequests.describe": ("List available subrequest types", None, _RESULTS),
    "frontend.lint": ("Lint a Dockerfile", [], [*_RESULTS, {"name": "result.statuscode", "description": ""}]),
}
_VERSION = b"1.0.0"


class UnknownSubrequest(DockcError):
    """A question that nobody answers here.

    Attributes:
        subrequest: which.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"unsupported request {name}", hint=f"Known: {', '.join(sorted(_KNOWN))}.")
        self.subrequest = name


async def answer(name: str, inputs: Inputs, converse: Converse) -> dict[str, bytes]:
    """The metadata that answers a question.

    Args:
        name: of the question.
        inputs: the Dockerfile and its options.
        converse: carries a conversation of the compiler to its end.

    Raises:
        UnknownSubrequest: there is no such question.
        DockcError: the file is wrong, or something about the world cannot be found out.
    """
    from dockc.compiler import compile as compiler
    from dockc.compiler.checktext import checks_text
    from dockc.compiler.outline import outline_text, targets_text
    from dockc.compiler.questions import Answers
    from dockc.engine.compile import explained

    if name not in _KNOWN:
        raise UnknownSubrequest(name)
    source = inputs.front.source
    options = inputs.options.for_platform(inputs.platforms[0])
    sources = [base64.b64encode(source.data).decode()]
    found: Any
    try:
        match name:
            case "frontend.lint":
                found = await converse(compiler.linting(inputs.front, options, Answers()))
                text = checks_text(found.warnings, source, failed=found.error is not None)
                status = b"1" if found.warnings or found.error is not None else b"0"
                return _metadata(as_json(lint_json(found, source)), text) | {"result.statuscode": status}
            case "frontend.outline":
                found = await converse(compiler.outlining(inputs.front, options, Answers()))
                return _metadata(as_json(found | {"sources": sources}), outline_text(found))
            case "frontend.targets":
                listed = compiler.targets(inputs.front)
                return _metadata(as_json({"targets": listed, "sources": sources}), targets_text(listed))
    except CompileError as error:
        raise explained(error, inputs.front) from None
    return described()


def described() -> dict[str, bytes]:
    """What can be asked."""
    listed = [
        {
            "name": name,
            "version": _VERSION.decode(),
            "type": "rpc",
            "description": text,
            "opts": options,
            "inputs": None,
            "metadata": metadata,
            "refs": None,
        }
        for name, (text, options, metadata) in _KNOWN.items()
    ]
    width = max(len(name.removeprefix("frontend.")) for name in _KNOWN)
    rows = [
        ("NAME", "VERSION", "DESCRIPTION"),
        *((name.removeprefix("frontend."), "1.0.0", text) for name, (text, _, _) in _KNOWN.items()),
    ]
    return _metadata(as_json(listed), "".join(f"{name:<{width}} {version:<7} {text}\n" for name, version, text in rows))


def _metadata(data: str, text: str) -> dict[str, bytes]:
    return {
        "result.json": data.rstrip("\n").encode(),
        "result.txt": text.encode("utf-8", "surrogateescape"),
        "version": _VERSION,
    }


def lint_json(result: LintResult, source: Source) -> dict[str, Any]:
    """Findings in the form of a `frontend.lint` result."""
    found: dict[str, Any] = {
        "warnings": [_warning_json(one) for one in result.warnings] or None,
        "sources": [
            {"filename": source.name, "language": "Dockerfile", "data": base64.b64encode(source.data).decode()}
        ],
    }
    if result.error is not None:
        lines = tuple(
            n for start, end in next(iter(result.error.locations), ()) for n in range(start, max(start, end) + 1)
        )
        found["buildError"] = {"message": result.error.message, "location": _location_json(lines)}
    return found


def _warning_json(warning: Warning) -> dict[str, Any]:
    found = {
        "ruleName": warning.rule,
        "description": warning.description,
        "url": warning.url,
        "detail": warning.message,
    }
    return {key: value for key, value in found.items() if value} | {"location": _location_json(warning.lines)}


def _location_json(lines: tuple[int, ...]) -> dict[str, Any]:
    return {"ranges": [{"start": {"line": n}, "end": {"line": n}} for n in lines]} if lines else {}


def as_json(value: object) -> str:
    """Indented JSON that ends in a line end."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
