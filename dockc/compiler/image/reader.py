"""Image configs as they come from registries: JSON of any origin, read field by field and checked.

Field names are matched in any case and null means "nothing said", as the ecosystem's tools do it.
"""

from __future__ import annotations

import json
from functools import lru_cache
from types import SimpleNamespace

from dockc.compiler.image.parts import Healthcheck, History
from dockc.errors import CompileError, Fault
from dockc.golang.strings import fold
from dockc.golang.text import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    _Reader = Callable[[Any, "_Place"], Any]
    _Fields = Mapping[str, tuple[str, _Reader, str]]


class _Place:
    """Where in a document a value stands: the reference's type around it and its path, and the first problem so far."""

    __slots__ = ("path", "problems", "struct")

    def __init__(self, struct: str, path: str, problems: list[str]) -> None:
        self.struct = struct
        self.path = path
        self.problems = problems

    def wrong(self, value: Any, kind: str) -> None:
        """Note a value of the wrong type. Reading goes on: only the first such value is reported, once all is read."""
        if isinstance(value, bool):
            name = "bool"
        elif isinstance(value, (int, _Fraction)):
            name = f"number {value}" if kind in _NUMBERS else "number"
        else:
            name = "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
        where = f"Go struct field {self.struct}.{self.path}" if self.path else "Go value"
        self.problems.append(f"json: cannot unmarshal {name} into {where} of type {kind}")


class _Fraction:
    """A number with a fraction or an exponent, which no field takes; kept as it is written."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


_NUMBERS = ("time.Duration", "int")


def _object(value: Any, place: _Place, kind: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    place.wrong(value, kind)
    return {}


def _read(
    document: dict[str, Any], fields: _Fields, target: object, struct: str, path: str, problems: list[str]
) -> None:
    """Set the attributes that the document has fields for; null changes nothing. Field names ignore case."""
    for name, value in document.items():
        field = fields.get(name) or fields.get(fold(name))
        if field is None or value is None:
            continue
        attribute, reader, shown = field
        setattr(target, attribute, reader(value, _Place(struct, path + shown, problems)))


def _text(value: Any, place: _Place) -> str:
    if isinstance(value, str):
        return value
    place.wrong(value, "string")
    return ""


def _flag(value: Any, place: _Place) -> bool:
    if not isinstance(value, bool):
        place.wrong(value, "bool")
    return value is True


def _integer(value: Any, place: _Place, kind: str = "int") -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63:
        place.wrong(value, kind)
        return 0
    return value


def _duration(value: Any, place: _Place) -> int:
    return _integer(value, place, "time.Duration")


def _texts(value: Any, place: _Place, kind: str = "string") -> list[str]:
    if not isinstance(value, list):
        place.wrong(value, f"[]{kind}")
        return []
    for item in value:
        if item is not None and not isinstance(item, str):
            place.wrong(item, kind)
    return [item if isinstance(item, str) else "" for item in value]


def _text_tuple(value: Any, place: _Place) -> tuple[str, ...]:
    return tuple(_texts(value, place))


def _digests(value: Any, place: _Place) -> list[str]:
    return _texts(value, place, "digest.Digest")


def _names(value: Any, place: _Place) -> dict[str, None]:
    found = _object(value, place, "map[string]struct {}")
    for item in found.values():
        if item is not None:
            _object(item, place, "struct {}")
    return dict.fromkeys(found)


def _text_map(value: Any, place: _Place) -> dict[str, str]:
    found = _object(value, place, "map[string]string")
    return {key: "" if item is None else _text(item, place) for key, item in found.items()}


def _time(value: Any, place: _Place) -> str:
    """An RFC 3339 time in its shortest form; one that is none ends the reading at once."""
    if not isinstance(value, str):
        raise CompileError("Time.UnmarshalJSON: input is not a JSON string", fault=Fault("bad-image"))
    return _shortest_time(value)


@lru_cache(maxsize=1024)
def _shortest_time(text: str) -> str:
    if _is_plain_time(text):
        return text
    from dockc.golang.timetext import WrongTime, shortest

    try:
        return shortest(text)
    except WrongTime as error:
        raise CompileError(error.message, fault=Fault("bad-image")) from None


def _is_plain_time(text: str) -> bool:
    """Whether a time is surely right and in its shortest form, `2024-01-02T03:04:05Z` in the first 28 days of a
    month.
    """
    if (
        len(text) != 20
        or not text.isascii()
        or text[4] + text[7] + text[10] + text[13] + text[16] + text[19] != "--T::Z"
    ):
        return False
    numbers = (text[0:4], text[5:7], text[8:10], text[11:13], text[14:16], text[17:19])
    return all(map(str.isdigit, numbers)) and (
        numbers[0] != "0000"
        and "01" <= numbers[1] <= "12"
        and "01" <= numbers[2] <= "28"
        and numbers[3] <= "23"
        and numbers[4] <= "59"
        and numbers[5] <= "59"
    )


class _HistoryDraft:
    """The fields of a history entry while it is read."""

    def __init__(self) -> None:
        self.created = self.created_by = self.author = self.comment = ""
        self.empty_layer = False


class _HealthDraft:
    """The fields of a health check while it is read."""

    def __init__(self) -> None:
        self.test: tuple[str, ...] = ()
        self.interval = self.timeout = self.start_period = self.start_interval = self.retries = 0


def _history(value: Any, place: _Place) -> list[History]:
    if not isinstance(value, list):
        place.wrong(value, "[]v1.History")
        return []
    out = []
    for item in value:
        draft = _HistoryDraft()
        if item is not None:
            document = _object(item, place, "v1.History")
            _read(document, _HISTORY_FIELDS, draft, "History", f"{place.path}.", place.problems)
        out.append(History(draft.created, draft.created_by, draft.author, draft.comment, empty_layer=draft.empty_layer))
    return out


def _healthcheck(value: Any, place: _Place) -> Healthcheck:
    draft = _HealthDraft()
    document = _object(value, place, "v1.HealthcheckConfig")
    _read(document, _HEALTH_FIELDS, draft, "HealthcheckConfig", f"{place.path}.", place.problems)
    return Healthcheck(
        draft.test,
        interval=draft.interval,
        timeout=draft.timeout,
        start_period=draft.start_period,
        start_interval=draft.start_interval,
        retries=draft.retries,
    )


def _folded(table: Mapping[str, tuple[str, _Reader]], prefix: str = "") -> _Fields:
    """The table under its exact and its case-folded names, each field with the path that messages name it by."""
    fields = {name: (attribute, reader, f"{prefix}{name}") for name, (attribute, reader) in table.items()}
    return {**fields, **{fold(name): field for name, field in fields.items()}}


_HISTORY_FIELDS = _folded(
    {
        "created": ("created", _time),
        "created_by": ("created_by", _text),
        "author": ("author", _text),
        "comment": ("comment", _text),
        "empty_layer": ("empty_layer", _flag),
    }
)
_HEALTH_FIELDS = _folded(
    {
        "Test": ("test", _text_tuple),
        "Interval": ("interval", _duration),
        "Timeout": ("timeout", _duration),
        "StartPeriod": ("start_period", _duration),
        "StartInterval": ("start_interval", _duration),
        "Retries": ("retries", _integer),
    }
)
_ROOTFS_FIELDS = _folded({"type": ("rootfs_type", _text), "diff_ids": ("diff_ids", _digests)})
_CONFIG_FIELDS = {
    **_folded(
        {
            "User": ("user", _text),
            "ExposedPorts": ("exposed_ports", _names),
            "Env": ("env", _texts),
            "Entrypoint": ("entrypoint", _texts),
            "Cmd": ("cmd", _texts),
            "Volumes": ("volumes", _names),
            "WorkingDir": ("working_dir", _text),
            "Labels": ("labels", _text_map),
            "StopSignal": ("stop_signal", _text),
            "ArgsEscaped": ("args_escaped", _flag),
        },
        prefix="ImageConfig.",
    ),
    **_folded(
        {
            "Healthcheck": ("healthcheck", _healthcheck),
            "OnBuild": ("on_build", _texts),
            "Shell": ("shell", _texts),
        },
        prefix="DockerOCIImageConfigExt.",
    ),
}
_IMAGE_FIELDS = {
    **_folded(
        {
            "created": ("created", _time),
            "author": ("author", _text),
            "history": ("history", _history),
        },
        prefix="Image.",
    ),
    **_folded(
        {
            "architecture": ("architecture", _text),
            "os": ("os", _text),
            "os.version": ("os_version", _text),
            "os.features": ("os_features", _text_tuple),
            "variant": ("variant", _text),
        },
        prefix="Image.Platform.",
    ),
}


_CACHE_ENTRY = "moby_buildkit_v1.CacheOptionsEntry"
_CACHE_FIELDS = _folded({"Type": ("type", _text), "Attrs": ("attrs", _text_map)})


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def read_image(data: bytes, image: object) -> None:
    """Set the fields of `image` that the document `data` has; fields that are not known are dropped.

    Raises:
        CompileError: not JSON, or a field of the wrong type.
    """
    try:
        document = json.loads(data, parse_float=_Fraction, parse_constant=_refuse)
    except RecursionError:
        raise CompileError("exceeded max depth", fault=Fault("bad-image")) from None
    except ValueError as error:
        raise CompileError(_json_problem(data, error), fault=Fault("bad-image")) from None
    if document is None:
        return
    problems: list[str] = []
    _read_image(_object(document, _Place("", "", problems), "v1.DockerOCIImage"), image, problems)
    if problems:
        raise CompileError(problems[0], fault=Fault("bad-image"))


def _read_image(document: dict[str, Any], image: object, problems: list[str]) -> None:
    """Read a whole config field by field, the objects `config` and `rootfs` in their place among the others."""
    for name, value in document.items():
        folded = fold(name)
        if value is None:
            continue
        if folded == "config":
            inner = _object(value, _Place("DockerOCIImage", "config", problems), "v1.DockerOCIImageConfig")
            _read(inner, _CONFIG_FIELDS, image, "DockerOCIImageConfig", "config.", problems)
        elif folded == "rootfs":
            inner = _object(value, _Place("DockerOCIImage", "Image.rootfs", problems), "v1.RootFS")
            _read(inner, _ROOTFS_FIELDS, image, "RootFS", "Image.rootfs.", problems)
        else:
            _read({name: value}, _IMAGE_FIELDS, image, "DockerOCIImage", "", problems)


def _json_problem(data: bytes, error: ValueError) -> str:
    """The reference's words for broken JSON."""
    from dockc.golang.jsonfault import json_fault

    return json_fault(data) or f"invalid JSON: {error}"


def check_cache_imports(text: str) -> None:
    """See that the option `cache-imports` is a list of caches, each a type and attributes.

    Raises:
        CompileError: it is not.
    """
    what = f"failed to unmarshal cache-imports ({quote(text)})"
    data = text.encode("utf-8", "surrogateescape")
    try:
        entries = json.loads(data.decode("utf-8", "replace"), parse_float=_Fraction, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise CompileError(f"{what}: {_json_problem(data, ValueError(error))}", fault=Fault("bad-image")) from None
    problems: list[str] = []
    if not isinstance(entries, list):
        if entries is not None:
            _Place("", "", problems).wrong(entries, f"[]*{_CACHE_ENTRY}")
        entries = []
    for entry in entries:
        if entry is None:
            raise CompileError(f"{what}: an entry is null", fault=Fault("bad-image"))
        fields = _object(entry, _Place("", "", problems), _CACHE_ENTRY)
        _read(fields, _CACHE_FIELDS, SimpleNamespace(), "CacheOptionsEntry", "", problems)
    if problems:
        raise CompileError(f"{what}: {problems[0]}", fault=Fault("bad-image"))
