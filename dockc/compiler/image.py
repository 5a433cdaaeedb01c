"""The image config that a build leads to, and its exact JSON.

A base image's config is read into an `ImageConfig`, the instructions of the stages change it, and `marshal` writes it
with the fields, in the order and with the escapes that the ecosystem's tools agree on, since its digest is the
image's id. Source: OCI image specification, "Image Configuration", with Docker's extensions (Healthcheck, OnBuild,
Shell).
"""

from __future__ import annotations

import json
from functools import lru_cache

from dockc.compiler import paths
from dockc.errors import CompileError
from dockc.oci.gotext import dump_json, sorted_map
from dockc.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final

    _Chain = tuple["_Chain", "History"] | None

HISTORY_COMMENT = "buildkit.dockerfile.v0"


class History:
    """One step of an image's making. `created` is RFC 3339 text, "" where unknown."""

    __slots__ = ("author", "comment", "created", "created_by", "empty_layer")

    def __init__(
        self,
        created: str = "",
        created_by: str = "",
        author: str = "",
        comment: str = "",
        *,
        empty_layer: bool = False,
    ) -> None:
        self.created: Final = created
        self.created_by: Final = created_by
        self.author: Final = author
        self.comment: Final = comment
        self.empty_layer: Final = empty_layer

    def to_json(self) -> dict[str, Any]:
        """The fields that are set, in their order."""
        out: dict[str, Any] = {}
        if self.created:
            out["created"] = self.created
        if self.created_by:
            out["created_by"] = self.created_by
        if self.author:
            out["author"] = self.author
        if self.comment:
            out["comment"] = self.comment
        if self.empty_layer:
            out["empty_layer"] = True
        return out


class Healthcheck:
    """How to find out whether a container is well; times in nanoseconds, 0 inherits."""

    __slots__ = ("interval", "retries", "start_interval", "start_period", "test", "timeout")

    def __init__(
        self,
        test: tuple[str, ...] = (),
        *,
        interval: int = 0,
        timeout: int = 0,
        start_period: int = 0,
        start_interval: int = 0,
        retries: int = 0,
    ) -> None:
        self.test: Final = test
        self.interval: Final = interval
        self.timeout: Final = timeout
        self.start_period: Final = start_period
        self.start_interval: Final = start_interval
        self.retries: Final = retries

    def to_json(self) -> dict[str, Any]:
        """The fields that are set, in their order."""
        pairs = (
            ("Test", list(self.test)),
            ("Interval", self.interval),
            ("Timeout", self.timeout),
            ("StartPeriod", self.start_period),
            ("StartInterval", self.start_interval),
            ("Retries", self.retries),
        )
        return {name: value for name, value in pairs if value}


class ImageConfig:
    """An image config under construction.

    The lists and maps belong to the instance alone: `clone` copies them, and the instructions change them in place.
    History only grows, so it is a chain whose older part is shared: a long row of stages costs no more than its steps.
    """

    __slots__ = (
        "_env_places",
        "_history",
        "architecture",
        "args_escaped",
        "author",
        "cmd",
        "created",
        "diff_ids",
        "entrypoint",
        "env",
        "exposed_ports",
        "healthcheck",
        "labels",
        "on_build",
        "os",
        "os_features",
        "os_version",
        "rootfs_type",
        "shell",
        "stop_signal",
        "user",
        "variant",
        "volumes",
        "working_dir",
    )

    def __init__(self) -> None:
        self.created = ""
        self.author = ""
        self.architecture = ""
        self.os = ""
        self.os_version = ""
        self.os_features: tuple[str, ...] = ()
        self.variant = ""
        self.rootfs_type = ""
        self.diff_ids: list[str] | None = None
        self._history: _Chain = None
        self._env_places: dict[str, int] | None = None
        self.user = ""
        self.exposed_ports: dict[str, None] = {}
        self.env: list[str] = []
        self.entrypoint: list[str] = []
        self.cmd: list[str] = []
        self.volumes: dict[str, None] = {}
        self.working_dir = ""
        self.labels: dict[str, str] = {}
        self.stop_signal = ""
        self.args_escaped = False
        self.healthcheck: Healthcheck | None = None
        self.on_build: list[str] = []
        self.shell: list[str] = []

    # --- making ---------------------------------------------------------------------------------------

    @classmethod
    def empty(cls, platform: Platform) -> ImageConfig:
        """The config of `FROM scratch`."""
        image = cls()
        image.set_platform(platform)
        image.rootfs_type = "layers"
        image.working_dir = "/"
        if platform.os != "windows":
            image.env = [f"PATH={paths.default_path(platform.os)}"]
        return image

    @classmethod
    def parse(cls, data: bytes) -> ImageConfig:
        """Read a config; fields it does not know are dropped.

        Raises:
            CompileError: not JSON, or a field of the wrong type.
        """
        try:
            document = json.loads(data)
        except RecursionError:
            raise CompileError("exceeded max depth") from None
        except ValueError as error:
            raise CompileError(_json_problem(data, error)) from None
        image = cls()
        if document is not None:
            _read_image(_object(document, "DockerOCIImage", ""), image)
        return image

    def clone(self) -> ImageConfig:
        """A copy that can be changed on its own."""
        other = ImageConfig.__new__(ImageConfig)
        for name in ImageConfig.__slots__:
            value = getattr(self, name)
            if isinstance(value, (list, dict)):
                value = value.copy()
            setattr(other, name, value)
        other._env_places = None
        return other

    @property
    def history(self) -> list[History]:
        """How the image was made, oldest step first."""
        entries = []
        chain = self._history
        while chain is not None:
            chain, entry = chain
            entries.append(entry)
        entries.reverse()
        return entries

    @history.setter
    def history(self, entries: list[History]) -> None:
        self._history = None
        for entry in entries:
            self._history = (self._history, entry)

    @property
    def platform(self) -> Platform:
        """What the image runs on."""
        return Platform(self.os, self.architecture, self.variant, self.os_version, self.os_features)

    def set_platform(self, platform: Platform) -> None:
        """Say what the image runs on."""
        self.architecture = platform.architecture
        self.os = platform.os
        self.os_version = platform.os_version
        self.os_features = platform.os_features
        self.variant = platform.variant

    # --- changing -------------------------------------------------------------------------------------

    def commit(self, created_by: str, created: str, *, layer: bool) -> None:
        """Add a history entry, with a layer of its own or without."""
        entry = History(created, created_by, comment=HISTORY_COMMENT, empty_layer=not layer)
        self._history = (self._history, entry)

    def set_env(self, key: str, value: str) -> None:
        """Set a variable in its place, or add it at the end."""
        places = self._env_places
        if places is None:
            places = self._env_places = {}
            for index, old in enumerate(self.env):
                places.setdefault(old.partition("=")[0], index)
        entry = f"{key}={value}"
        index = places.setdefault(key, len(self.env))
        if index == len(self.env):
            self.env.append(entry)
        else:
            self.env[index] = entry

    # --- writing --------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The JSON document, fields in their order."""
        out: dict[str, Any] = {}
        if self.created:
            out["created"] = self.created
        if self.author:
            out["author"] = self.author
        out["architecture"] = self.architecture
        out["os"] = self.os
        if self.os_version:
            out["os.version"] = self.os_version
        if self.os_features:
            out["os.features"] = list(self.os_features)
        if self.variant:
            out["variant"] = self.variant
        out["rootfs"] = {"type": self.rootfs_type, "diff_ids": self.diff_ids}
        history = self.history
        if history:
            out["history"] = [entry.to_json() for entry in history]
        out["config"] = self._config_json()
        return out

    def _config_json(self) -> dict[str, Any]:
        pairs: tuple[tuple[str, Any], ...] = (
            ("User", self.user),
            ("ExposedPorts", _json_set(self.exposed_ports)),
            ("Env", self.env),
            ("Entrypoint", self.entrypoint),
            ("Cmd", self.cmd),
            ("Volumes", _json_set(self.volumes)),
            ("WorkingDir", self.working_dir),
            ("Labels", sorted_map(self.labels)),
            ("StopSignal", self.stop_signal),
            ("ArgsEscaped", self.args_escaped),
        )
        out: dict[str, Any] = {name: value for name, value in pairs if value}
        if self.healthcheck is not None:
            out["Healthcheck"] = self.healthcheck.to_json()
        if self.on_build:
            out["OnBuild"] = self.on_build
        if self.shell:
            out["Shell"] = self.shell
        return out

    def marshal(self) -> bytes:
        """The exact bytes of the config."""
        return dump_json(self.to_json())


def _json_set(names: Mapping[str, None]) -> dict[str, dict[str, str]]:
    return {name: {} for name in sorted(names)}


# --- reading ------------------------------------------------------------------------------------------


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


if TYPE_CHECKING:
    _Reader = Callable[[Any, str, str], Any]

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
