"""Images in docker's fields, for `--format` of `dockc images` and `dockc inspect`.

Source: docker's `docker image ls --format` and `docker image inspect` (Engine API, `ImageInspect`), as far as a store
without containers and engine has what they say.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dockc.base.units import size_text
from dockc.console.tables import age_text, table
from dockc.errors import UsageError
from dockc.golang.template import Moment, Struct, Template, TemplateError
from dockc.golang.times import Time

if TYPE_CHECKING:
    from dockc.runtime.store.images import Chosen, NamedImage

#: Fields of a row of `docker image ls`, and the heads of their columns.
_HEADS = {
    "Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "Digest": "DIGEST", "CreatedAt": "CREATED AT",
    "CreatedSince": "CREATED", "Size": "SIZE", "Platforms": "PLATFORMS",
}  # fmt: skip


def listed(images: Sequence[NamedImage], form: str) -> str:
    """Images by a template of docker's fields, a line each; `json` stands for `{{json .}}`, and `table ...` makes a
    table of templates between tabs.

    Raises:
        UsageError: the form is no template, or names what is not there.
    """
    columns = form.startswith("table ")
    text = form.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    rows = _rendered(text, [_row(one) for one in images])
    if not columns:
        return "".join(f"{row}\n" for row in rows)
    (head,) = _rendered(text, [Struct(_HEADS)])
    cells = [row.split("\t") for row in (head, *rows)]
    wide = max(map(len, cells))
    return table([*cells[0], *[""] * (wide - len(cells[0]))], [[*row, *[""] * (wide - len(row))] for row in cells[1:]])


def inspected(images: Sequence[Chosen], form: str) -> str:
    """Images by a template of the fields of `docker image inspect`, a line each.

    Raises:
        UsageError: the form is no template, or names what is not there.
    """
    return "".join(f"{row}\n" for row in _rendered(form, [_document(one) for one in images]))


def _rendered(text: str, values: Sequence[Any]) -> list[str]:
    try:
        made = Template("{{json .}}" if text == "json" else text)
        return [made.render(value) for value in values]
    except TemplateError as error:
        raise UsageError(f"--format: {error}", hint="Such as '{{.ID}}' or '{{json .}}'.") from None


def _row(image: NamedImage) -> Struct:
    repository, _, tag = image.name.rpartition(":")
    return Struct(
        {
            "Repository": repository,
            "Tag": tag,
            "ID": image.target.digest,
            "Digest": image.target.digest,
            "CreatedAt": image.created,
            "CreatedSince": _since(image.created),
            "Size": size_text(image.size),
            "Platforms": ", ".join(image.platforms),
        }
    )


def _since(created: str) -> str:
    return age_text(Time.parse(created).seconds * 1_000_000_000, time.time_ns()) if created else ""


def _document(image: Chosen) -> Mapping[str, Any]:
    """What `docker image inspect` says of an image; keys of the config are docker's own already."""
    config, target = image.config, image.target
    parts = (target, image.manifest.config, *image.manifest.layers)
    created = str(config.created) if config.created else ""
    document: dict[str, Any] = {
        "Id": image.root.digest,
        "RepoTags": [image.ref.familiar()],
        "RepoDigests": [f"{image.ref.familiar().rpartition(':')[0]}@{image.root.digest}"],
        "Created": Moment(created, created),
        "Author": config.author,
        "Architecture": config.platform.architecture,
        "Os": config.platform.os,
        "Size": sum({part.digest: part.size for part in parts}.values()),
        "Config": _Defaulted(config.raw.get("config") or {}),
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
    }
    if config.platform.variant:
        document["Variant"] = config.platform.variant
    if config.platform.os_version:
        document["OsVersion"] = config.platform.os_version
    return document


#: Fields of an image's config that templates may ask for though the document leaves them out, with what Go has then.
_OF_CONFIG: Mapping[str, Any] = {
    "User": "", "ExposedPorts": {}, "Env": [], "Entrypoint": [], "Cmd": [], "Volumes": {}, "WorkingDir": "",
    "Labels": {}, "StopSignal": "", "Shell": [], "OnBuild": [], "Healthcheck": None, "ArgsEscaped": False,
}  # fmt: skip


class _Defaulted(dict[str, Any]):
    """A config that answers for what it leaves out, and lists only what it has."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in _OF_CONFIG

    def __missing__(self, name: str) -> Any:
        return _OF_CONFIG[name]
