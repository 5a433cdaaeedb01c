"""`dockc image`: what is in the images of the store, and their ways in and out: names, archives, registries.

The words of docker's users (`dockc pull`, `tag`, `save`, ...) are the same commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.options import Options, argument, option
from dockc.commands import shared, transfer
from dockc.errors import DockcError

if TYPE_CHECKING:
    from typing import Any

    from dockc.base.output import Output
    from dockc.oci.descriptor import Descriptor
    from dockc.oci.platform import Platform
    from dockc.oci.reference import Reference
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.store.images import Chosen
    from dockc.runtime.store.worker import Worker

_PLATFORM = option(
    "--platform",
    metavar="OS/ARCH[/VARIANT]",
    help="Of an image for several platforms, the one for this. Default: this machine's.",
)
_IMAGE = argument(required=True, metavar="NAME", help="Name of an image of the store.", completes="image")


class InspectOptions(Options):
    """Show the manifests and configs of images, as one JSON list."""

    names: tuple[str, ...] = argument(metavar="NAME", help="Names of images of the store.", completes="image")
    format: str = option(
        "--format",
        "-f",
        metavar="TEMPLATE",
        help="A template of docker's fields instead, such as '{{.Id}}' or '{{json .Config.Env}}', or json.",
    )
    json: bool = option("--json", help="Print JSON, as without a template.")
    platform: str = _PLATFORM
    store: Path | None = shared.STORE
    examples = ("dockc image inspect app",)


def run_inspect(options: InspectOptions, out: Output) -> int:
    """`dockc image inspect`.

    Raises:
        DockcError: no image of a name.
    """
    import json

    from dockc.commands.store import opened

    names = _some(options.names, "image inspect NAME...")
    shared.form(options.format, options.json)
    with opened(options.store) as worker:
        found = [_choose(worker.content, name, options.platform) for name in names]
    if options.format:
        from dockc.console.dockerforms import inspected

        out.write(inspected(found, options.format))
        return 0
    out.write(json.dumps([_description(one) for one in found], indent=2) + "\n")
    return 0


def _description(image: Chosen) -> dict[str, Any]:
    from dockc.oci import platform as platforms

    parts = (image.target, image.manifest.config, *image.manifest.layers)
    return {
        "name": image.ref.familiar(),
        "digest": image.root.digest,
        "mediaType": image.root.media_type,
        "platform": platforms.format_all(image.config.platform),
        "size": sum({part.digest: part.size for part in parts}.values()),
        "manifest": {"digest": image.target.digest, **image.manifest.to_json()},
        "config": image.config.raw,
    }


class LayersOptions(Options):
    """Show what each layer of an image brings, lowest first: its size, the files that it adds, changes and removes, and
    the bytes that a later layer replaces or removes again.
    """

    name: str = _IMAGE
    platform: str = _PLATFORM
    no_trunc: bool = option("--no-trunc", help="Show lines whole, however long they are.")
    json: bool = shared.JSON
    store: Path | None = shared.STORE
    examples = ("dockc image layers app",)


def run_layers(options: LayersOptions, out: Output) -> int:
    """`dockc image layers`.

    Raises:
        DockcError: no image of that name, or a layer is missing or damaged.
    """
    import json

    from dockc.base.units import size_text
    from dockc.commands.store import opened
    from dockc.console.tables import table
    from dockc.runtime.store.layers import Contents

    with opened(options.store) as worker:
        image = _choose(worker.content, options.name, options.platform)
        _complete(worker, image.ref, image.target)
        layers = Contents(worker.content, image.manifest, image.config).layers
    if options.json:
        out.write("".join(json.dumps({name: getattr(one, name) for name in one.__slots__}) + "\n" for one in layers))
        return 0
    rows = [
        (
            size_text(one.size),
            size_text(one.files),
            str(one.added),
            str(one.changed),
            str(one.removed),
            size_text(one.wasted),
            _short(one.line, len(one.line)) if options.no_trunc else _short(_said(one.line), _LONGEST),
        )
        for one in layers
    ]
    headers = ("SIZE", "FILES", "ADDED", "CHANGED", "REMOVED", "WASTED", "LINE")
    width = 0 if options.no_trunc else out.style().width
    out.write(table(headers, rows, right=(0, 1, 2, 3, 4, 5), width=width))
    size, files, wasted = (sum(getattr(one, name) for one in layers) for name in ("size", "files", "wasted"))
    lost = f"{size_text(wasted)} ({100 * wasted / files:.1f} %) are wasted" if wasted else "nothing is wasted"
    out.write(
        f"\n{len(layers)} layer{'s' * (len(layers) != 1)}, {size_text(size)}; {size_text(files)} of files, of which "
        f"{lost}\n"
    )
    return 0


_LONGEST = 100
"""Characters of a line that a table shows."""


def _said(line: str) -> str:
    """A line of an image's history as its Dockerfile had it: without the shell, and without what builders add."""
    line = line.removesuffix(" # buildkit").removeprefix("/bin/sh -c #(nop) ").lstrip()
    if line.startswith("/bin/sh -c "):
        line = f"RUN {line}"
    return line.replace("RUN /bin/sh -c ", "RUN ", 1) if line.startswith("RUN ") else line


def _short(text: str, limit: int) -> str:
    from dockc.console.clean import clean_text

    text = " ".join(clean_text(text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


class FilesOptions(Options):
    """List the files of an image: mode, owner, size, the number of the layer that they come from (the lowest is 0), and
    name.
    """

    name: str = _IMAGE
    platform: str = _PLATFORM
    json: bool = shared.JSON
    store: Path | None = shared.STORE
    examples = ("dockc image files app",)


def run_files(options: FilesOptions, out: Output) -> int:
    """`dockc image files`.

    Raises:
        DockcError: no image of that name, or a layer is missing or damaged.
    """
    import json

    from dockc.commands.store import opened
    from dockc.console.clean import clean_text
    from dockc.runtime.archive import tarheader
    from dockc.runtime.store.layers import Contents

    letters = {
        tarheader.REGULAR: "-",
        tarheader.DIRECTORY: "d",
        tarheader.SYMLINK: "l",
        tarheader.HARDLINK: "h",
        tarheader.CHAR: "c",
        tarheader.BLOCK_DEVICE: "b",
        tarheader.FIFO: "p",
    }
    with opened(options.store) as worker:
        image = _choose(worker.content, options.name, options.platform)
        _complete(worker, image.ref, image.target)
        for one in Contents(worker.content, image.manifest, image.config).files():
            letter = letters.get(one.kind, "?")
            path, link = (
                text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in (one.path, one.link)
            )
            if options.json:
                row = {"path": path, "type": letter, "mode": f"{one.mode:04o}", "uid": one.uid, "gid": one.gid}
                out.write(json.dumps({**row, "size": one.size, "link": link, "layer": one.layer}) + "\n")
                continue
            shown = clean_text(path) + (f" -> {clean_text(link)}" if link else "")
            out.write(f"{letter}{one.mode:04o} {one.uid}:{one.gid} {one.size:>12} {one.layer:>3} {shown}\n")
    return 0


class TagOptions(Options):
    """Give an image of the store one more name."""

    source: str = _IMAGE
    target: str = argument(required=True, metavar="NEW", help="The further name.")
    store: Path | None = shared.STORE
    examples = ("dockc image tag app registry.example/team/app:1",)


def run_tag(options: TagOptions, out: Output) -> int:
    """`dockc image tag`.

    Raises:
        DockcError: no image of that name, or the new name is none.
    """
    from dockc.commands.store import opened
    from dockc.runtime.store import images

    with opened(options.store) as worker:
        images.rename(worker.content, options.source, options.target)
    return 0


class RemoveOptions(Options):
    """Take names away; what only they kept goes with the next `dockc prune`."""

    names: tuple[str, ...] = argument(
        metavar="NAME", help="Names of images of the store, or their digests.", completes="image"
    )
    force: bool = option(
        "--force",
        "-f",
        help="Pass over names that are not there, and take away all names of a digest that has several.",
    )
    store: Path | None = shared.STORE
    examples = ("dockc image rm app",)


def run_remove(options: RemoveOptions, out: Output) -> int:
    """`dockc image rm`.

    Raises:
        DockcError: no image of a name, or several names of a digest; then all names stay.
    """
    from dockc.commands.store import stored
    from dockc.runtime.store import images

    names = _some(options.names, "image rm NAME...")
    content = stored(options.store)
    refs: dict[str, None] = {}
    for name in names:
        found = images.named_by(content, name)
        if not found and options.force:
            out.log(f"no such image: {name}\n")
            continue
        if not found:
            images.named(content, name)
        if len(found) > 1 and not options.force:
            raise DockcError(
                f"{name} has several names: {', '.join(ref.familiar() for ref in found)}",
                hint="Take them away by name, or all with --force.",
            )
        refs |= dict.fromkeys(ref.familiar() for ref in found)
    for name in refs:
        images.forget(content, name)
        out.write(f"Untagged: {name}\n")
    return 0


class SaveOptions(Options):
    """Write an image to an archive, which dockc, docker, podman and skopeo load."""

    names: tuple[str, ...] = argument(metavar="NAME", help="Names of one image of the store.", completes="image")
    output: str = option(
        "--output", "-o", metavar="FILE", default="-", help="The archive. Default: standard output.", completes="file"
    )
    format: str = option(
        "--format",
        metavar="FORM",
        default="docker",
        help="docker: an OCI layout with docker's manifest beside it; oci: the layout alone, for all platforms of the "
        "image. Default: docker.",
        completes="docker|oci",
    )
    platform: str = _PLATFORM
    store: Path | None = shared.STORE
    examples = ("dockc image save app -o app.tar", "dockc save app | docker load")


def run_save(options: SaveOptions, out: Output) -> int:
    """`dockc image save`.

    Raises:
        UsageError: an unknown form, or images that cannot be in one archive.
        DockcError: no image of a name, a blob is missing, or the archive cannot be written.
    """
    from datetime import UTC, datetime

    from dockc.commands.store import opened
    from dockc.errors import UsageError
    from dockc.runtime.exporter import archive
    from dockc.runtime.exporter.output import check_destination, open_output
    from dockc.runtime.store import images

    if options.format not in {"docker", "oci"}:
        raise UsageError(f"unknown format {options.format}", hint="docker or oci")
    names = _some(options.names, "image save NAME")
    check_destination(options.format, options.output, directory=False)
    with opened(options.store) as worker:
        found = [images.named(worker.content, name) for name in names]
        if len({root.digest for _, root in found}) > 1:
            raise UsageError("these names are of several images", hint="Save each in an archive of its own.")
        whole = options.format == "oci" and not options.platform
        root = found[0][1] if whole else _choose(worker.content, names[0], options.platform).target
        _complete(worker, found[0][0], root)
        for blob in archive.tree(worker.content, root)[1]:
            worker.content.path(blob.digest)  # what is missing is told before anything is written
        refs = [ref for ref, _ in found]
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        with open_output(options.output) as file:
            archive.write_tar(file, worker.content, root, refs, created, docker=options.format == "docker")
    return 0


class LoadOptions(Options):
    """Take the images of an archive into the store: of `docker save`, `podman save`, `skopeo copy` or dockc, compressed
    or not; or those of an OCI layout.
    """

    file: str = argument(
        metavar="FILE",
        help="The archive or the layout's directory; `-` is standard input, the default.",
        completes="file",
    )
    input: str = option("--input", "-i", metavar="FILE", help="The same, in docker's way.", completes="file")
    name: str = option("--name", metavar="NAME", help="The name of the only image, instead of what the archive says.")
    quiet: bool = option("--quiet", "-q", help="Print names alone.")
    progress: str = transfer.PROGRESS
    store: Path | None = shared.STORE
    examples = ("dockc image load app.tar.gz", "docker save app | dockc load")


def run_load(options: LoadOptions, out: Output) -> int:
    """`dockc image load`.

    Raises:
        UsageError: no archive was given.
        DockcError: it holds no whole image, or no name for it.
    """
    import sys

    from dockc.commands.store import opened
    from dockc.console.clean import clean_text
    from dockc.errors import UsageError
    from dockc.runtime.store import imageload

    if options.file and options.input:
        raise UsageError("--input and an archive", hint="Give one of them.")
    place = options.file or options.input or imageload.STDIN
    if place == imageload.STDIN and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("standard input is no archive", hint="dockc image load FILE")
    with opened(options.store, fills=True) as worker:
        source = sys.stdin.buffer if place == imageload.STDIN else Path(place)
        what = "standard input" if place == imageload.STDIN else place
        with transfer.shown(f"loading {what}", mode=options.progress, quiet=options.quiet) as report:
            loaded = imageload.load(worker.content, source, name=options.name, progress=report)
        for one in loaded:
            absent = f" (not in the archive: {clean_text(', '.join(one.absent))})" if one.absent else ""
            out.write(f"{one.name}\n" if options.quiet else f"Loaded image: {one.name}{absent}\n")
    return 0


class PullOptions(Options):
    """Fetch an image of a registry and keep it under its name."""

    name: str = argument(required=True, metavar="NAME", help="The image, such as registry.example/app:1.")
    platform: str = _PLATFORM
    quiet: bool = option("--quiet", "-q", help="Print the name alone.")
    progress: str = transfer.PROGRESS
    store: Path | None = shared.STORE
    examples = ("dockc image pull registry.example/app:1",)


def run_pull(options: PullOptions, out: Output) -> int:
    """`dockc image pull`.

    Raises:
        DockcError: no such image, none for the platform, or the registry fails.
    """
    from dockc.commands.store import opened
    from dockc.engine.connect import registry_client
    from dockc.oci import platform as platforms
    from dockc.runtime.store import images

    wanted = _platform(options.platform) or platforms.default()
    with opened(options.store, fills=True) as worker:
        client = registry_client()
        try:
            with transfer.shown(f"pulling {options.name}", mode=options.progress, quiet=options.quiet) as report:
                image = images.pull(worker.content, client, options.name, wanted, progress=report)
        finally:
            client.close()
    name = image.ref.familiar()
    out.write(f"{name}\n" if options.quiet else f"Pulled {name} ({image.target.digest})\n")
    return 0


class PushOptions(Options):
    """Send an image of the store to the registry that its name says."""

    name: str = _IMAGE
    quiet: bool = option("--quiet", "-q", help="Print the name alone.")
    progress: str = transfer.PROGRESS
    store: Path | None = shared.STORE
    examples = ("dockc image push registry.example/app:1",)


def run_push(options: PushOptions, out: Output) -> int:
    """`dockc image push`.

    Raises:
        DockcError: no image of that name, a blob is missing, or the registry fails.
    """
    from dockc.commands.store import opened
    from dockc.engine.connect import registry_client
    from dockc.runtime.registry.push import Push
    from dockc.runtime.store import images

    with opened(options.store) as worker:
        ref, root = images.named(worker.content, options.name)
        client = registry_client()
        try:
            with transfer.shown(f"pushing {ref.familiar()}", mode=options.progress, quiet=options.quiet) as report:
                images.complete(worker.refs, worker.content, client, ref, root, progress=report)
                Push(client, worker.content, progress=report).run(ref, root)
        finally:
            client.close()
    out.write(f"{ref.familiar()}\n" if options.quiet else f"Pushed {ref.familiar()} ({root.digest})\n")
    return 0


class LoginOptions(Options):
    """Say where dockc finds the credentials of registries; it keeps none itself."""

    words: tuple[str, ...] = argument(metavar="REGISTRY", help="Not used.")
    username: str = option("--username", "-u", hidden=True)
    password: str = option("--password", "-p", hidden=True)
    password_stdin: bool = option("--password-stdin", hidden=True)
    examples = ("docker login registry.example",)


def run_login(options: LoginOptions, out: Output) -> int:
    """`dockc login`.

    Raises:
        UsageError: always.
    """
    from dockc.errors import UsageError

    raise UsageError(
        "dockc keeps no credentials: it reads those that docker, podman or skopeo keep",
        hint="`docker login`, or `skopeo login --authfile ~/.docker/config.json`, works for dockc too.",
    )


class VersionOptions(Options):
    """Print the version, as `dockc --version`."""

    json: bool = option("--json", help="Print JSON, with Python's version and the platform.")
    examples = ("dockc version --json",)


def run_version(options: VersionOptions, out: Output) -> int:
    """`dockc version`."""
    from dockc.base.version import VERSION

    if not options.json:
        out.write(f"dockc {VERSION}\n")
        return 0
    import json
    import platform

    from dockc.oci import platform as platforms

    python, here = platform.python_version(), platforms.format_all(platforms.default())
    out.write(json.dumps({"version": VERSION, "python": python, "platform": here}) + "\n")
    return 0


def _some(names: tuple[str, ...], usage: str) -> tuple[str, ...]:
    from dockc.errors import UsageError

    if not names:
        raise UsageError("which image?", hint=f"dockc {usage}")
    return names


def _platform(text: str) -> Platform | None:
    from dockc.oci import platform as platforms

    return platforms.parse(text) if text else None


def _complete(worker: Worker, ref: Reference, root: Descriptor) -> None:
    """Fetch what an image of the store lacks since it was pushed without."""
    from dockc.engine.connect import registry_client
    from dockc.runtime.store import images

    client = registry_client()
    try:
        images.complete(worker.refs, worker.content, client, ref, root)
    finally:
        client.close()


def _choose(content: ContentStore, name: str, platform: str) -> Chosen:
    from dockc.runtime.store import images

    return images.choose(content, name, _platform(platform))
