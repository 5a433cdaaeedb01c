"""`dockc prune` and `dockc builder prune`: removing what takes space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.options import Options, option
from dockc.commands import shared
from dockc.commands.usage import FILTER, FORMAT, VERBOSE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dockc.base.output import Output
    from dockc.runtime.refs.policy import Rule
    from dockc.runtime.refs.prune import Pruned


class Pruning(Options):
    """What is removed, here or elsewhere, and how that is shown."""

    everything: bool = option("--all", "-a", help="Internal records too.")
    filters: tuple[str, ...] = FILTER
    keep_duration: str = option(
        "--keep-duration", metavar="DURATION", help="Keep what was used within it, such as 24h."
    )
    max_used_space: str = option("--max-used-space", metavar="SPACE", help="Stop when no more than this is used.")
    min_free_space: str = option("--min-free-space", metavar="SPACE", help="Stop when so much is free on the disk.")
    reserved_space: str = option(
        "--reserved-space",
        metavar="SPACE",
        help="Keep so much whatever the other limits say; 10GB, 512MB or 10% of the disk.",
    )
    keep_storage: str = option("--keep-storage", metavar="SPACE", help="The older word for --reserved-space.")
    verbose: bool = VERBOSE
    format: str = FORMAT
    json: bool = shared.JSON
    force: bool = option("--force", "-f", help="Of docker's commands: do not ask. dockc never asks.")


class PruneOptions(Pruning):
    """Remove build cache that nothing needs. Images with a name stay."""

    policy: bool = option("--policy", help="Do now what collection does by itself: apply the rules of the settings.")
    plan: bool = option("--plan", help="Remove nothing: show what would go, by which rule, and why the rest stays.")
    store: Path | None = shared.STORE
    examples = (
        "dockc prune --max-used-space 20GB",
        "dockc prune --filter type==exec.cachemount,description~=npm --plan",
    )


class RemotePruneOptions(Pruning):
    """Remove build cache of a builder elsewhere."""

    builder: str = shared.BUILDER
    addr: str = shared.ADDR
    tlsdir: str = shared.TLSDIR
    examples = ("dockc builder prune --builder far --max-used-space 20GB",)


def run(options: PruneOptions, out: Output) -> int:
    """`dockc prune`.

    Raises:
        UsageError: a limit, filter or format that cannot be understood.
    """
    import time

    from dockc.base.system import only_linux

    only_linux("stores")
    from dockc.commands.store import prune
    from dockc.runtime.refs.policy import Disk
    from dockc.runtime.store.place import default_root

    root = options.store or default_root()
    if options.policy:
        from dockc.engine.settings import collection

        _refuse_limits(options)
        rules: tuple[Rule, ...] = collection(root).on(Disk.of(root))
    else:
        rules = (_rule(options, Disk.of(root)),)
    _check(options)
    if options.plan:
        out.write(_planned(options, rules, out.style().width))
        return 0
    out.write(_shown(options, prune(options.store, rules), time.time_ns(), out.style().width))
    return 0


def run_remote(options: RemotePruneOptions, out: Output) -> int:
    """`dockc builder prune`.

    Raises:
        DockcError: no builder, or it does not answer.
    """
    import time

    from dockc.client.usage import prune, prune_request
    from dockc.commands.remote import needed, until_told
    from dockc.runtime.refs.policy import Disk
    from dockc.runtime.refs.prune import Pruned

    _check(options)
    builder = needed(options.builder, options.addr, options.tlsdir)
    request = prune_request(_rule(options, Disk(0, 0), far=True))

    records = until_told(prune(builder.nodes, request))
    pruned = Pruned(tuple(records), sum(one.size for one in records))
    out.write(_shown(options, pruned, time.time_ns(), out.style().width))
    return 0


def _rule(options: PruneOptions | RemotePruneOptions, disk: object, *, far: bool = False) -> Rule:
    """The rule that the options say.

    Raises:
        UsageError: what cannot be understood.
    """
    from dockc.base.units import parse_duration
    from dockc.commands.filters import read
    from dockc.errors import UsageError
    from dockc.runtime.refs.policy import Disk, Rule, parse_space

    assert isinstance(disk, Disk)
    filters, age = read(options.filters)
    if age and options.keep_duration:
        raise UsageError("--keep-duration and until= say the same", hint="Give one of them.")
    if options.keep_storage and options.reserved_space:
        raise UsageError("--keep-storage is the older word for --reserved-space", hint="Give one of them.")

    def space(text: str) -> int:
        found = parse_space(text) if text else None
        if found is not None and found.percent and far:
            raise UsageError(f"{text}: nothing is known of the builder's disk", hint="Give the size, such as 10GB.")
        return found.on(disk) if found is not None else 0

    return Rule(
        all=options.everything,
        filters=filters,
        keep_duration=parse_duration(options.keep_duration) if options.keep_duration else age,
        max_used_space=space(options.max_used_space),
        min_free_space=space(options.min_free_space),
        reserved_space=space(options.reserved_space or options.keep_storage),
    )


def _refuse_limits(options: PruneOptions) -> None:
    from dockc.errors import UsageError

    names = ("all", "filter", "keep-duration", "max-used-space", "min-free-space", "reserved-space", "keep-storage")
    fields = {"all": "everything", "filter": "filters"}
    given = [name for name in names if getattr(options, fields.get(name, name.replace("-", "_")))]
    if given:
        raise UsageError(f"--policy goes by the settings: --{given[0]} has no place beside it")


def _check(options: PruneOptions | RemotePruneOptions) -> None:
    from dockc.errors import UsageError

    asked = [name for name in ("verbose", "format", "json") if getattr(options, name)]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join('--' + name for name in asked)} cannot be used together")


def _planned(options: PruneOptions, rules: Sequence[Rule], width: int) -> str:
    from dockc.commands.store import opened
    from dockc.console import storage
    from dockc.runtime.refs.plan import plan
    from dockc.runtime.store.images import reachable

    with opened(options.store) as worker:
        census = worker.refs.census(reachable(worker.content))
    found = plan(census, rules)
    if options.json:
        said: dict[str, dict[str, object]] = {
            one.id: {"rule": one.rule + 1, "freed": one.size, "stays": None} for one in found.taken
        }
        said |= {name: {"rule": None, "freed": 0, "stays": why} for name, why in found.kept.items()}
        order = [*(one.id for one in found.taken), *found.kept]
        return storage.json_lines([census.items[name].usage for name in order], said)
    if options.format not in {"", "table", "pretty"}:
        going = [census.items[one.id].usage for one in found.taken]
        return storage.formatted(going, options.format, census.at, storage.fates(found, rules))
    return storage.planned_table(found, census, rules, width=width)


def _shown(options: PruneOptions | RemotePruneOptions, pruned: Pruned, now: int, width: int) -> str:
    from dockc.console import storage

    if options.json:
        return storage.json_lines(pruned.records)
    if options.format not in {"", "table", "pretty"}:
        return storage.formatted(pruned.records, options.format, now)
    verbose = options.verbose or options.format == "pretty"
    return storage.pruned_text(pruned, now, verbose=verbose, width=width)
