"""`dockc history ls|inspect --format`: builds by templates of buildx's fields.

Source: buildx, commands/history (`lsContext`, `inspectOutput`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dockc.commands.report import name_of
from dockc.console import forms
from dockc.console.tables import age_text
from dockc.engine.wirehistory import wire_record
from dockc.golang.template import Moment, Struct
from dockc.golang.times import Time

if TYPE_CHECKING:
    from dockc.engine.history import BuildRecord

_SECOND = 1_000_000_000
_TITLES = {
    "Ref": "BUILD ID", "FullRef": "BUILD ID", "Name": "NAME", "Status": "STATUS", "CreatedAt": "CREATED AT",
    "Duration": "DURATION", "Link": "",
}  # fmt: skip
_STATUS = {"running": "Running", "completed": "Completed"}
_CONFIG = {
    "Network": "force-network-mode", "ExtraHosts": "add-hosts", "Hostname": "hostname", "CgroupParent": "cgroup-parent",
    "ImageResolveMode": "image-resolve-mode", "ShmSize": "shm-size", "Ulimit": "ulimit",
    "CacheMountNS": "build-arg:BUILDKIT_CACHE_MOUNT_NS", "SourceDateEpoch": "build-arg:SOURCE_DATE_EPOCH",
    "SandboxHostname": "build-arg:BUILDKIT_SANDBOX_HOSTNAME", "DockerfileCheckConfig": "build-arg:BUILDKIT_DOCKERFILE_CHECK",
}  # fmt: skip
_LISTS = ("ExtraHosts",)


def listed(records: Sequence[BuildRecord], form: str, now: int) -> str:
    """The builds, one a line; `json` gives what buildx gives.

    Raises:
        UsageError: the form is none.
    """
    if form == "json":
        return "".join(json.dumps(_listed_json(one), separators=(",", ":")) + "\n" for one in records)

    def rows(as_table: bool) -> list[Struct]:
        return [Struct(_listed_fields(one, now)) for one in records]

    return forms.formatted(
        rows, form, _TITLES, "Such as '{{.Ref}} {{.Status}}', json, or 'table {{.Ref}}\\t{{.Name}}'."
    )


def _listed_fields(record: BuildRecord, now: int) -> dict[str, Any]:
    took = ((record.ended or now) - record.began) / _SECOND
    text = f"{took:.1f}s" if took < 60 else f"{took // 60:.0f}m {took % 60:2.0f}s"
    return {
        "Ref": record.ref,
        "FullRef": record.ref,
        "Name": name_of(record),
        "Status": _STATUS.get(record.status, "Error"),
        "CreatedAt": age_text(record.began, now),
        "Duration": text + "+" * (record.status == "running"),
        "Link": "",
    }


def _listed_json(record: BuildRecord) -> dict[str, Any]:
    wire = wire_record(record)
    found = {
        "ref": record.ref,
        "name": name_of(record),
        "status": _STATUS.get(record.status, "Error"),
        "created_at": Time.from_ns(record.began),
        "completed_at": Time.from_ns(record.ended) if record.ended is not None else "",
        "total_steps": wire.numTotalSteps,
        "completed_steps": wire.numCompletedSteps,
        "cached_steps": wire.numCachedSteps,
    }
    return {key: str(value) if isinstance(value, Time) else value for key, value in found.items() if value != ""}


def inspected(record: BuildRecord, form: str) -> str:
    """One build; `json` gives all fields that say something.

    Raises:
        UsageError: the form is none.
    """
    fields = _inspected_fields(record)
    if form == "json":
        return json.dumps(_filled(fields), indent=2) + "\n"
    struct = Struct({key: Struct(value) if isinstance(value, dict) else value for key, value in fields.items()})
    hint = "Such as '{{.Status}}', '{{json .BuildArgs}}' or json."
    return forms.formatted(lambda as_table: [struct], form, {key: key.upper() for key in fields}, hint)


def _inspected_fields(record: BuildRecord) -> dict[str, Any]:
    wire = wire_record(record)
    attrs = dict(wire.FrontendAttrs)
    error = {"Code": wire.error.code, "Message": wire.error.message} if wire.HasField("error") else {}
    config: dict[str, Any] = {
        name: (attrs.get(key, "").split(",") if attrs.get(key) else []) if name in _LISTS else attrs.get(key, "")
        for name, key in _CONFIG.items()
    }
    again = attrs.get("no-cache")
    contexts = record.options.get("contexts")
    return {
        "Name": name_of(record),
        "Ref": record.ref,
        "Context": attrs.get("context", ""),
        "Dockerfile": attrs.get("filename", ""),
        "VCSRepository": attrs.get("vcs:source", ""),
        "VCSRevision": attrs.get("vcs:revision", ""),
        "Target": attrs.get("target", ""),
        "Platform": [one for one in attrs.get("platform", "").split(",") if one],
        "KeepGitDir": attrs.get("build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR", "") in ("1", "true"),
        "NamedContexts": _pairs((contexts if isinstance(contexts, dict) else {}).items()),
        "StartedAt": _moment(record.began),
        "CompletedAt": _moment(record.ended) if record.ended is not None else "",
        "Duration": (record.ended - record.began) if record.ended is not None else 0,
        "Status": {"failed": "error", "interrupted": "error"}.get(record.status, record.status),
        "Error": error or {"Code": 0, "Message": ""},
        "NumCompletedSteps": wire.numCompletedSteps,
        "NumTotalSteps": wire.numTotalSteps,
        "NumCachedSteps": wire.numCachedSteps,
        "BuildArgs": _pairs((k.removeprefix("build-arg:"), v) for k, v in attrs.items() if k.startswith("build-arg:")),
        "Labels": _pairs((k.removeprefix("label:"), v) for k, v in attrs.items() if k.startswith("label:")),
        "Config": {
            **config,
            "MultiPlatform": attrs.get("multi-platform") == "true",
            "NoCache": again == "",
            "NoCacheFilter": again.split(",") if again else [],
        },
    }


def _pairs(found: Iterable[tuple[object, object]]) -> list[Struct]:
    return [Struct({"Name": str(name), "Value": str(value)}) for name, value in sorted(found, key=str)]


def _moment(nanoseconds: int) -> Moment:
    text = str(Time.from_ns(nanoseconds))
    return Moment(text, text)


def _filled(value: Any) -> Any:
    """JSON without what is empty, but for the numbers of steps."""
    if isinstance(value, Moment):
        return value.rfc3339
    if isinstance(value, Struct):
        return dict(value.fields)
    if isinstance(value, Mapping):
        made = {key: _filled(inner) for key, inner in value.items()}
        return {
            key: inner for key, inner in made.items() if key.startswith("Num") or inner not in ("", [], {}, 0, False)
        }
    return [_filled(one) for one in value] if isinstance(value, list) else value
