"""What a build's steps were made of, in a form that is kept with its history and compared with another build's.

Bounded: long texts are cut to their beginning and a digest, and of a preimage that is large as a whole only the digest
is left. Nothing secret: values of arguments whose names say so, and logins of URLs, are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dockc.base.concealing import SECRET, SHORTEST, without_secret, without_values
from dockc.base.hashing import sha256
from dockc.base.record import Record, made, replace
from dockc.errors import HIDDEN, without_credentials
from dockc.solver.keydiff import Change, FileChange, InputKey, KeyDiff, MissReason, StepKey

if TYPE_CHECKING:
    from dockc.llb.definition import Definition
    from dockc.solver.cache.storage.base import KeyRecord

TEXT = 2048
"""Characters of one text of a preimage or an instruction."""
PREIMAGE = 32 << 10
"""Characters of one preimage as JSON."""
STEPS = 20_000
"""Steps of one build that are kept."""
_CHUNK = 256 << 10
_ARG = re.compile(r"(?im)^[ \t]*ARG[ \t]+(.+)$")
_WORD = re.compile(r"""([A-Za-z_]\w*)(?:=("[^"]*"|'[^']*'|\S*))?""")
_PLACE = re.compile(r"\[(?P<stage>[^\]]*?) *(?P<at>[0-9]+)/[0-9]+\] ")


class Step(Record):
    """A step of a build.

    Attributes:
        key: what its key was made of; without a digest while that is not known.
        text: the instruction as it stands in the Dockerfile; where that is not known, as the step is shown.
        line: of the Dockerfile, 0 where not known.
        ran: it ran; else its result was there, or nobody needed it.
        why: why it ran, where that was found out.
    """

    key: StepKey
    text: str
    line: int = 0
    ran: bool = False
    why: KeyDiff | None = None

    @property
    def place(self) -> tuple[str, int]:
        """Its stage, and its number in it, as the name says; number 0 where it says none."""
        match = _PLACE.match(self.key.name)
        return (match["stage"], int(match["at"])) if match else ("", 0)

    @property
    def is_local(self) -> bool:
        """Whether it brings in a directory of the client: that is read by every build."""
        return _is_local(self.key)


class Told(Record):
    """A build as it is compared with another.

    Attributes:
        ref: its name in the history, or "".
        steps: by digest, inputs before those that read them.
        args: values of build arguments, those of defaults included.
        imports: caches that it read, as people call them.
    """

    ref: str = ""
    steps: Mapping[str, Step] = made(dict)
    args: Mapping[str, str] = made(dict)
    imports: tuple[str, ...] = ()


def _is_local(key: StepKey) -> bool:
    identifier = key.preimage.get("identifier") if isinstance(key.preimage, Mapping) else None
    return key.kind == "source" and isinstance(identifier, str) and identifier.startswith("local://")


class Places:
    """Where steps are written.

    Mutable: the lines of each file, split once.
    """

    def __init__(self, definitions: Iterable[Definition]) -> None:
        self._sources = [one.source for one in definitions if one.source is not None]
        self._lines: dict[int, list[str]] = {}

    def find(self, vertex: str) -> tuple[int, str]:
        """Line and text of the instruction that a step is written in; 0 and "" where no definition says so.

        Of a step that is written in several places, such as a base image of two stages, it is the first: its name is
        of that one.
        """
        for source in self._sources:
            found = source.locations.get(vertex, ())
            if not found:
                continue
            place = min(found, key=lambda one: one.lines)
            info = source.file(place)
            if info is None:
                continue
            rows = self._lines.get(id(info))
            if rows is None:
                rows = self._lines[id(info)] = info.data.decode("utf-8", "replace").splitlines()
            first, last = place.lines
            return first, without_credentials("\n".join(rows[max(0, first - 1) : last]).strip())
        return 0, ""


def arguments(dockerfiles: Iterable[str], attrs: Mapping[str, str]) -> dict[str, str]:
    """Values of build arguments by name: defaults as they are written, and what was given."""
    found: dict[str, str] = {}
    for text in dockerfiles:
        for line in _ARG.finditer(text.replace("\\\n", " ")):
            for name, value in _WORD.findall(line[1]):
                found[name] = value.strip("\"'")
    given = {key.partition(":")[2]: value for key, value in attrs.items() if key.startswith("build-arg:")}
    return {
        name: HIDDEN if SECRET.search(name) else without_credentials(value[:TEXT])
        for name, value in (found | given).items()
    }


def shown(values: Mapping[str, str]) -> dict[str, str]:
    """Options without what is secret."""
    return {key: _shown(key, value) for key, value in values.items()}


def _shown(key: str, value: str) -> str:
    if key == "cache-imports":  # JSON, whose options may be keys of a cloud
        try:
            found = [{"Type": one["Type"], "Attrs": shown(one.get("Attrs") or {})} for one in json.loads(value)]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return HIDDEN
        return json.dumps(found)
    return HIDDEN if SECRET.search(key) else without_credentials(value)


def hider(attrs: Mapping[str, str]) -> Callable[[str], str]:
    """What takes logins of URLs and values of secret arguments out of a text."""
    # The compiler puts values of arguments into names of steps, as BuildKit does.
    hidden = {value for key, value in attrs.items() if SECRET.search(key) and len(value) >= SHORTEST}

    def hide(text: str) -> str:
        return without_credentials(without_values(text, hidden))

    return hide


def kept_key(key: StepKey, hide: Callable[[str], str]) -> StepKey:
    """A key as it is kept: bounded, and without secrets."""
    inputs = tuple(replace(one, label=hide(one.label)[:TEXT]) for one in key.inputs)
    return replace(key, name=hide(key.name)[:TEXT], preimage=bounded(key.preimage, hide), inputs=inputs)


def kept_record(record: KeyRecord, hide: Callable[[str], str]) -> KeyRecord:
    """What a store remembers of a key, in the form that `kept_key` can be compared with."""
    return replace(record, name=hide(record.name), preimage=bounded(record.preimage, hide))


def bounded(value: Any, hide: Callable[[str], str]) -> Any:
    """A preimage without what is secret or long."""
    found = _bounded(value, hide)
    if len(json.dumps(found, default=str)) > PREIMAGE:
        kind = {key: found[key] for key in ("kind", "identifier") if isinstance(found, dict) and key in found}
        return {**kind, "large": "sha256:" + sha256(json.dumps(found, sort_keys=True, default=str).encode())}
    return found


def _bounded(value: Any, hide: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _bounded(one, hide) for key, one in value.items()}
    if isinstance(value, str):
        return cut(hide(without_secret(value)))
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_bounded(one, hide) for one in value]
    return value if isinstance(value, int | float | bool | None) else cut(hide(str(value)))


def cut(text: str) -> str:
    """A text with no more than its beginning and its digest."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= TEXT:
        return text
    return f"{text[: TEXT // 4]}... (sha256:{sha256(text.encode())})"


# --- as JSON ------------------------------------------------------------------------------------------


def documents(told: Told) -> Iterator[list[dict[str, Any]]]:
    """The steps of a build as JSON values, a part at a time."""
    part: list[dict[str, Any]] = []
    size = 0
    for number, step in enumerate(told.steps.values()):
        if number >= STEPS:
            break
        part.append(_document(step))
        size += 512 + len(str(part[-1]["of"]))
        if size > _CHUNK:
            yield part
            part, size = [], 0
    if part:
        yield part


def _document(step: Step) -> dict[str, Any]:
    key = step.key
    return {
        "step": key.vertex, "name": key.name, "kind": key.kind, "line": step.line, "text": step.text,
        "digest": key.digest, "of": key.preimage, "key": key.key, "told": key.told, "ran": step.ran,
        "inputs": [[one.vertex, one.index, one.selector, one.content, one.label] for one in key.inputs],
        "why": None if step.why is None else diff_document(step.why),
    }  # fmt: skip


def step_of(one: Any) -> Step | None:
    """The inverse of a step's document; None for anything else."""
    try:
        inputs = tuple(InputKey(str(v), int(i), str(s), str(c), str(n)) for v, i, s, c, n in one["inputs"])
        key = StepKey(
            str(one["step"]), str(one["name"]), str(one["kind"]), str(one["digest"]), one["of"], inputs,
            str(one["key"]), one["told"] is True,
        )  # fmt: skip
        why = None if one["why"] is None else diff_of(key, one["why"])
        return Step(key, str(one["text"]), int(one["line"]), one["ran"] is True, why)
    except (KeyError, TypeError, ValueError):
        return None


def diff_document(diff: KeyDiff) -> dict[str, Any]:
    """Why a step ran as a JSON value."""
    return {
        "reason": str(diff.reason),
        "changes": [[one.path, one.old, one.new] for one in diff.changes],
        "inputs": list(diff.inputs),
        "files": [[one.path, one.what, one.old, one.new] for one in diff.files],
        "more": diff.more, "source": diff.source, "ref": diff.ref, "at": diff.at,
    }  # fmt: skip


def diff_of(key: StepKey, one: Any) -> KeyDiff:
    """The inverse of `diff_document`.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    return KeyDiff(
        key.vertex,
        key.name,
        MissReason(one["reason"]),
        changes=tuple(Change(str(path), old, new) for path, old, new in one["changes"]),
        inputs=tuple(map(int, one["inputs"])),
        files=tuple(FileChange(*map(str, row)) for row in one["files"]),
        more=int(one["more"]),
        source=str(one["source"]),
        ref=str(one["ref"]),
        at=int(one["at"]),
    )
