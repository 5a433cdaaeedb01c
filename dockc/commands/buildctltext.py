"""What buildctl prints of records and workers, byte for byte, and the values that its templates see.

Source: moby/buildkit, cmd/buildctl (diskusage, prune, debug workers) and the types of its package client.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dockc.commands.remote import platform_text
from dockc.errors import UsageError
from dockc.golang.tabwriter import aligned
from dockc.golang.template import Moment, NoList, Struct, Template, TemplateError
from dockc.golang.times import Time

if TYPE_CHECKING:
    from dockc.rpc.pb import common_pb2, control_pb2

_HEADER = "ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED\n"
_RECORD = {
    "ID": "id", "Mutable": "mutable", "InUse": "inUse", "Size": "size", "CreatedAt": "createdAt", "LastUsedAt": "lastUsedAt",
    "UsageCount": "usageCount", "Parents": "parents", "Description": "description", "RecordType": "recordType", "Shared": "shared",
}  # fmt: skip
_WORKER = {
    "ID": "id", "Labels": "labels", "Platforms": "platforms", "GCPolicy": "gcPolicy", "BuildkitVersion": "buildkitVersion",
    "CDIDevices": "cdiDevices",
}  # fmt: skip
_RULE = {
    "All": "all", "Filter": "filter", "KeepDuration": "keepDuration", "ReservedSpace": "reservedSpace",
    "MaxUsedSpace": "maxUsedSpace", "MinFreeSpace": "minFreeSpace",
}  # fmt: skip
_VERSION = {
    "Package": "package",
    "Version": "version",
    "Revision": "revision",
    "DockerfileVersion": "dockerfileVersion",
}


def template(text: str) -> Template | None:
    """The template of `--format`; None without one.

    Raises:
        UsageError: it is none.
    """
    if not text:
        return None
    try:
        return Template("{{json .}}" if text == "json" else text)
    except TemplateError as error:
        raise UsageError(f"--format: {error}") from None


def rendered(form: Template, value: Any) -> str:
    """A line of `--format`.

    Raises:
        UsageError: the template asks for what is not there.
    """
    try:
        return form.render(value) + "\n"
    except TemplateError as error:
        raise UsageError(f"--format: {error}") from None


# --- records --------------------------------------------------------------------------------------------


def ordered(records: Iterable[control_pb2.UsageRecord]) -> list[control_pb2.UsageRecord]:
    """The smallest first."""
    return sorted(records, key=lambda one: (one.Size, one.ID))


def rows(records: Iterable[control_pb2.UsageRecord], *, header: bool = True) -> str:
    """A table of records."""
    return aligned((_HEADER if header else "") + "".join(map(_row, records)))


def _row(one: control_pb2.UsageRecord) -> str:
    size = size_text(one.Size) + "*" * one.Shared
    return f"{one.ID + '*' * one.Mutable:<71}\t{_yes(not one.InUse):<11}\t{size}\t\n"


def verbose(one: control_pb2.UsageRecord) -> str:
    """A record in full."""
    rows = [("ID", one.ID)]
    if one.Parents:
        rows.append(("Parents", ";".join(one.Parents)))
    rows += [
        ("Created at", _time(one.CreatedAt).text),
        ("Mutable", _yes(one.Mutable)),
        ("Reclaimable", _yes(not one.InUse)),
        ("Shared", _yes(one.Shared)),
        ("Size", size_text(one.Size)),
    ]
    if one.Description:
        rows.append(("Description", one.Description))
    rows.append(("Usage count", str(one.UsageCount)))
    if one.HasField("LastUsedAt"):
        rows.append(("Last used", _time(one.LastUsedAt).text))
    if one.RecordType:
        rows.append(("Type", one.RecordType))
    return aligned("".join(f"{key}:\t{value}\n" for key, value in rows) + "\n")


def summary(records: Sequence[control_pb2.UsageRecord]) -> str:
    """The sums below the records."""
    total = sum(one.Size for one in records if one.Size > 0)
    free = sum(one.Size for one in records if one.Size > 0 and not one.InUse)
    shared = sum(one.Size for one in records if one.Shared)
    lines = []
    if shared > 0:
        lines += [("Shared", shared), ("Private", total - shared)]
    lines += [("Reclaimable", free), ("Total", total)]
    return aligned("".join(f"{key}:\t{size_text(size)}\n" for key, size in lines))


def total(size: int) -> str:
    """The last line of `prune`."""
    return aligned(f"Total:\t{size_text(size)}\n")


def record(one: control_pb2.UsageRecord) -> Struct:
    """A record for a template."""
    return Struct(
        {
            "ID": one.ID,
            "Mutable": one.Mutable,
            "InUse": one.InUse,
            "Size": one.Size,
            "CreatedAt": _time(one.CreatedAt),
            "LastUsedAt": _time(one.LastUsedAt) if one.HasField("LastUsedAt") else None,
            "UsageCount": one.UsageCount,
            "Parents": list(one.Parents) or NoList(),
            "Description": one.Description,
            "RecordType": one.RecordType,
            "Shared": one.Shared,
        },
        _RECORD,
    )


# --- workers --------------------------------------------------------------------------------------------


def workers_table(found: Sequence[common_pb2.WorkerRecord]) -> str:
    """Workers, a line each."""
    return aligned(
        "ID\tPLATFORMS\n" + "".join(f"{one.ID}\t{','.join(map(platform_text, one.platforms))}\n" for one in found)
    )


def workers_verbose(found: Sequence[common_pb2.WorkerRecord]) -> str:
    """Workers in full, with the rules of their collection."""
    return aligned("".join(map(_worker_text, found)))


def _worker_text(one: common_pb2.WorkerRecord) -> str:
    version = one.BuildkitVersion
    lines = [
        f"ID:\t{one.ID}",
        f"Platforms:\t{','.join(map(platform_text, one.platforms))}",
        f"BuildKit:\t{version.package} {version.version} {version.revision}",
    ]
    if version.dockerfileVersion:
        lines.append(f"Dockerfile:\t{version.dockerfileVersion}")
    lines += ["Labels:", *(f"\t{key}:\t{one.Labels[key]}" for key in sorted(one.Labels))]
    for number, rule in enumerate(one.GCPolicy):
        lines += [f"GC Policy rule#{number}:", f"\tAll:\t{_yes(rule.all)}"]
        if rule.filters:
            lines.append(f"\tFilters:\t{' '.join(rule.filters)}")
        if rule.keepDuration > 0:
            lines.append(f"\tKeep duration:\t{duration_text(rule.keepDuration)}")
        for name, size in (
            ("Reserved space", rule.reservedSpace),
            ("Minimum free space", rule.minFreeSpace),
            ("Maximum used space", rule.maxUsedSpace),
        ):
            if size > 0:
                lines.append(f"\t{name}:\t{size_text(size, exact=True)}")
    return "".join(f"{line}\n" for line in (*lines, ""))


def worker(one: common_pb2.WorkerRecord) -> Struct:
    """A worker for a template."""
    rules = [
        Struct(
            {
                "All": rule.all,
                "Filter": list(rule.filters) or NoList(),
                "KeepDuration": rule.keepDuration,
                "ReservedSpace": rule.reservedSpace,
                "MaxUsedSpace": rule.maxUsedSpace,
                "MinFreeSpace": rule.minFreeSpace,
            },
            _RULE,
        )
        for rule in one.GCPolicy
    ]
    platforms = [
        {key: value for key, value in (("architecture", p.Architecture), ("os", p.OS), ("variant", p.Variant)) if value}
        for p in one.platforms
    ]
    return Struct(
        {
            "ID": one.ID,
            "Labels": dict(one.Labels),
            "Platforms": platforms,
            "GCPolicy": rules,
            "BuildkitVersion": _version(one.BuildkitVersion),
            "CDIDevices": NoList(),
        },
        _WORKER,
    )


# --- the daemon ------------------------------------------------------------------------------------------


def info(version: common_pb2.BuildkitVersion) -> str:
    """What the daemon is."""
    lines = [("BuildKit:", f"{version.package} {version.version} {version.revision}")]
    if version.dockerfileVersion:
        lines.append(("Dockerfile:", version.dockerfileVersion))
    width = max(len(name) for name, _ in lines)
    return "".join(f"{name:<{width}} {value}\n" for name, value in lines)


def info_value(version: common_pb2.BuildkitVersion) -> Struct:
    """The same for a template."""
    return Struct({"BuildkitVersion": _version(version)}, {"BuildkitVersion": "buildkitVersion"})


def _version(version: common_pb2.BuildkitVersion) -> Struct:
    said = {"Package": version.package, "Version": version.version, "Revision": version.revision}
    if version.dockerfileVersion:
        said["DockerfileVersion"] = version.dockerfileVersion
    return Struct(said, _VERSION)


# --- words ----------------------------------------------------------------------------------------------


def _yes(value: bool) -> str:
    return "true" if value else "false"


def _time(value: common_pb2.Time) -> Moment:
    text = str(Time(value.seconds, value.nanos))
    return Moment(text.replace("T", " ").removesuffix("Z") + " +0000 UTC", text)


def size_text(size: int, *, exact: bool = False) -> str:
    """Bytes in units of a thousand, with two places, or as many as there are."""
    if -1000 < size < 1000:
        return f"{size}B"
    value, unit = float(size), 0
    while abs(value) >= 1000 and unit < 6:
        unit += 1
        value = size / 1000.0**unit
    return (repr(value).removesuffix(".0") if exact else f"{value:.2f}") + "kMGTPE"[unit - 1] + "B"


def duration_text(nanoseconds: int) -> str:
    """A duration as Go prints it: `48h0m0s`."""
    seconds, rest = divmod(nanoseconds, 10**9)
    hours, minutes = divmod(seconds // 60, 60)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    text = f"{seconds % 60}{fraction}s"
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text
