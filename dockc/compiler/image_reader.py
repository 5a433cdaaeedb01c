"""Image configs as they come from registries: JSON of any origin, read field by field and checked.

Field names are matched in any case and null means "nothing said", as the ecosystem's tools do it.
"""

from __future__ import annotations

import json
from functools import lru_cache

from dockc.compiler.image import Healthcheck, History
from dockc.errors import CompileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from dockc.compiler.image import ImageConfig

    _Reader = Callable[[Any, str, str], Any]


def _wrong(value: Any, struct: str, path: str, kind: str) -> CompileError:
    if isinstance(value, bool):
        name = "bool"
    elif isinstance(value, (int, float)):
        name = "number" if kind in ("string", "bool") or isinstance(value, int) else f"number {value}"
    else:
        name = "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
    place = f"Go struct field {struct}.{path}" if path else "Go value"
    return CompileError(f"json: cannot unmarshal {name} into {place} of type {kind}")


def _object(value: Any, struct: str, path: str, kind: str = "v1.DockerOCIImage") -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(value, struct, path, kind)
    return value


def _read(
    document: dict[str, Any], fields: Mapping[str, tuple[str, _Reader]], target: object, struct: str, path: str
) -> None:
    """Set the attributes that the document has fields for; null changes nothing. Field names ignore case."""
    for name, value in document.items():
        field = fields.get(name) or fields.get(name.casefold())
        if field is None or value is None:
            continue
        attribute, reader = field
        setattr(target, attribute, reader(value, struct, f"{path}{name}"))


def _text(value: Any, struct: str, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(value, struct, path, "string")
    return value


def _flag(value: Any, struct: str, path: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(value, struct, path, "bool")
    return value


def _integer(value: Any, struct: str, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(value, struct, path, "int64")
    return value


def _texts(value: Any, struct: str, path: str) -> list[str]:
    if not isinstance(value, list):
        raise _wrong(value, struct, path, "[]string")
    return ["" if item is None else _text(item, struct, path) for item in value]


def _text_tuple(value: Any, struct: str, path: str) -> tuple[str, ...]:
    return tuple(_texts(value, struct, path))


def _names(value: Any, struct: str, path: str) -> dict[str, None]:
    for item in _object(value, struct, path, "map[string]struct {}").values():
        if item is not None:
            _object(item, struct, path, "struct {}")
    return dict.fromkeys(value)


def _text_map(value: Any, struct: str, path: str) -> dict[str, str]:
    found = _object(value, struct, path, "map[string]string")
    return {key: "" if item is None else _text(item, struct, path) for key, item in found.items()}


def _time(value: Any, struct: str, path: str) -> str:
    """An RFC 3339 time in its shortest form."""
    if not isinstance(value, str):
        raise CompileError("Time.UnmarshalJSON: input is not a JSON string")
    return _shortest_time(value)


@lru_cache(maxsize=1024)
def _shortest_time(text: str) -> str:
    if _is_plain_time(text):
        return text
    from dockc.oci.gotime import InvalidTime, Time

    try:
        return str(Time.parse(text))
    except InvalidTime:
        raise CompileError(
            f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"'
        ) from None


def _is_plain_time(text: str) -> bool:
    """Whether a time is surely right and in its shortest form, `2024-01-02T03:04:05Z` in the first 28 days of a month."""
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


class _RootfsDraft:
    """The fields of a rootfs while it is read."""

    def __init__(self) -> None:
        self.type = ""
        self.diff_ids: list[str] | None = None


def _history(value: Any, struct: str, path: str) -> list[History]:
    if not isinstance(value, list):
        raise _wrong(value, struct, path, "[]v1.History")
    out = []
    for item in value:
        draft = _HistoryDraft()
        if item is not None:
            _read(_object(item, struct, path, "v1.History"), _HISTORY_FIELDS, draft, "History", f"{path}.")
        out.append(History(draft.created, draft.created_by, draft.author, draft.comment, empty_layer=draft.empty_layer))
    return out


def _healthcheck(value: Any, struct: str, path: str) -> Healthcheck:
    draft = _HealthDraft()
    document = _object(value, struct, path, "v1.HealthcheckConfig")
    _read(document, _HEALTH_FIELDS, draft, "HealthcheckConfig", f"{path}.")
    return Healthcheck(
        draft.test,
        interval=draft.interval,
        timeout=draft.timeout,
        start_period=draft.start_period,
        start_interval=draft.start_interval,
        retries=draft.retries,
    )


def _folded(table: dict[str, tuple[str, _Reader]]) -> dict[str, tuple[str, _Reader]]:
    """The table under its exact and its case-folded names."""
    return table | {name.casefold(): field for name, field in table.items()}


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
        "Interval": ("interval", _integer),
        "Timeout": ("timeout", _integer),
        "StartPeriod": ("start_period", _integer),
        "StartInterval": ("start_interval", _integer),
        "Retries": ("retries", _integer),
    }
)
_ROOTFS_FIELDS = _folded({"type": ("type", _text), "diff_ids": ("diff_ids", _texts)})
_CONFIG_FIELDS = _folded(
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
        "Healthcheck": ("healthcheck", _healthcheck),
        "OnBuild": ("on_build", _texts),
        "Shell": ("shell", _texts),
    }
)


_IMAGE_FIELDS = _folded(
    {
        "created": ("created", _time),
        "author": ("author", _text),
        "architecture": ("architecture", _text),
        "os": ("os", _text),
        "os.version": ("os_version", _text),
        "os.features": ("os_features", _text_tuple),
        "variant": ("variant", _text),
        "history": ("history", _history),
    }
)


def read_image(data: bytes, image: ImageConfig) -> None:
    """Set the fields of `image` that the document `data` has; fields that are not known are dropped.

    Raises:
        CompileError: not JSON, or a field of the wrong type.
    """
    try:
        document = json.loads(data)
    except RecursionError:
        raise CompileError("exceeded max depth") from None
    except ValueError as error:
        raise CompileError(_json_problem(data, error)) from None
    if document is not None:
        _read_image(_object(document, "DockerOCIImage", ""), image)


def _read_image(document: dict[str, Any], image: ImageConfig) -> None:
    """Read a whole config: its own fields, and those of the objects `config` and `rootfs` in it."""
    _read(document, _IMAGE_FIELDS, image, "DockerOCIImage", "")
    for name, value in document.items():
        folded = name.casefold()
        if value is None or folded not in ("config", "rootfs"):
            continue
        if folded == "config":
            inner = _object(value, "DockerOCIImage", name, "v1.DockerOCIImageConfig")
            _read(inner, _CONFIG_FIELDS, image, "DockerOCIImageConfig", f"{name}.")
        else:
            draft = _RootfsDraft()
            inner = _object(value, "DockerOCIImage", name, "v1.RootFS")
            _read(inner, _ROOTFS_FIELDS, draft, "RootFS", f"{name}.")
            image.rootfs_type, image.diff_ids = draft.type, draft.diff_ids


def _json_problem(data: bytes, error: ValueError) -> str:
    """The reference's words for broken JSON, as far as they can be told from the place of the error."""
    if isinstance(error, json.JSONDecodeError):
        text = error.doc
        rest = text[error.pos :].lstrip()
        if not rest:
            return "unexpected end of JSON input"
        return f"invalid character '{rest[0]}' looking for beginning of value"
    return f"invalid JSON: {error}" if data else "unexpected end of JSON input"
