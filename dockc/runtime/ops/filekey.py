"""The cache key of a file operation: digest over its actions, and what of each input is read.

The preimage is JSON as the reference builder hashes it. Of a copied path only the last component goes into
it: where the source lies does not matter, what it holds is part of the input's content key.
"""

from __future__ import annotations

import base64
import posixpath
from typing import TYPE_CHECKING, Any

from dockc.base import folders
from dockc.base.record import Record
from dockc.errors import InvalidDefinition
from dockc.golang.text import dump_json
from dockc.grammar.globs import contains_wildcards
from dockc.oci import digest as digests
from dockc.runtime.refs.contenthash import Selector

if TYPE_CHECKING:
    from dockc.llb.pb import ops_pb2

CACHE_TYPE = "buildkit.file.v0"
NO_INPUT = -1

_MKDIR = ("path", "mode", "makeParents", "owner", "timestamp")
_MKFILE = ("path", "mode", "data", "owner", "timestamp")
_SYMLINK = ("oldpath", "newpath", "owner", "timestamp")
_RM = ("path", "allowNotFound", "allowWildcard")
_COPY = (
    "src", "dest", "owner", "mode", "followSymlink", "dirCopyContents", "attemptUnpackDockerCompatibility",
    "createDestPath", "allowWildcard", "allowEmptyWildcard", "timestamp", "include_patterns", "exclude_patterns",
    "alwaysReplaceExistingDestPaths", "modeStr", "required_paths",
)  # fmt: skip
_FIELDS = {"mkdir": _MKDIR, "mkfile": _MKFILE, "symlink": _SYMLINK, "rm": _RM, "copy": _COPY}


class FileKey(Record):
    """How a file operation is cached.

    Attributes:
        digest: of the operation less its inputs.
        preimage: for explanations: the actions as JSON values.
        inputs: for each input, the parts of it that count by content; None where only its definition counts.
    """

    digest: str
    preimage: dict[str, Any]
    inputs: tuple[tuple[Selector, ...] | None, ...]

    def selector_digest(self, index: int) -> str:
        """What tells the part read of an input from other parts, "" where all of it counts."""
        selectors = self.inputs[index]
        if selectors is None:
            return ""
        paths = sorted((s.path.encode("utf-8", "surrogateescape") for s in selectors), reverse=True)
        return digests.from_bytes(b"\0".join(paths))


def file_key(op: ops_pb2.FileOp, inputs: int) -> FileKey:
    """The cache key of a file operation.

    Args:
        op: with at least one action.
        inputs: how many inputs the vertex has.

    Raises:
        InvalidDefinition: no actions, an action of unknown kind, or an input that is not there.
    """
    if not op.actions:
        raise InvalidDefinition("invalid file op with no actions")
    selectors: dict[int, list[Selector]] = {}
    written: set[int] = set()
    encoded: list[str] = []
    shown: list[Any] = []
    for action in op.actions:
        kind = action.WhichOneof("action")
        if kind is None:
            raise InvalidDefinition("invalid file action: no kind")
        message = getattr(action, kind)
        value = _fields(message, _FIELDS[kind])
        written.add(action.input)
        if kind in ("mkdir", "mkfile", "copy"):
            _owner_selectors(message, selectors)
        if kind == "copy" and NO_INPUT != action.secondaryInput < inputs:
            selectors.setdefault(action.secondaryInput, []).append(_copy_selector(message))
            value["src"] = _base(message.src)
        encoded.append(base64.b64encode(dump_json(value)).decode())
        shown.append({kind: value, "input": action.input, "from": action.secondaryInput, "output": action.output})
    indexes = [[action.input, action.secondaryInput, action.output] for action in op.actions]
    preimage: dict[str, Any] = {"Type": CACHE_TYPE, "Actions": encoded}
    if not _usual(indexes):
        preimage["indexes"] = indexes
    for index in selectors:
        if not 0 <= index < inputs:
            raise InvalidDefinition(f"invalid input index {index} in file op with {inputs} inputs")
    parts = tuple(
        tuple(selectors[index]) if index in selectors and index not in written else None for index in range(inputs)
    )
    explained = {"kind": "file", "actions": shown}
    return FileKey(digests.from_bytes(dump_json(preimage)), explained, parts)


def _fields(message: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields that are not empty, in the order of their declaration."""
    value: dict[str, Any] = {}
    for name in names:
        if name == "owner":
            if message.HasField("owner"):
                value["owner"] = _owner(message.owner)
            continue
        field = getattr(message, name)
        if isinstance(field, bytes):
            field = base64.b64encode(field).decode()
        elif not isinstance(field, (str, int)):
            field = list(field)
        if field:
            value[name] = field
    return value


def _owner(owner: ops_pb2.ChownOpt) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name in ("user", "group"):
        if owner.HasField(name):
            value[name] = {"User": _user(getattr(owner, name))}
    return value


def _user(user: ops_pb2.UserOpt) -> dict[str, Any]:
    kind = user.WhichOneof("user")
    if kind == "byID" and user.byID:
        return {"byId": user.byID}
    if kind == "byName":
        return {"byName": _fields(user.byName, ("name", "input"))}
    return {}


def _base(path: str) -> str:
    """Go's path.Base."""
    if not path:
        return "."
    return posixpath.basename(path.rstrip("/")) or "/"


def _owner_selectors(message: Any, selectors: dict[int, list[Selector]]) -> None:
    """A user or group name is looked up in a file, whose content counts."""
    if not message.HasField("owner"):
        return
    for name, path in (("user", "/etc/passwd"), ("group", "/etc/group")):
        option = getattr(message.owner, name)
        if message.owner.HasField(name) and option.WhichOneof("user") == "byName":
            index = option.byName.input
            if index < 0:
                raise InvalidDefinition(f"invalid user index {index}")
            selectors.setdefault(index, []).append(Selector(path, follow_links=True))


def _copy_selector(action: ops_pb2.FileActionCopy) -> Selector:
    return Selector(
        action.src,
        wildcard=action.allowWildcard and contains_wildcards(action.src),
        follow_links=action.followSymlink,
        include=tuple(action.include_patterns),
        exclude=tuple(action.exclude_patterns),
        required=tuple(action.required_paths),
    )


def outermost(selectors: tuple[Selector, ...]) -> tuple[Selector, ...]:
    """The selectors less those that lie inside another; those with patterns all stay. Sorted by path."""
    plain: list[Selector] = []
    for follow in (False, True):
        paths = {s.path for s in selectors if not s.filtered and s.follow_links == follow}
        plain += [Selector(path, follow_links=follow) for path in folders.outermost(paths)]
    plain += [s for s in selectors if s.filtered]
    return tuple(sorted(plain, key=lambda s: s.path.encode("utf-8", "surrogateescape")))


def _usual(indexes: list[list[int]]) -> bool:
    """Whether the actions form the usual chain, which older builders hashed without indexes.

    The first changes input 0, each further one what the one before it made, the last is the output, and
    whatever is copied comes from input 1.
    """
    last = len(indexes) - 1
    for number, (target, source, output) in enumerate(indexes):
        if target != (0 if number == 0 else len(indexes) + number - 1):
            return False
        if source not in (NO_INPUT, 1) or output != (0 if number == last else NO_INPUT):
            return False
    return True
