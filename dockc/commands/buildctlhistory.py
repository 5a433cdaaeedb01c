"""Builds that were, in buildctl's words: `debug histories`, `debug monitor` and `prune-histories`.

Source: moby/buildkit, cmd/buildctl (prunehistories, debug histories, debug monitor); Go's encoding of protobuf messages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dockc.commands.buildctltext import rendered, template
from dockc.errors import DockcError
from dockc.golang.tabwriter import aligned
from dockc.golang.template import NoList, Struct
from dockc.golang.times import Time

if TYPE_CHECKING:
    from dockc.client.control import Remote

_Write = Callable[[str], object]
_COLUMNS = ("TYPE", "REF", "CREATED", "COMPLETED", "GENERATION")


async def listed(remote: Remote, form: str, write: _Write) -> int:
    """List the builds that the daemon remembers, in a table or by a template."""
    from dockc.rpc.pb import control_pb2

    table = _Table((*_COLUMNS, "PINNED"), form, write)
    async for event in remote.history(control_pb2.BuildHistoryRequest(EarlyExit=True)):
        table.add(event, "*" if event.record.pinned else "")
    table.end()
    return 0


async def prune(remote: Remote, form: str, write: _Write) -> int:
    """Let the daemon forget what is not pinned, and list it. The status is 1 if one of them could not be forgotten."""
    from dockc.rpc.pb import control_pb2

    table, problems = _Table(_COLUMNS, form, write), []
    async for event in remote.history(control_pb2.BuildHistoryRequest(EarlyExit=True)):
        if event.record.pinned or event.type == control_pb2.STARTED:
            continue
        try:
            await remote.update_history(control_pb2.UpdateBuildHistoryRequest(Ref=event.record.Ref, Delete=True))
        except DockcError as exc:
            problems.append(exc)
        else:
            table.add(event)
    table.end()
    if problems:
        raise problems[0]
    return 0


async def watch(remote: Remote, ref: str, write: _Write, *, completed: bool) -> int:
    """Tell of builds as they come and go, until the daemon ends."""
    from dockc.rpc.pb import control_pb2

    async for event in remote.history(control_pb2.BuildHistoryRequest(ActiveOnly=not completed, Ref=ref)):
        write(_told(event))
    return 0


class _Table:
    """Rows of a table, or what a template makes of each event."""

    def __init__(self, columns: tuple[str, ...], form: str, write: _Write) -> None:
        self._form, self._write, self._head = template(form), write, "\t".join(columns) + "\n"

    def add(self, event: Any, *more: str) -> None:
        """One build; `more` are further columns."""
        if self._form is not None:
            self._write(rendered(self._form, value_of(event)))
            return
        record = event.record
        moments = [
            _local(getattr(record, name)) if record.HasField(name) else "" for name in ("CreatedAt", "CompletedAt")
        ]
        row = "\t".join((_kind(event), record.Ref, *moments, str(record.Generation), *more)) + "\n"
        self._write(aligned(self._head + row))  # the head stands over the first row, each further one is by itself
        self._head = ""

    def end(self) -> None:
        """A table without rows has its head."""
        if self._form is None and self._head:
            self._write(aligned(self._head))


def value_of(message: Any) -> Any:
    """A message as templates see it: fields by their names in Go, in JSON by their own, and without empty ones."""
    fields: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"].message_type
            fields[_go(field.name)] = {key: value_of(value[key]) if inner else value[key] for key in value}
        elif field.is_repeated:
            fields[_go(field.name)] = [value_of(one) if field.message_type else one for one in value] or NoList()
        elif field.message_type is not None:
            fields[_go(field.name)] = value_of(value) if message.HasField(field.name) else None
        elif field.enum_type is not None:
            fields[_go(field.name)] = _Word(value, field.enum_type)
        else:
            fields[_go(field.name)] = value
    tags = {_go(field.name): field.name for field in message.DESCRIPTOR.fields}
    return Struct(fields, tags, brief=True, text=_text(message))


class _Word(int):
    """A number of an enumeration, which prints as its word."""

    def __new__(cls, number: int, kind: Any) -> _Word:
        made = super().__new__(cls, number)
        known = kind.values_by_number.get(number)
        made._text = str(number) if known is None else known.name
        return made

    _text: str

    def __str__(self) -> str:
        return self._text


def _go(name: str) -> str:
    """A field's name in Go."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _kind(event: Any) -> str:
    return str(_Word(event.type, event.DESCRIPTOR.fields_by_name["type"].enum_type))


def _local(value: Any) -> str:
    """A time of this machine to the second, as RFC 3339 has it."""
    try:
        return datetime.fromtimestamp(value.seconds).astimezone().isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):  # a daemon may say what it likes
        return str(Time(value.seconds, 0))


def _told(event: Any) -> str:
    """An event in lines."""
    record = event.record
    lines = [f"event: {_kind(event)} ref:{record.Ref}"]
    if record.numTotalSteps:
        lines.append(f"  cache: {record.numCachedSteps}/{record.numTotalSteps}")
    if record.numWarnings:
        lines.append(f"  warnings: {record.numWarnings}")
    lines += [f"  {name}: {_text(getattr(record, name))}" for name in ("logs", "trace") if record.HasField(name)]
    if record.HasField("Result"):
        lines += _results(record.Result, "  ")
    for key in sorted(record.Results):
        lines += _results(record.Results[key], f"  [{key}] ")
    return "".join(f"{line}\n" for line in lines)


def _results(found: Any, before: str) -> Iterable[str]:
    made = [found.Results[key] for key in sorted(found.Results)]
    if not made and found.HasField("ResultDeprecated"):
        made = [found.ResultDeprecated]
    return [
        *(f"{before}descriptor: {_text(one)}" for one in made),
        *(f"{before}attestation: {_text(one)}" for one in found.Attestations),
    ]


def _text(message: Any) -> str:
    """A message in a line, as Go prints it."""
    words = []
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            words += [
                f"{field.name}:{{key:{_word(field, key)} value:{_word(field, value[key])}}}" for key in sorted(value)
            ]
        else:
            words += [f"{field.name}:{_word(field, one)}" for one in (value if field.is_repeated else [value])]
    return " ".join(words)


def _word(field: Any, value: Any) -> str:
    if isinstance(value, str | bytes):
        return json.dumps(value if isinstance(value, str) else value.decode("latin-1"), ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value if field.enum_type is None else _Word(value, field.enum_type))
    return "{" + _text(value) + "}"
