"""`dockc cache mounts`: directories of `RUN --mount=type=cache`, and their way to other machines."""

from __future__ import annotations

from pathlib import Path

from dockc.base.options import Options, argument, option
from dockc.commands import shared
from dockc.errors import DockcError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from dockc.base.output import Output
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.refs.types import CacheMount
    from dockc.runtime.registry.client import Client
    from dockc.runtime.remotecache.base import Place

_ID = argument(required=True, help="A cache mount: the `id=` of the step's mount, or its target.")
_IDS = argument(metavar="ID", help="Cache mounts: the `id=` of the steps' mounts, or their targets.")


class ListOptions(Options):
    """List the cache mounts of the store, the one used last first."""

    json: bool = shared.JSON
    store: Path | None = shared.STORE
    examples = ("dockc cache mounts ls",)


def run_list(options: ListOptions, out: Output) -> int:
    """`dockc cache mounts ls`."""
    import json
    import time

    from dockc.base.units import size_text
    from dockc.commands.store import opened
    from dockc.console.tables import age_text, table

    with opened(options.store) as worker:
        sizes = {one.id: one.size for one in worker.refs.usage()}
        found = worker.refs.cache_mounts()
    if options.json:
        for one in found:
            fields = {"id": one.id, "record": one.record, "based": one.based, "size": sizes.get(one.record, 0)}
            fields |= {"lastUsed": one.last_used, "inUse": one.busy, "description": one.description}
            out.write(json.dumps(fields) + "\n")
        return 0
    now = time.time_ns()
    rows = [
        [one.id, one.record, size_text(sizes.get(one.record, 0)), age_text(one.last_used, now), _state(one)]
        for one in found
    ]
    out.write(table(["ID", "RECORD", "SIZE", "USED", "STATE"], rows, right=(2,)))
    return 0


def _state(mount: CacheMount) -> str:
    return ", ".join([*(["in use"] if mount.busy else []), *(["based on files of a build"] if mount.based else [])])


class ExportOptions(Options):
    """Write cache mounts to a cache elsewhere, or one as a tar. What the cache has already is not sent again, and the
    steps that it holds stay.

    Waits for steps that have a mount for themselves; steps that share it may go on.
    """

    ids: tuple[str, ...] = _IDS
    to: str = option("--to", metavar="type=TYPE[,KEY=VALUE]", help="The cache, as `dockc build --cache-to` takes it.")
    output: str = option("--output", "-o", metavar="FILE", help="A tar of the one mount; `-` is standard output.")
    store: Path | None = shared.STORE
    examples = (
        "dockc cache mounts export pip /root/.npm --to type=registry,ref=registry.example/app/mounts",
        "dockc cache mounts export pip -o pip.tar",
    )


def run_export(options: ExportOptions, out: Output) -> int:
    """`dockc cache mounts export`.

    Raises:
        UsageError: there is no such mount, or no such place.
        DockcError: it cannot be written.
    """
    import os

    from dockc.base.record import replace
    from dockc.commands.store import opened
    from dockc.engine import mounts
    from dockc.runtime.remotecache import base, table

    _some(options.ids, "export ID... --to type=TYPE,KEY=VALUE")
    if bool(options.to) == bool(options.output):
        raise UsageError("say where to: --to with a cache, or --output with a file")
    if options.output:
        return _export_tar(options, out)
    entry = base.parse_entry(options.to)
    entry = replace(entry, attrs={**entry.attrs, "mounts": ";".join(options.ids)})
    target = table.target_of(entry, os.environ)
    with opened(options.store) as worker, _Clients() as clients:
        refs = worker.refs
        for name in options.ids:
            _found(refs, name)
        place = clients.place(worker.content)
        source = table.source_of(table.counterpart(entry), os.environ)
        mounts.save(refs, entry, target, mounts.steps_of(entry, place), place, _fail, source)
    return 0


def _fail(text: str) -> None:
    raise DockcError(text)


def _export_tar(options: ExportOptions, out: Output) -> int:
    import os
    import sys
    import tempfile

    from dockc.commands.store import opened
    from dockc.runtime.refs.mounttree import write_tree

    if len(options.ids) != 1:
        raise UsageError("a tar holds one cache mount", hint="Name one, or give a cache with --to.")
    with opened(options.store) as worker:
        refs = worker.refs
        mount = _found(refs, options.ids[0])
        with refs.enter_mount(mount) as folder:
            if folder is None:
                raise DockcError(f"cache mount {mount.id} has just been removed")
            if options.output == "-":
                sys.stdout.flush()
                write_tree(folder, out.write)
                return 0
            path = Path(options.output)
            try:
                handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
                try:
                    with os.fdopen(handle, "wb") as file:
                        write_tree(folder, file.write)
                    Path(temporary).chmod(0o644)
                    Path(temporary).replace(path)
                except BaseException:
                    Path(temporary).unlink(missing_ok=True)
                    raise
            except OSError as error:
                raise DockcError(f"cannot write {path}: {error.strerror}") from error
    return 0


class ImportOptions(Options):
    """Bring cache mounts here that are in a cache elsewhere, or one from a tar. One that is here already stays as it
    is.

    A build does that by itself, for the mounts that its steps ask for: `dockc build --cache-from`.
    """

    ids: tuple[str, ...] = argument(metavar="ID", help="The mounts to bring; all that the cache has, if none is named.")
    source: str = option(
        "--from", metavar="type=TYPE[,KEY=VALUE]", help="The cache, as `dockc build --cache-from` takes it."
    )
    input: str = option("--input", "-i", metavar="FILE", help="A tar, packed or not, of the one mount.")
    replace: bool = option("--replace", help="Take those that are here away first; not while they are in use.")
    store: Path | None = shared.STORE
    examples = (
        "dockc cache mounts import --from type=registry,ref=registry.example/app/mounts",
        "dockc cache mounts import pip -i pip.tar",
    )


def run_import(options: ImportOptions, out: Output) -> int:
    """`dockc cache mounts import`; 1 where a mount was left as it is.

    Raises:
        UsageError: the cache has no such mount, or there is no such place.
        DockcError: a mount cannot be had, or is not what it should be.
    """
    import os
    from functools import partial

    from dockc.commands.store import opened
    from dockc.engine import mounts
    from dockc.runtime.remotecache import base, table

    if bool(options.source) == bool(options.input):
        raise UsageError("say where from: --from with a cache, or --input with a file")
    if options.input:
        return _import_tar(options, out)
    entry = base.parse_entry(options.source)
    source = table.source_of(entry, os.environ)
    with opened(options.store, fills=True) as worker, _Clients() as clients:
        refs = worker.refs
        found = [mounts.CarriedMounts(one, refs) for one in source.load(clients.place(worker.content))]
        have = {mount.id: (cache, mount) for cache in reversed(found) for mount in cache.index().mounts}
        missing = [name for name in options.ids if name not in have]
        if missing or not have:
            named = f"cache mount {missing[0]}" if missing else "cache mounts"
            raise UsageError(f"{entry.shown()} has no {named}", hint=f"It has {', '.join(sorted(have)) or 'none'}.")
        status = 0
        for name in options.ids or sorted(have):
            cache, mount = have[name]
            if mount.based:
                out.write(_line(name, "based on files of a build, which brings it by --cache-from"))
                status = 1
            elif _make_room(refs, name, options.replace, out) and refs.make_mount(name, partial(cache.restore, mount)):
                out.write(_line(name, "imported"))
            else:
                status = 1
    return status


def _make_room(refs: RefManager, name: str, take_away: bool, out: Output) -> bool:
    """Whether a mount can be made now; says why it cannot."""
    for mount in refs.cache_mounts():
        if mount.id != name or mount.based:
            continue
        if not take_away:
            out.write(_line(name, "is here already; --replace takes it away first"))
            return False
        if refs.remove_mount(mount) < 0:
            out.write(_line(name, "is in use"))
            return False
    return True


def _import_tar(options: ImportOptions, out: Output) -> int:
    from dockc.commands.store import opened
    from dockc.runtime.archive.compress import Decompressor
    from dockc.runtime.refs.mounttree import read_tree

    if len(options.ids) != 1:
        raise UsageError("a tar holds one cache mount", hint="Say under which id it is to be here.")
    name = options.ids[0]
    with _open(Path(options.input)) as file, opened(options.store, fills=True) as worker:
        refs = worker.refs
        if not _make_room(refs, name, options.replace, out):
            return 1
        made = refs.make_mount(name, lambda folder, cancelled: read_tree(Decompressor(file, archives=True), folder, cancelled=cancelled))  # fmt: skip
    out.write(_line(name, f"{'imported' if made else 'is here already'}"))
    return 0 if made else 1


def _open(path: Path) -> BinaryIO:
    from dockc.base.files import open_stream

    try:
        return open_stream(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


class RemoveOptions(Options):
    """Remove cache mounts. One that is in use stays."""

    ids: tuple[str, ...] = argument(metavar="ID", help="Cache mounts by their ids, or by their records' ids.")
    store: Path | None = shared.STORE
    examples = ("dockc cache mounts rm pip",)


def run_remove(options: RemoveOptions, out: Output) -> int:
    """`dockc cache mounts rm`; 1 where one is in use.

    Raises:
        UsageError: there is no such mount; nothing is removed.
    """
    from dockc.commands.store import opened

    _some(options.ids, "rm ID...")
    status = 0
    with opened(options.store) as worker:
        refs = worker.refs
        here = refs.cache_mounts()
        chosen = [_named(here, name) for name in options.ids]
        for mount in dict.fromkeys(one for some in chosen for one in some):
            if refs.remove_mount(mount) < 0:
                out.write(_line(mount.id, "is in use"))
                status = 1
            else:
                out.write(_line(mount.id, "removed"))
    return status


class ShellOptions(Options):
    """Run a shell, or COMMAND, in the directory of a cache mount, as the steps of builds see its files.

    The mount is in use as long as it runs: steps that share it go on, others wait or take another one.
    """

    id: str = _ID
    command: tuple[str, ...] = argument(help="The command and its arguments. Default: `$SHELL`, else /bin/sh.")
    store: Path | None = shared.STORE
    interspersed = False
    examples = ("dockc cache mounts shell pip", "dockc cache mounts shell pip du -sh .")


def run_shell(options: ShellOptions, out: Output) -> int:
    """`dockc cache mounts shell`: ends as the command does, 128 + n where signal n ended it.

    Raises:
        UsageError: there is no such mount.
        DockcError: the command cannot be run.
    """
    import os
    import signal
    import subprocess

    from dockc.commands.store import opened

    argv = list(options.command) or [os.environ.get("SHELL") or "/bin/sh"]
    with opened(options.store, fills=True) as worker:
        refs = worker.refs
        mount = _found(refs, options.id)
        with refs.enter_mount(mount) as folder:
            if folder is None:
                raise DockcError(f"cache mount {mount.id} has just been removed")
            environ = {**os.environ, "DOCKC_CACHE_MOUNT": mount.id, "PWD": str(folder)}
            before = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGINT, signal.SIGQUIT)]
            try:
                with subprocess.Popen(argv, cwd=folder, env=environ, preexec_fn=_hear_signals) as process:  # noqa: PLW1509
                    status = process.wait()
            except OSError as error:
                raise DockcError(f"cannot run {argv[0]}: {error.strerror}") from error
            finally:
                for number, handler in before:
                    signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def _hear_signals() -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def _some(ids: Sequence[str], usage: str) -> None:
    if not ids:
        raise UsageError("which cache mounts?", hint=f"dockc cache mounts {usage}; `dockc cache mounts ls` lists them.")


def _line(name: str, text: str) -> str:
    from dockc.console.clean import clean_text

    return f"{clean_text(name)}: {text}\n"


def _named(here: Sequence[CacheMount], name: str) -> list[CacheMount]:
    found = [one for one in here if name in (one.id, one.record)]
    if not found:
        known = ", ".join(dict.fromkeys(one.id for one in here))
        raise UsageError(f"there is no cache mount {name}", hint=f"There are {known}." if known else "There is none.")
    return found


def _found(refs: RefManager, name: str) -> CacheMount:
    """A mount by its id; of several the one used last, of which nobody has one for himself if possible."""
    return sorted(_named(refs.cache_mounts(), name), key=lambda one: one.busy)[0]


class _Clients:
    """The registry clients of one command; closed at its end."""

    def __init__(self) -> None:
        self._made: list[Client] = []

    def __enter__(self) -> _Clients:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._made:
            client.close()

    def place(self, content: ContentStore) -> Place:
        """What a cache works with."""
        from dockc.runtime.remotecache.base import Place

        return Place(content, self._client)

    def _client(self, insecure: bool = False) -> Client:
        from dockc.engine.connect import registry_client

        self._made.append(registry_client(insecure=insecure))
        return self._made[-1]
