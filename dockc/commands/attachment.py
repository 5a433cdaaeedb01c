"""`dockc history inspect attachment`: the documents of the images that a build has made, as buildx prints them."""

from __future__ import annotations

from pathlib import Path

from dockc.base.options import Options, argument, option
from dockc.commands import shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.base.output import Output


class AttachmentOptions(Options):
    """Print a document that hangs on a build: an index, a manifest or a config of its images, or an attestation.

    Without a kind, a platform or a digest, say which there are.
    """

    ref: str = argument("last", help="A build, as for `dockc history inspect`. Default: last.")
    digest: str = argument(help="The document's digest.")
    type: str = option(
        "--type", metavar="TYPE", completes="index|manifest|image|provenance|sbom",
        help="index, manifest, image (the config), provenance, sbom, a media type, or a predicate.",
    )  # fmt: skip
    platform: str = option("--platform", metavar="OS/ARCH[/VARIANT]", help="What is about this platform.")
    store: Path | None = shared.STORE
    examples = ("dockc history inspect attachment last --type manifest",)


def run(options: AttachmentOptions, out: Output) -> int:
    """`dockc history inspect attachment`: the first document that fits, as it lies in the store.

    Raises:
        UsageError: there is no such build, or nothing that fits.
        StoreError: the history or the store cannot be read.
    """
    from dockc.commands.store import opened
    from dockc.console.tables import table
    from dockc.engine import history
    from dockc.engine.attachments import attachments_of
    from dockc.errors import UsageError
    from dockc.oci import digest as digests
    from dockc.oci import platform as platforms
    from dockc.runtime.store.place import default_root

    record = history.find(options.store or default_root(), options.ref)
    platform = platforms.format_all(platforms.parse(options.platform)) if options.platform else ""
    if options.digest:
        digests.validate(options.digest)
    with opened(options.store) as worker:
        found = attachments_of(record, worker.content)
        fits = [one for one in found if one.fits(options.type, platform)]
        if options.digest:
            fits = [one for one in fits if one.descriptor.digest == options.digest]
        if not fits:
            raise UsageError(
                f"the build {record.ref} has no {options.digest or options.type or platform or 'attachment'}"
                + (f" among its {len(found)} attachments" if found else " in the store"),
                hint="What is here: images of the store, and what frontends have attested. `dockc build` attests nothing by itself.",
            )
        if options.type or platform or options.digest:
            out.write(worker.content.read(fits[0].descriptor.digest))
            return 0
    rows = [[one.kind, one.platform, str(one.descriptor.size), one.descriptor.digest] for one in found]
    out.write(table(("TYPE", "PLATFORM", "SIZE", "DIGEST"), rows, right=(2,)))
    return 0
