"""One output after the other: what `-o` and `-t` asked for becomes files, archives and pushed images."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from dockc.base.record import Record, made, replace
from dockc.base.table import load
from dockc.errors import DockcError, RegistryError, StoreError, UsageError
from dockc.golang.text import dump_json
from dockc.oci.descriptor import Descriptor
from dockc.oci.keys import CONFIG_DIGEST, CREATED, DESCRIPTOR, DIGEST, RESULT_NAME
from dockc.oci.reference import Reference, parse_normalized
from dockc.runtime.exporter import table
from dockc.runtime.exporter.options import Output
from dockc.runtime.exporter.output import STDOUT, check_destination, is_stdout, open_output
from dockc.runtime.exporter.source import ExportSource, Report, parse_names
from dockc.runtime.exporter.writer import ImageWriter, Written

if TYPE_CHECKING:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.refs.manager import ProviderFactory, RefManager
    from dockc.runtime.refs.types import Progress, Remote
    from dockc.runtime.registry.client import Client
    from dockc.runtime.session.sinks import Sinks, Tree

Export = Callable[["ExportSource", "Output", "Exporters"], "Exported"]
"""What a kind of output names in `table.KINDS`."""


class Exporters(Record):
    """What exporting needs.

    Attributes:
        content: the content store.
        refs: fetches layers that nobody has needed yet.
        client: makes a registry client, called only when something is pushed; the argument says whether any
            certificate and plain HTTP are accepted.
        report: told of each part's begin and end.
        progress: told of bytes fetched and pushed.
        cancelled: the build's cancel event.
        sinks: where files go that leave this machine; None: to their destinations.
        number: which output this is, from 0.
        instead: fetch layers with the build's own credentials, where whoever named them cannot any more.
    """

    content: ContentStore
    refs: RefManager
    client: Callable[[bool], Client]
    report: Report | None = None
    progress: Progress | None = None
    cancelled: threading.Event | None = None
    sinks: Sinks | None = None
    number: int = 0
    instead: Sequence[ProviderFactory] = ()

    def archive(self, output: Output, metadata: Mapping[str, str]) -> AbstractContextManager[BinaryIO]:
        """A stream for the archive that an output is."""
        if self.sinks is not None:
            return self.sinks.archive(self.number, metadata)
        dest = _destination(output)
        return open_output(dest) if dest else docker_load()

    def tell(self, what: str, *, done: bool = False) -> None:
        """Report a part of the export."""
        if self.report is not None:
            self.report(what, done)


class Exported(Record):
    """What came of one output.

    Attributes:
        output: what was asked for.
        metadata: BuildKit's response: texts by key, the descriptor in base64.
    """

    output: Output
    metadata: Mapping[str, str] = made(dict)


def check(outputs: Sequence[Output], names: Sequence[str] = (), *, sinks: bool = False) -> None:
    """Refuse what cannot work before anything is built. With `sinks`, files have no destination on this machine.

    Raises:
        UsageError: a destination that is no place to write to, a push without a name, a broken name.
        InvalidReference: a broken name of `-t`.
    """
    import shutil

    for name in parse_names((*names, *(name for output in outputs for name in output.names if name != "*"))):
        if name.digest:
            raise UsageError(
                f"invalid tag {name}: a digest cannot be chosen, it comes of the image",
                hint="Leave out what begins with @.",
            )
    piped = False
    for output in outputs:
        if output.kind.writes and not sinks:
            dest = _destination(output)
            if dest and is_stdout(dest):
                if piped:
                    raise UsageError("multiple outputs configured to write to stdout")
                piped = True
            if dest:
                check_destination(output.type, dest, directory=output.is_directory)
            elif output.type == "docker" and shutil.which("docker") is None:
                raise UsageError(
                    "dest file is required for docker exporter",
                    hint="without a dest the image goes to the engine by `docker load`, and there is no docker",
                )
        if output.flag("push") and not names and not output.names:
            raise UsageError("tag is needed when pushing to registry", hint="name the image with -t or with name=...")


def _destination(output: Output) -> str:
    """Archives without a destination go to standard output, Docker's into the engine."""
    if output.dest or output.type == "docker" or output.is_directory:
        return output.dest
    return STDOUT


def export(source: ExportSource, output: Output, using: Exporters) -> Exported:
    """Make one output.

    Raises:
        DockcError: it cannot be made; files appear whole or not at all.
    """
    kind = table.find(output.type)
    if kind is None:
        raise DockcError(f"unknown output type {output.type!r}")
    work: Export = load(kind.export)
    return work(source, output, using)


def metadata_file(results: Sequence[Exported]) -> bytes:
    """The content of `--metadata-file`: JSON with sorted keys, the descriptor as an object."""
    merged: dict[str, object] = {}
    for result in results:
        for key, value in result.metadata.items():
            merged[key] = json.loads(base64.b64decode(value)) if key == DESCRIPTOR else value
    return dump_json({key: merged[key] for key in sorted(merged)}, indent=2)


# --- files ----------------------------------------------------------------------------------------------


def export_local(source: ExportSource, output: Output, using: Exporters) -> Exported:
    """File trees in a directory."""
    from dockc.runtime.exporter.localdir import LocalWriter

    split = output.flag("platform-split", source.multi)
    delete = output.deletes
    using.tell("copying files")
    with _mounted(source, output, split=split, using=using) as trees:
        if using.sinks is not None:
            using.sinks.directory(using.number, trees, delete=delete, cancelled=using.cancelled)
        else:
            LocalWriter(Path(output.dest), delete, using.cancelled).write(trees)
    using.tell("copying files", done=True)
    return Exported(output)


def export_tar(source: ExportSource, output: Output, using: Exporters) -> Exported:
    """File trees in one tar file."""
    from dockc.runtime.exporter import tarball

    using.tell("sending tarball")
    with (
        _mounted(source, output, split=source.multi, using=using) as trees,
        using.archive(output, {}) as out,
    ):
        tarball.write(out, trees, cancelled=using.cancelled)
    using.tell("sending tarball", done=True)
    return Exported(output)


def export_nothing(source: ExportSource, output: Output, using: Exporters) -> Exported:
    """The cache has it: nothing is made."""
    return Exported(output)


@contextmanager
def _mounted(source: ExportSource, output: Output, *, split: bool, using: Exporters) -> Iterator[list[Tree]]:
    """All results as directories."""
    from dockc.runtime.session.sinks import Tree

    with ExitStack() as stack:
        trees = []
        for result in source.results:
            if result.ref is None:
                held = stack.enter_context(using.refs.scratch())
                root = stack.enter_context(held.mount())
            else:
                result.ref.prefetch(cancelled=using.cancelled, progress=using.progress, instead=using.instead)
                root = stack.enter_context(result.ref.mount())
            epoch = result.epoch if output.epoch is None else output.epoch
            folder = result.id.replace("/", "_") if split else ""
            trees.append(Tree(result.id, root, folder, epoch))
        yield trees


# --- images ---------------------------------------------------------------------------------------------


def _names(source: ExportSource, output: Output) -> tuple[Reference, ...]:
    return parse_names(_written_names(source, output))


def _written_names(source: ExportSource, output: Output) -> tuple[str, ...]:
    """Image names as the output or, without any of its own, the build says them."""
    own = output.names
    return source.names if not own or own == ("*",) else own


def _write(source: ExportSource, output: Output, using: Exporters) -> tuple[Written, dict[str, str]]:
    written = ImageWriter(using.content, report=using.report, cancelled=using.cancelled).write(source, output.image)
    metadata = {DIGEST: written.root.digest}
    if written.config_digest:
        metadata[CONFIG_DIGEST] = written.config_digest
    return written, metadata


def _bring(remote: Remote, using: Exporters) -> None:
    using.refs.ensure_blobs(remote, cancelled=using.cancelled, progress=using.progress, instead=using.instead)


def _encoded(descriptor: Descriptor) -> str:
    return base64.b64encode(dump_json(descriptor.to_json())).decode()


def export_archive(source: ExportSource, output: Output, using: Exporters) -> Exported:
    """An image in an OCI or Docker archive, or in a directory."""
    from dockc.runtime.exporter import archive

    if output.type == "docker" and source.multi:
        raise DockcError("docker exporter does not currently support exporting manifest lists")
    written, metadata = _write(source, output, using)
    names = _names(source, output)
    created = _created(source, output)
    root = replace(written.root, annotations={CREATED: created, **written.root.annotations})
    metadata[DESCRIPTOR] = _encoded(root)
    if names:
        metadata[RESULT_NAME] = ",".join(str(name) for name in names)
    _bring(written.remote, using)
    using.tell("sending tarball")
    if output.archive:
        with using.archive(output, metadata) as out:
            archive.write_tar(
                out,
                using.content,
                root,
                names,
                created,
                docker=output.type == "docker",
                cancelled=using.cancelled,
            )
    elif using.sinks is not None:
        _, blobs = archive.tree(using.content, root)
        using.sinks.blobs(
            using.number, {one.digest: one.size for one in blobs}, using.content, cancelled=using.cancelled
        )
    else:
        archive.write_directory(Path(output.dest), using.content, root, names, created, cancelled=using.cancelled)
    using.tell("sending tarball", done=True)
    return Exported(output, metadata)


def _created(source: ExportSource, output: Output) -> str:
    epoch = output.epoch
    if epoch is None:
        known = [result.epoch for result in source.results if result.epoch is not None]
        epoch = known[0] if known else None
    moment = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(epoch, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def docker_load() -> Iterator[BinaryIO]:
    """A stream into `docker load`."""
    import subprocess

    from dockc.base.children import Child

    process = Child(
        ["docker", "load", "--quiet"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        if process.stdin is None:
            raise StoreError("docker load: no input")
        broken = False
        try:
            yield cast("BinaryIO", process.stdin)
        except BrokenPipeError:
            broken = True
        said = process.communicate()[0].decode("utf-8", "replace").strip()
        if process.returncode != 0 or broken:
            raise StoreError(f"docker load failed: {said[:500] or process.returncode}")
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def export_image(source: ExportSource, output: Output, using: Exporters) -> Exported:
    """An image in the store, and in registries."""
    written, metadata = _write(source, output, using)
    metadata[DESCRIPTOR] = _encoded(written.root)
    names = _names(source, output)
    push, by_digest = output.flag("push"), output.flag("push-by-digest")
    written_names = _written_names(source, output)
    shown = list(written_names) if output.names else [str(name) for name in names]
    prefix = output.attrs.get("dangling-name-prefix", "")
    if prefix and not (names and output.flag("danging-name-empty-only")):
        shown.append(f"{prefix}@{written.root.digest}")
        names = (*names, *parse_names(shown[-1:]))
    if names:
        metadata[RESULT_NAME] = ",".join(shown)
    keep = output.flag("store", True)
    # What a registry has or can take over from a neighbour is not downloaded for the sake of pushing: the store keeps
    # the image all the same, and what it lacks is fetched when somebody asks for it. `store=true` is a wish to have it
    # all.
    later = push and "store" not in output.attrs
    if keep and not later:
        _bring(written.remote, using)
        _name(names, written, using)
    if push:
        if not names:
            raise RegistryError("cannot push an image without a name")
        for name in map(parse_normalized, written_names) if by_digest else ():
            if name.tag or name.digest:
                raise RegistryError(f"failed to push {name}: can't push tagged ref {name} by digest")
        from dockc.runtime.registry.push import Push

        client = using.client(output.flag("registry.insecure"))
        job = Push(client, using.content, written.layers, using.progress, using.cancelled, instead=using.instead)
        for name in names:
            try:
                using.tell("pushing layers")
                documents = job.send_layers(name, written.root)
                using.tell("pushing layers", done=True)
                using.tell(f"pushing manifest for {name}@{written.root.digest}")
                job.send_manifests(name, written.root, documents, by_digest=by_digest or bool(name.digest))
            except RegistryError as error:
                again = type(error)(f"failed to push {name}: {error.message}", hint=error.hint)
                raise again from error
            using.tell(f"pushing manifest for {name}@{written.root.digest}", done=True)
    if keep and later:
        _name(names, written, using)
    return Exported(output, metadata)


def _name(names: Sequence[Reference], written: Written, using: Exporters) -> None:
    """Keep an image under its names."""
    from dockc.runtime.source.registry import LocalNames

    known = LocalNames(using.content)
    for name in names:
        using.tell(f"naming to {name}")
        known.put(name, replace(written.root, annotations={}, platform=None), built=True)
        using.tell(f"naming to {name}", done=True)
