"""Image configs: how to run an image, which layers it has, and how they came to be.

Source: OCI image specification, "Image Configuration", with Docker's extensions (Healthcheck, OnBuild,
Shell). The typed view is for reading; writing patches the original document, so that nothing unknown is
lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dockc.base.record import Record
from dockc.golang.ospaths import DEFAULT_PATH
from dockc.golang.text import dump_json
from dockc.golang.times import InvalidTime, Time
from dockc.oci import digest as digests
from dockc.oci.descriptor import platform_from_fields, platform_to_json
from dockc.oci.fields import Fields, InvalidDocument, decode
from dockc.oci.platform import Platform

SIZE_LIMIT = 4 << 20
"""Configs larger than this are refused (bytes)."""


class History(Record):
    """One step of an image's making; a step without `empty_layer` owns the next layer."""

    created: Time | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False

    @classmethod
    def from_fields(cls, fields: Fields) -> History:
        """Read an entry; `InvalidDocument` names the wrong field."""
        return cls(
            created=_time(fields, "created"),
            created_by=fields.text("created_by"),
            author=fields.text("author"),
            comment=fields.text("comment"),
            empty_layer=fields.flag("empty_layer"),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, fields in the specification's order, empty ones left out."""
        out: dict[str, Any] = {}
        if self.created is not None:
            out["created"] = str(self.created)
        for name in ("created_by", "author", "comment"):
            if value := getattr(self, name):
                out[name] = value
        if self.empty_layer:
            out["empty_layer"] = True
        return out


class Healthcheck(Record):
    """How to find out whether a container is well; times in nanoseconds, zero meaning "inherit"."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ContainerConfig(Record):
    """How a container of the image starts. `None` differs from empty where Docker makes a difference."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: Healthcheck | None = None
    on_build: tuple[str, ...] = ()
    shell: tuple[str, ...] | None = None


class ImageConfig(Record):
    """The typed view of an image config.

    Attributes:
        platform: what the image runs on.
        created: when it was made, or None.
        author: free text.
        config: how to run it.
        diff_ids: digests of the uncompressed layers, lowest first.
        history: how it was made, oldest first.
        raw: the whole document.
    """

    platform: Platform
    created: Time | None
    author: str
    config: ContainerConfig
    diff_ids: tuple[str, ...]
    history: tuple[History, ...]
    raw: dict[str, Any]

    @classmethod
    def parse(cls, data: bytes) -> ImageConfig:
        """Read a config; `InvalidDocument` names what is wrong."""
        if len(data) > SIZE_LIMIT:
            raise InvalidDocument(f"image config: larger than {SIZE_LIMIT} bytes")
        fields = decode(data, "image config")
        diff_ids = fields.object("rootfs").texts("diff_ids")
        for number, diff_id in enumerate(diff_ids):
            if not digests.is_valid(diff_id):
                raise InvalidDocument(f"image config: rootfs: diff_ids[{number}]: not a digest")
        return cls(
            platform=platform_from_fields(fields),
            created=_time(fields, "created"),
            author=fields.text("author"),
            config=_container(fields.object("config")),
            diff_ids=diff_ids,
            history=tuple(History.from_fields(item) for item in fields.objects("history")),
            raw=fields.raw,
        )


def _container(fields: Fields) -> ContainerConfig:
    health = fields.optional_object("Healthcheck")
    return ContainerConfig(
        user=fields.text("User"),
        exposed_ports=fields.keys("ExposedPorts"),
        env=fields.texts("Env"),
        entrypoint=fields.optional_texts("Entrypoint"),
        cmd=fields.optional_texts("Cmd"),
        volumes=fields.keys("Volumes"),
        working_dir=fields.text("WorkingDir"),
        labels=tuple(fields.text_map("Labels").items()),
        stop_signal=fields.text("StopSignal"),
        args_escaped=fields.flag("ArgsEscaped"),
        healthcheck=None if health is None else _healthcheck(health),
        on_build=fields.texts("OnBuild"),
        shell=fields.optional_texts("Shell"),
    )


def _healthcheck(fields: Fields) -> Healthcheck:
    return Healthcheck(
        test=fields.texts("Test"),
        interval=fields.integer("Interval"),
        timeout=fields.integer("Timeout"),
        start_period=fields.integer("StartPeriod"),
        start_interval=fields.integer("StartInterval"),
        retries=fields.integer("Retries"),
    )


def _time(fields: Fields, name: str) -> Time | None:
    text = fields.text(name)
    if name not in fields:
        return None
    try:
        return Time.parse(text)
    except InvalidTime as error:
        raise InvalidDocument(f"{fields.where}: {name}: {error.message}") from None


def default_config(platform: Platform) -> bytes:
    """The config of an image that nobody configured: a platform, `/`, and a PATH."""
    inner: dict[str, Any] = {}
    if platform.os != "windows":
        inner["Env"] = [f"PATH={DEFAULT_PATH}"]
    inner["WorkingDir"] = "/"
    document = platform_to_json(platform)
    document |= {"config": inner, "rootfs": {"type": "layers", "diff_ids": None}}
    return dump_json(document)


def chain_id(diff_ids: Iterable[str]) -> str:
    """Name of a stack of layers: `sha256` over the lower chain's name and the next diff id; "" for none."""
    chain = ""
    for diff_id in diff_ids:
        chain = digests.from_bytes(f"{chain} {diff_id}".encode()) if chain else diff_id
    return chain


def chain_ids(diff_ids: Iterable[str]) -> tuple[str, ...]:
    """The chain id after each layer."""
    out: list[str] = []
    for diff_id in diff_ids:
        out.append(digests.from_bytes(f"{out[-1]} {diff_id}".encode()) if out else diff_id)
    return tuple(out)
