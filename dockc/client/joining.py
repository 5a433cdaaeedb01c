"""One result of what several nodes have built: each has made an index of its platforms, and these become one.

Images in registries: nodes push by digest, and the index that names all of them is pushed from here under the tags.
OCI archives and directories: nodes send their blobs here. Directories: each platform has one of its own below.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.record import replace
from dockc.errors import DockcError, UsageError
from dockc.golang.text import dump_json
from dockc.oci import digest as digests
from dockc.oci import manifest as manifests
from dockc.oci import mediatypes as mt
from dockc.oci.descriptor import Descriptor
from dockc.oci.keys import CREATED, DESCRIPTOR, DIGEST, RESULT_NAME
from dockc.oci.manifest import Index
from dockc.oci.reference import Reference, parse_normalized

if TYPE_CHECKING:
    from dockc.engine.progress import Steps
    from dockc.engine.request import Asked
    from dockc.runtime.exporter.options import Output
    from dockc.runtime.remotecache.base import CacheEntry


def check(outputs: Sequence[Output], names: Sequence[str], caches: Sequence[CacheEntry]) -> None:
    """Refuse what one node alone can make.

    Raises:
        UsageError: which output or cache.
    """
    hint = "Build one platform at a time, or on a builder of one node."
    for output in outputs:
        if output.type in {"tar", "docker"}:
            raise UsageError(f"an output of type {output.type} cannot come from several nodes", hint=hint)
        if output.type == "local" and output.attrs.get("mode", "").strip().lower() == "delete":
            raise UsageError("mode=delete needs all files from one node", hint=hint)
        if output.type == "local" and not output.flag("platform-split", True):
            raise UsageError("platform-split=false needs all files from one node", hint=hint)
        if output.flag("push") and not _names(output, names):
            raise UsageError("tag is needed when pushing to registry", hint="Name the image with -t.")
        if output.flag("push-by-digest"):
            raise UsageError("push-by-digest leaves nothing that could name the index of several nodes", hint=hint)
    for entry in caches:
        if entry.type != "inline":
            raise UsageError(f"several nodes would write over one another's {entry.type} cache", hint=hint)


def _names(output: Output, names: Sequence[str]) -> tuple[str, ...]:
    return output.names or tuple(names)


class Share:
    """What one node is asked for.

    Attributes:
        request: with outputs that leave room for the other nodes'.
        folder: where its archives go, by number of the output.
    """

    def __init__(self, request: Asked, folder: Path) -> None:
        self.folder = folder
        outputs = [self._output(number, one, request.names) for number, one in enumerate(request.outputs)]
        # Names are given here, when everything is there: no node may tag a part.
        pushed = any(one.flag("push") or one.type == "oci" for one in request.outputs)
        self.request = replace(request, outputs=tuple(outputs), names=() if pushed else request.names)

    def _output(self, number: int, output: Output, names: Sequence[str]) -> Output:
        if output.type == "oci":
            attrs = {key: value for key, value in output.attrs.items() if key != "name"}
            return replace(output, dest=str(self.place(number)), attrs={**attrs, "tar": "false"})
        if output.flag("push"):
            repositories = dict.fromkeys(parse_normalized(text).trim().name for text in _names(output, names))
            attrs = {**output.attrs, "name": ",".join(repositories), "push-by-digest": "true"}
            return replace(output, attrs=attrs)
        if output.kind.is_image and names and not output.names:
            return replace(output, attrs={**output.attrs, "name": ",".join(names)})
        return output

    def place(self, number: int) -> Path:
        """Where the blobs of an OCI output go."""
        return self.folder / str(number)


def join(request: Asked, shares: Sequence[Share], answers: Sequence[Mapping[str, str]], steps: Steps) -> dict[str, str]:
    """Make the whole of the parts; what the exporters would have answered.

    Raises:
        DockcError: a part is not what it should be, or the whole cannot be written.
    """
    response: dict[str, str] = {}
    roots = [_root(one) for one in answers]
    for number, output in enumerate(request.outputs):
        if output.type == "oci" or output.flag("push"):
            names = [parse_normalized(text).tag_name_only() for text in _names(output, request.names)]
            with steps.step(f"joining {len(shares)} nodes' platforms into one index"):
                make = _archive if output.type == "oci" else _push
                root = make(output, number, shares, roots, names)
            response[DIGEST] = root.digest
            response[DESCRIPTOR] = base64.b64encode(dump_json(root.to_json())).decode()
            if names:
                response[RESULT_NAME] = ",".join(map(str, names))
    return response


def _root(answer: Mapping[str, str]) -> Descriptor | None:
    from dockc.oci.fields import decode

    text = answer.get(DESCRIPTOR, "")
    return Descriptor.from_fields(decode(base64.b64decode(text), DESCRIPTOR)) if text else None


def merged(parts: Sequence[tuple[Descriptor, Callable[[str], bytes]]]) -> tuple[Descriptor, bytes]:
    """The index of all entries of several indexes, and its descriptor; annotations are those of the first that has one.

    Raises:
        DockcError: a part is no index.
    """
    entries: dict[str, Descriptor] = {}
    notes: dict[str, str] = {}
    for root, read in parts:
        found = manifests.parse(read(root.digest), root.media_type)
        if not isinstance(found, Index):
            raise DockcError(f"a node made a manifest ({root.digest}) where an index was asked for")
        for entry in found.manifests:
            entries.setdefault(entry.digest, entry)
        notes = {**found.annotations, **notes}
    kind = mt.DOCKER_LIST if all(root.media_type == mt.DOCKER_LIST for root, _ in parts) else mt.OCI_INDEX
    data = Index(kind, tuple(entries.values()), annotations=notes).marshal()
    return Descriptor(kind, digests.from_bytes(data), len(data)), data


def _archive(
    output: Output,
    number: int,
    shares: Sequence[Share],
    roots: Sequence[Descriptor | None],
    names: Sequence[Reference],
) -> Descriptor:
    from dockc.runtime.content.store import ContentStore
    from dockc.runtime.exporter import archive
    from dockc.runtime.exporter.output import open_output

    first, *others = (share.place(number) for share in shares)
    content = ContentStore(first)
    for other in others:
        for algorithm in (other / "blobs").iterdir():
            target = first / "blobs" / algorithm.name
            target.mkdir(exist_ok=True)
            for blob in algorithm.iterdir():
                blob.replace(target / blob.name)
    root, data = merged([(one, content.read) for one in _all(roots)])
    content.put(data, root.digest)
    created = _created(roots)
    root = replace(root, annotations={CREATED: created})
    if output.archive:
        with open_output(output.dest or "-") as out:
            archive.write_tar(out, content, root, names, created, docker=False)
    else:
        archive.write_directory(Path(output.dest), content, root, names, created)
    return root


def _created(roots: Sequence[Descriptor | None]) -> str:
    told = [one.annotations.get(CREATED, "") for one in roots if one is not None]
    return max(told, default="") or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _push(
    output: Output,
    number: int,
    shares: Sequence[Share],
    roots: Sequence[Descriptor | None],
    names: Sequence[Reference],
) -> Descriptor:
    from dockc.engine.connect import registry_client

    client = registry_client(insecure=output.flag("registry.insecure"))
    try:
        bare = replace(names[0], tag="", digest="")
        root, data = merged([(one, lambda digest: client.manifest(bare.with_digest(digest))[1]) for one in _all(roots)])
        for name in names:
            client.put_manifest(name, data, root.media_type, name.tag or root.digest)
    finally:
        client.close()
    return root


def _all(roots: Sequence[Descriptor | None]) -> list[Descriptor]:
    found = [one for one in roots if one is not None]
    if len(found) != len(roots):
        raise DockcError("a node did not say what it has made")
    return found
