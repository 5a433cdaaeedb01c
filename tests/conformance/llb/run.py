"""One case: what the compiler makes of it, and how that differs from what is expected."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dockc.compiler.checks import Warning
from dockc.compiler.compile import Front, compiling, linting, outlining, read, targets
from dockc.compiler.options import CompileOptions
from dockc.compiler.questions import Memory, converse
from dockc.errors import CompileError
from dockc.grammar import cst
from dockc.grammar.dump import sexpr, tree
from dockc.grammar.source import Source
from tests.conformance.llb import pb
from tests.conformance.llb.world import World, compile_options

if TYPE_CHECKING:
    from dockc.compiler.questions import Asking

T = TypeVar("T")
PANIC = "panic: "


# A field whose order varies takes with it those that are made of the same bytes.
_FOLLOWS = {
    "image": ("image_json", "image_sha256"),
    "ops": ("definition", "definition_sha256", "digests", "head", "source_map"),
    "source_map": ("definition", "definition_sha256"),
}


class Case:
    """A Dockerfile, its options, and what is expected of them."""

    def __init__(
        self,
        name: str,
        source: bytes,
        options: dict[str, Any],
        expected: dict[str, Any],
        definition: bytes | None = None,
        unstable: tuple[str, ...] = (),
        tree_text: str | None = None,
        tree: Any = None,
    ) -> None:
        self.name = name
        self.source = source
        self.options = options
        self.expected = expected
        self.definition = definition
        self.unstable = frozenset(unstable).union(*(_FOLLOWS.get(name, ()) for name in unstable))
        self.tree_text = tree_text
        self.tree = tree

    @property
    def group(self) -> str:
        """The folder it stands in."""
        return self.name.partition("/")[0]


def load(directory: Path) -> Iterator[Case]:
    """All cases below a directory, in either layout."""
    if (directory / "manifest.json").is_file():
        yield from _load_corpus(directory)
        return
    for path in sorted(directory.rglob("case.json")):
        folder = path.parent
        expected = json.loads((folder / "expected.json").read_bytes())
        definition, text, tree = (folder / name for name in ("definition.pb", "expected.ast.txt", "expected.ast.json"))
        name = folder.relative_to(directory)
        yield Case(
            "/".join(name.parts) or folder.name,
            (folder / "Dockerfile").read_bytes(),
            json.loads(path.read_bytes()),
            expected,
            definition.read_bytes() if definition.is_file() else None,
            tuple(expected.get("nondeterministic", ())),
            text.read_text() if text.is_file() else None,
            json.loads(tree.read_bytes()) if tree.is_file() else None,
        )


def _load_corpus(directory: Path) -> Iterator[Case]:
    for entry in json.loads((directory / "manifest.json").read_bytes()):
        file = entry["file"]
        expectation = directory / "expected" / f"{file}.json"
        if expectation.is_file():
            expected = json.loads(expectation.read_bytes())
            unstable = tuple(expected.get("unstable", ()))
            yield Case(file, (directory / file).read_bytes(), {}, expected, unstable=unstable)


# --- running ------------------------------------------------------------------------------------------


class Run:
    """Compiles a case and keeps what was asked on the way."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.world = World(case.options)
        self.memory = Memory()
        self.front: Front = read(Source(case.options.get("filename", "Dockerfile"), case.source))

    def asking(self, conversation: Asking[T]) -> T:
        """Answer what the compiler asks from the case's world."""
        return converse(self.memory.heard(conversation), self.world.answer)

    def differences(self) -> list[str]:
        """What is not as expected; [] when all is well."""
        found = self._tree()
        try:
            options = compile_options(self.case.options)
        except CompileError as error:
            return found + self._refused(error)
        found += [*self._build(options), *self._lint(options)]
        expected = self.case.expected
        for name, action in (
            ("outline", lambda: self.asking(outlining(self.front, options, self.memory.answers))),
            ("targets", lambda: targets(self.front)),
        ):
            if name in expected:
                found += self._compare(name, _or_error(action), expected[name])
        return found

    def _tree(self) -> list[str]:
        """The parse tree: printed back, dumped as text, and in full."""
        parsed = self.front.parsed
        found = []
        if cst.text(parsed.file).encode("utf-8", "surrogateescape") != self.case.source:
            found.append("the parse tree does not print back to its file")
        if self.case.tree_text is not None:
            found += self._compare("ast", sexpr(parsed), self.case.tree_text.rstrip("\n"))
        if self.case.tree is not None:
            found += self._compare("ast json", tree(parsed), self.case.tree)
        return found

    def _refused(self, error: CompileError) -> list[str]:
        """Options that are wrong fail every request alike."""
        expected, actual = self.case.expected, {"error": error_json(error)}
        if expected["ok"]:
            return [f"error: {error.message}"]
        found = self._compare("error", actual["error"], expected["error"])
        for name in ("lint", "outline", "targets"):
            if name in expected:
                found += self._compare(name, actual, expected[name])
        return found

    def _build(self, options: CompileOptions) -> list[str]:
        expected = self.case.expected
        warnings: list[Warning] = []
        try:
            compiled = self.asking(compiling(self.front, options, self.memory.answers, warnings=warnings))
            definition = compiled.definition
        except CompileError as error:
            if expected["ok"]:
                return [f"error: {error.message}"]
            found = self._compare_error(error_json(error), expected["error"])
            return found + self._warnings(warnings)
        if not expected["ok"]:
            return [f"no error, but expected: {expected['error']['message']}", *self._warnings(warnings)]
        found = self._warnings(warnings)
        data = definition.to_bytes()
        found += self._compare("digests", list(definition.digests), expected.get("digests"))
        stable = "definition" not in self.case.unstable
        if stable and self.case.definition is not None and data != self.case.definition:
            found.append("definition: " + _explain(data, self.case.definition))
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        found += self._compare("definition_sha256", digest, expected.get("definition_sha256"))
        found += self._compare("head", definition.head[0] if definition.head else "", expected.get("head"))
        if "ops" in expected:
            found += self._ops(data)
        text = compiled.image_json.decode("utf-8", "surrogateescape")
        if "image_sha256" in expected:
            image_digest = "sha256:" + hashlib.sha256(compiled.image_json).hexdigest()
            found += self._compare("image_sha256", image_digest, expected["image_sha256"])
        else:
            found += self._compare("image_json", text, expected["image_json"])
            found += self._compare("image", json.loads(text), expected["image"])
        base = compiled.base_image
        actual_base = None if base is None else json.loads(base.marshal())
        found += self._compare("base_image", actual_base, expected.get("base_image"))
        epoch = None if compiled.epoch is None else compiled.epoch.seconds
        found += self._compare("epoch", epoch, expected.get("epoch"))
        found += self._compare("is_ignore_cache", compiled.ignore_cache, expected.get("is_ignore_cache", False))
        extras = {}
        for name in compiled.extras:
            extra = compiled.extra_definition(name)
            extras[name] = {"head": extra.head[0] if extra.head else "", "ops": len(extra.ops)}
        return found + self._compare("sbom_extras", extras, expected.get("sbom_extras", {}))

    def _lint(self, options: CompileOptions) -> list[str]:
        if "lint" not in self.case.expected:
            return []
        result = self.asking(linting(self.front, options, self.memory.answers))
        actual: dict[str, Any] = {"warnings": [warning_json(warning) for warning in result.warnings]}
        if result.error is not None:
            actual["build_error"] = {
                "message": result.error.message,
                "ranges": _merged_ranges(result.error.locations),
            }
        expected = dict(self.case.expected["lint"])
        if "lint" in self.case.unstable:
            actual["warnings"] = _sorted(actual["warnings"])
            expected["warnings"] = _sorted(expected["warnings"])
            _accept_alternative(actual, expected, self.case.expected)
        return self._compare("lint", actual, expected)

    def _ops(self, data: bytes) -> list[str]:
        """Operations and source map, read by the protobuf package and set beside the recorded ones."""
        expected = self.case.expected
        found = self._compare("ops", pb.ops(data), expected["ops"])
        if "source_map" in expected:
            found += self._compare("source_map", pb.source_map(data), expected["source_map"])
        return found

    # --- comparing ------------------------------------------------------------------------------------

    def _warnings(self, warnings: list[Warning]) -> list[str]:
        return self._compare("warnings", [warning_json(w) for w in warnings], self.case.expected["warnings"])

    def _compare_error(self, actual: dict[str, Any], expected: dict[str, Any]) -> list[str]:
        alternatives = expected.get("alternatives", ())
        expected = {key: value for key, value in expected.items() if key != "alternatives"}
        if actual["message"] in alternatives:
            expected["message"] = actual["message"]
        return self._compare("error", actual, expected)

    def _compare(self, name: str, actual: Any, expected: Any) -> list[str]:
        if _is_panic(expected):
            # The reference crashed; anything that is not a crash is right.
            return []
        actual = _readable(actual)
        if name in self.case.unstable and isinstance(actual, str):
            return []
        if name in self.case.unstable:
            actual, expected = _sorted_deep(actual), _sorted_deep(expected)
        return [] if actual == expected else [f"{name}: {_first_difference(actual, expected)}"]


def _is_panic(expected: Any) -> bool:
    error = expected.get("error") if isinstance(expected, dict) else None
    return isinstance(error, dict) and str(error.get("message", "")).startswith(PANIC)


def _or_error(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except CompileError as error:
        return {"error": error_json(error)}


def _accept_alternative(actual: dict[str, Any], expected: dict[str, Any], case: dict[str, Any]) -> None:
    """An error of the lint request may be any of the equally right ones."""
    problem = expected.get("build_error")
    right = case.get("error", {}).get("alternatives", ())
    message = actual.get("build_error", {}).get("message")
    if problem and (message in right or set(_names(message)) == set(_names(problem["message"]))):
        expected["build_error"] = problem | {"message": message}


def _names(message: str | None) -> list[str]:
    return (message or "").partition(": ")[2].split(", ")


# --- forms --------------------------------------------------------------------------------------------


def warning_json(warning: Warning) -> dict[str, Any]:
    """A finding in the form of the cases."""
    out: dict[str, Any] = {
        "rule": warning.rule,
        "description": warning.description,
        "message": warning.message,
        "ranges": [{"start": [line, 0], "end": [line, 0]} for line in warning.lines],
    }
    if warning.url:
        out["url"] = warning.url
    return out


def error_json(error: CompileError) -> dict[str, Any]:
    """An error in the form of the cases."""
    out: dict[str, Any] = {"message": error.message}
    if error.locations:
        out["locations"] = [
            [{"start": [start, 0], "end": [end, 0]} for start, end in location] for location in error.locations
        ]
        out["lines"] = sorted(
            {line for location in error.locations for start, end in location for line in range(start, end + 1)}
        )
    if error.suggestion:
        out["suggestion"] = error.suggestion
    return out


def _merged_ranges(locations: tuple[tuple[tuple[int, int], ...], ...]) -> list[dict[str, Any]]:
    """All ranges by line, overlapping ones made one."""
    ranges = sorted(item for location in locations for item in location)
    merged: list[list[int]] = []
    for start, end in ranges:
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return [{"start": [start, 0], "end": [end, 0]} for start, end in merged]


def _sorted(items: list[Any]) -> list[Any]:
    return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))


def _sorted_deep(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted_deep(item) for key, item in value.items()}
    return _sorted([_sorted_deep(item) for item in value]) if isinstance(value, list) else value


def _first_difference(actual: Any, expected: Any, path: str = "") -> str:
    """The first place where two values part."""
    if isinstance(actual, dict) and isinstance(expected, dict):
        for key in sorted({*actual, *expected}):
            if actual.get(key, _ABSENT) != expected.get(key, _ABSENT):
                return _first_difference(actual.get(key, _ABSENT), expected.get(key, _ABSENT), f"{path}.{key}")
    if isinstance(actual, list) and isinstance(expected, list):
        for index, (one, other) in enumerate(zip(actual, expected, strict=False)):
            if one != other:
                return _first_difference(one, other, f"{path}[{index}]")
        return f"{path}: {len(actual)} items, expected {len(expected)}"
    return f"{path}: {_short(actual)}, expected {_short(expected)}".lstrip(": ")


def _readable(value: Any) -> Any:
    """Bytes that were no UTF-8 as JSON shows them."""
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATES.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_readable(key): _readable(item) for key, item in value.items()}
    return [_readable(item) for item in value] if isinstance(value, list) else value


_SURROGATES = re.compile("[\ud800-\udfff]")


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


_ABSENT = _Absent()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 1200 else f"{text[:600]} ... {text[-300:]}"


def _explain(actual: bytes, expected: bytes) -> str:
    """The first difference of two definitions, in words."""
    ours, theirs = ({"ops": pb.ops(data), "source": pb.source_map(data)} for data in (actual, expected))
    return _first_difference(ours, theirs)
