"""The image config that a build leads to, and its exact JSON.

A base image's config is read into an `ImageConfig`, the instructions of the stages change it, and `marshal` writes it
with the fields, in the order and with the escapes that the ecosystem's tools agree on, since its digest is the
image's id. Source: OCI image specification, "Image Configuration", with Docker's extensions (Healthcheck, OnBuild,
Shell).
"""

from __future__ import annotations

from dockc.compiler.image.parts import Healthcheck, History
from dockc.errors import CompileError, Fault
from dockc.golang import ospaths as paths
from dockc.golang.text import dump_json, sorted_map
from dockc.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    _Chain = tuple["_Chain", "History"] | None

HISTORY_COMMENT = "buildkit.dockerfile.v0"
# In the place of times that have no RFC 3339 form, and why that is.
NO_SUCH_YEAR, NO_SUCH_ZONE = "-", "+"
_NO_SUCH_TIMES = {
    NO_SUCH_YEAR: "year outside of range [0,9999]",
    NO_SUCH_ZONE: "timezone hour outside of range [0,23]",
}
# How far from UTC a time can be read, but not written.
_DAYS_AWAY = ("+24", "-24")


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
        from dockc.compiler.image.reader import read_image

        image = cls()
        read_image(data, image)
        return image

    def clone(self) -> ImageConfig:
        """A copy that can be changed on its own."""
        other = ImageConfig.__new__(ImageConfig)
        for name in ImageConfig.__slots__:
            value = getattr(self, name)
            if isinstance(value, (list, dict)):
                value = value.copy()
            setattr(other, name, value)
        other._env_places = None  # noqa: SLF001  one of us
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

    def check(self, prefix: str = "") -> None:
        """See that the config can be written.

        Raises:
            CompileError: it has a time that an image config cannot hold; `prefix` comes first.
        """
        for created in (self.created, *(entry.created for entry in self.history)):
            problem = NO_SUCH_ZONE if created[-6:-3] in _DAYS_AWAY else created
            if problem in _NO_SUCH_TIMES:
                raise CompileError(
                    f"{prefix}json: error calling MarshalJSON for type *time.Time: Time.MarshalJSON: "
                    f"{_NO_SUCH_TIMES[problem]}",
                    fault=Fault("bad-image"),
                )

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
