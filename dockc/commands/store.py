"""Commands on the store: its images, checking it. `usage` and `prune` are about its space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.options import Options, argument, option
from dockc.base.output import log
from dockc.commands import shared
from dockc.errors import DiskFull

if TYPE_CHECKING:
    from dockc.base.output import Output
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.policy import Rule
    from dockc.runtime.refs.prune import Pruned
    from dockc.runtime.store.doctor import Report
    from dockc.runtime.store.images import NamedImage
    from dockc.runtime.store.worker import Worker


class ImagesOptions(Options):
    """List the images that were built under a name."""

    name: str = argument(metavar="NAME", help="This image alone; without a tag, all of that name.", completes="image")
    quiet: bool = option("--quiet", "-q", help="Print digests alone, each once.")
    all: bool = option("--all", "-a", help="List all that has a name, which is so in any case.")
    format: str = option(
        "--format",
        metavar="TEMPLATE",
        help="A template of docker's fields, such as '{{.Repository}}:{{.Tag}}' or 'table {{.ID}}\\t{{.Size}}', or json.",
    )
    remove: tuple[str, ...] = option(
        "--remove", metavar="NAME", help="Take a name away; its layers go with the next prune.", completes="image"
    )
    json: bool = shared.JSON
    store: Path | None = shared.STORE
    examples = ("dockc images", "dockc images --json")


def run_images(options: ImagesOptions, out: Output) -> int:
    """`dockc images`."""
    from dockc.console.view import render_images

    if options.remove:
        forget_images(options.store, options.remove)
        return 0
    found = images(options.store)
    if options.name:
        found = [one for one in found if _means(options.name, one.name)]
    if options.quiet:
        out.write("".join(f"{digest}\n" for digest in dict.fromkeys(one.target.digest for one in found)))
    elif options.format:
        from dockc.console.dockerforms import listed

        out.write(listed(found, options.format))
    else:
        out.write(render_images(found, as_json=options.json))
    return 0


def _means(asked: str, name: str) -> bool:
    """Whether a name that somebody typed is that of an image; without a tag it is of all tags.

    Raises:
        DockcError: it is no name.
    """
    from dockc.oci import reference

    wanted, there = (reference.parse_normalized(text) for text in (asked, name))
    return wanted.name == there.name and wanted.tag in ("", there.tag)


class DoctorOptions(Options):
    """Check the store: every blob's digest, every layer, every cache record. Ends with 1 if something is wrong."""

    fix: bool = option("--fix", help="Put right what can be: make databases anew, forget what cannot be used any more.")
    full: bool = option("--full", help="Read all content of all layers; else a sample of each.")
    json: bool = option("--json", help="Print JSON.")
    store: Path | None = shared.STORE
    examples = ("dockc doctor", "dockc doctor --full --fix")


def run_doctor(options: DoctorOptions, out: Output) -> int:
    """`dockc doctor`."""
    report = examine(options.store, fix=options.fix, full=options.full)
    if options.json:
        out.write(_doctor_json(report))
        return 0 if report.healthy else 1
    for finding in report.findings:
        out.write(f"{finding.problem}: {finding.subject}: {finding.message}{' (fixed)' if finding.fixed else ''}\n")
    out.write(
        f"{report.blobs} blobs and {report.records} records checked: {'healthy' if report.healthy else 'damaged'}\n"
    )
    return 0 if report.healthy else 1


def _doctor_json(report: Report) -> str:
    import json

    findings = [
        {"problem": str(one.problem), "subject": one.subject, "message": one.message, "fixed": one.fixed}
        for one in report.findings
    ]
    shown = {"healthy": report.healthy, "blobs": report.blobs, "records": report.records, "findings": findings}
    return json.dumps(shown) + "\n"


@contextmanager
def opened(store: Path | None, *, fills: bool = False) -> Iterator[Worker]:
    """The worker of a store, inside the builder's namespaces: files of other users can be removed there.

    With `fills`, more is to be put into it: then what it keeps in reserve for a full disk stays.
    """
    from dockc.runtime.executor.rootless import enter_build_namespace
    from dockc.runtime.store.place import default_root
    from dockc.runtime.store.worker import Worker, WorkerOptions

    root = store or default_root()
    enter_build_namespace()
    with Worker(WorkerOptions(root=root, borrow=not fills)) as worker:
        yield worker


def prune(store: Path | None, rules: Sequence[Rule]) -> Pruned:
    """Remove what nobody needs, as the rules say, also where the disk has no room to open the store.

    Raises:
        StoreError: the store is damaged, or not ours.
    """
    from dockc.runtime.executor.rootless import enter_build_namespace
    from dockc.runtime.refs.prune import joined
    from dockc.runtime.store import ballast
    from dockc.runtime.store.place import default_root
    from dockc.runtime.store.room import has_room, make_room
    from dockc.runtime.store.worker import Worker, WorkerOptions

    root = store or default_root()
    enter_build_namespace()
    borrowed = ballast.borrow(root)
    try:
        pruned = make_room(root, rules, named_blobs(root))
        try:
            with Worker(WorkerOptions(root=root)) as worker:
                pruned = joined(pruned, worker.prune(rules, partial(named_blobs, root)))
        except DiskFull:
            pruned = joined(pruned, make_room(root, rules, named_blobs(root), everything=True))
    finally:
        ballast.give_back(root, borrowed)
    if not has_room(root):
        log(
            "note: the disk is still full: what is left of the store is held by named images (`dockc image rm`) "
            "or by builds at work, and the rest is not the store's\n"
        )
    return pruned


def named_blobs(root: Path) -> dict[str, str]:
    """Blobs of the images with a name in a store, which need not be open, and whose they are."""
    from dockc.runtime.store.images import reachable

    return reachable(stored(root)) if (root / "content").is_dir() else {}


def stored(store: Path | None) -> ContentStore:
    """The blobs and names of a store, which need not be opened for them: they can be looked at, and names taken away,
    on a disk that is full to the last byte.
    """
    from dockc.runtime.content.errors import telling
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.store.place import default_root

    root = store or default_root()
    with telling("opening the store", root):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ContentStore(root / "content")


def images(store: Path | None) -> list[NamedImage]:
    """Images with a name."""
    from dockc.runtime.store.images import listing

    return listing(stored(store))


def forget_images(store: Path | None, names: Sequence[str]) -> None:
    """Take names away.

    Raises:
        DockcError: a name that is not there.
    """
    from dockc.runtime.store.images import forget

    content = stored(store)
    for name in names:
        forget(content, name)


def examine(store: Path | None, *, fix: bool, full: bool = False) -> Report:
    """Check the whole store, also one that cannot be opened.

    Args:
        store: where it is, None for the usual place.
        fix: put right what can be.
        full: all content of all layers, not a sample.

    Raises:
        StoreError: it is damaged, and cannot be put right now or was not to be.
    """
    from dockc.runtime.executor.rootless import enter_build_namespace
    from dockc.runtime.store import ballast
    from dockc.runtime.store.doctor import Finding, Problem, Report
    from dockc.runtime.store.doctor import examine as examine_refs
    from dockc.runtime.store.place import default_root
    from dockc.runtime.store.salvage import examine_files
    from dockc.runtime.store.worker import Worker, WorkerOptions

    root = store or default_root()
    enter_build_namespace()
    borrowed = ballast.borrow(root) if fix else None
    try:
        before = [Finding(Problem.DATABASE, *found) for found in examine_files(root, fix=fix)]
        if not all(finding.fixed for finding in before):
            return Report(0, 0, tuple(before))
        with Worker(WorkerOptions(root=root, borrow=True)) as worker:
            return examine_refs(worker.refs, keys=worker.keys, fix=fix, full=full, before=before)
    finally:
        ballast.give_back(root, borrowed)
