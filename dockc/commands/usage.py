"""`dockc du` and `dockc builder du`: what takes space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.options import Options, option
from dockc.commands import shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dockc.base.output import Output
    from dockc.runtime.refs.plan import Census, Plan
    from dockc.runtime.refs.policy import Rule
    from dockc.runtime.refs.types import UsageRecord

FILTER = option(
    "--filter",
    metavar="CONDITION",
    help="Only records that match, such as `type==exec.cachemount`; a comma is and, several are alternatives. buildx's "
    "`type=exec.cachemount` and `until=24h` are understood.",
)
VERBOSE = option("--verbose", "-v", help="Everything about each record.")
FORMAT = option(
    "--format",
    metavar="FORM",
    help="A template of buildx's fields for each record, such as '{{.ID}}: {{.Size}}'; json, table, pretty, or 'table "
    "{{.ID}}\\t{{.Type}}'.",
)


class Listing(Options):
    """Which records are shown, of here or elsewhere, and how."""

    filters: tuple[str, ...] = FILTER
    verbose: bool = VERBOSE
    tree: bool = option("--tree", help="Each record below what it stands on, here with who holds it.")
    format: str = FORMAT
    json: bool = shared.JSON


class UsageOptions(Listing):
    """Show what the store holds and what it takes."""

    store: Path | None = shared.STORE
    examples = ("dockc du", "dockc du -v --filter type==exec.cachemount", "dockc du --format '{{.ID}}: {{.Size}}'")


class RemoteUsageOptions(Listing):
    """Show what takes space on a builder elsewhere."""

    builder: str = shared.BUILDER
    addr: str = shared.ADDR
    tlsdir: str = shared.TLSDIR
    examples = ("dockc builder du --builder far --verbose",)


def run(options: UsageOptions, out: Output) -> int:
    """`dockc du`.

    Raises:
        UsageError: a filter or format that cannot be understood, settings likewise.
    """
    from dockc.commands.filters import read
    from dockc.runtime.refs.plan import last_use, matcher

    check(options)
    filters, age = read(options.filters)
    census, plan, rules = looked(options.store)
    fits = matcher(filters)
    found = [one for one in census.records if fits(one) and max(0, census.at - last_use(one)) >= age]
    said = {}
    if options.verbose or options.format or options.json:
        from dockc.console.storage import fates

        said = fates(plan, rules)
    out.write(_shown(options, found, census.at, said, None if options.filters else census, out.style().width))
    return 0


def run_remote(options: RemoteUsageOptions, out: Output) -> int:
    """`dockc builder du`.

    Raises:
        DockcError: no builder, or it does not answer.
    """
    import time

    from dockc.client.usage import usage
    from dockc.commands.filters import read
    from dockc.commands.remote import needed, until_told

    check(options)
    builder = needed(options.builder, options.addr, options.tlsdir)
    filters, age = read(options.filters)

    found = until_told(usage(builder.nodes, filters, age))
    text = _shown(options, found, time.time_ns(), {}, None, out.style().width)
    if not options.filters and not options.json and options.format in {"", "table", "pretty"}:
        from dockc.console.storage import sums

        text += sums(found)
    out.write(text)
    return 0


def check(options: UsageOptions | RemoteUsageOptions) -> None:
    """Refuse forms that exclude each other.

    Raises:
        UsageError: which.
    """
    from dockc.errors import UsageError

    asked = [
        name for name in ("--verbose", "--tree", "--format", "--json") if getattr(options, name.removeprefix("--"))
    ]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} cannot be used together")


def _shown(
    options: UsageOptions | RemoteUsageOptions,
    found: Sequence[UsageRecord],
    now: int,
    said: dict[str, str],
    census: Census | None,
    width: int,
) -> str:
    from dockc.console import storage

    if options.json:
        return storage.json_lines(found, {name: {"collected": text} for name, text in said.items()})
    if options.format not in {"", "table", "pretty"}:
        return storage.formatted(found, options.format, now, said)
    if options.tree:
        text = storage.usage_tree(found, now, width=width)
    elif options.verbose or options.format == "pretty":
        text = storage.usage_details(found, now, said)
    else:
        text = storage.usage_table(found, now, width=width)
    return text + (storage.sums(found, census) if census is not None else "")


def looked(store: Path | None) -> tuple[Census, Plan, tuple[Rule, ...]]:
    """The store, what its collection would take now, and by which rules.

    Raises:
        UsageError: settings that cannot be understood.
    """
    from dockc.commands.store import opened
    from dockc.engine.settings import collection
    from dockc.runtime.refs.plan import plan
    from dockc.runtime.store.images import reachable
    from dockc.runtime.store.place import default_root

    policy = collection(store or default_root())
    with opened(store) as worker:
        census = worker.refs.census(reachable(worker.content))
        rules = policy.on(census.disk)
        return census, plan(census, rules), rules
