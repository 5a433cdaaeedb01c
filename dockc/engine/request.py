"""What is asked of the engine, and the files that belong to it: a request, and the same with its Dockerfile read."""

from __future__ import annotations

import os
import sys

from dockc.base.files import FILE_LIMIT, read_file
from dockc.base.record import Record, made
from dockc.errors import DockcError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any, Final

    from dockc.compiler.compile import Front
    from dockc.compiler.options import CompileOptions
    from dockc.compiler.questions import Answers
    from dockc.engine.images import Showing
    from dockc.engine.policy import Policy
    from dockc.llb.definition import Definition
    from dockc.oci.platform import Platform
    from dockc.runtime.exporter.export import Exported
    from dockc.runtime.exporter.options import Output
    from dockc.runtime.remotecache.base import CacheEntry
    from dockc.runtime.session.base import LentLayout

#: Set in the environment, it is a build argument.
EPOCH = "SOURCE_DATE_EPOCH"

#: The local source that holds the Dockerfile, unless the option `dockerfilekey` says another.
DOCKERFILE = "dockerfile"
#: What a Dockerfile is called, the first that is there; the last by other tools.
NAMES = ("Dockerfile", "dockerfile", "Containerfile")
#: The name of the built-in frontend.
FRONTEND = "dockerfile.v0"
ENTITLEMENTS = ("network.host", "security.insecure", "device")
"""What a build may be allowed besides the usual."""
#: Frontend images that the built-in compiler stands for.
BUILT_IN = (
    "docker/dockerfile",
    "docker/dockerfile-upstream",
    "docker.io/docker/dockerfile",
    "docker.io/docker/dockerfile-upstream",
)


class CompileRequest:
    """Everything that decides what comes out of `dockc compile`; the front half of `dockc build`.

    Attributes:
        context: directory, or URL of a remote context.
        file: Dockerfile; "" is the context's own, "-" standard input.
        dockerfile: its bytes, where they have been read already.
        attrs: frontend options.
        contexts: named contexts as typed, name to value.
        answers: file of answers, or None.
        offline: ask nobody but the store, OCI layouts and what else is on this machine.
        locked: lock file whose answers must be enough and right, or None.
        level, passes: the pipeline; passes "" means the level's own.
        squash: level of the squash pass.
        print_after, print_after_all, time_passes, verify_each: observers.
        store: directory of the content store, or None.
    """

    __slots__ = (
        "answers", "attrs", "context", "contexts", "dockerfile", "file", "level", "locked", "offline", "passes", "print_after",
        "print_after_all", "squash", "store", "time_passes", "verify_each",
    )  # fmt: skip

    def __init__(
        self,
        context: str = ".",
        file: str = "",
        *,
        attrs: Mapping[str, str] | None = None,
        contexts: Mapping[str, str] | None = None,
        answers: Path | None = None,
        offline: bool = False,
        locked: Path | None = None,
        level: int = 1,
        passes: str = "",
        squash: int = 0,
        print_after: Sequence[str] = (),
        print_after_all: bool = False,
        time_passes: bool = False,
        verify_each: bool = False,
        store: Path | None = None,
        dockerfile: bytes | None = None,
    ) -> None:
        self.context: Final = context
        self.file: Final = file
        self.dockerfile: Final = dockerfile
        self.attrs: Final = dict(attrs or {})
        self.contexts: Final = dict(contexts or {})
        self.answers: Final = answers
        self.offline: Final = offline
        self.locked: Final = locked
        self.level: Final = level
        self.passes: Final = passes
        self.squash: Final = squash
        self.print_after: Final = tuple(print_after)
        self.print_after_all: Final = print_after_all
        self.time_passes: Final = time_passes
        self.verify_each: Final = verify_each
        self.store: Final = store


class Inputs:
    """A request with its files read.

    Attributes:
        front: the Dockerfile, read.
        options: compile options, one platform or none chosen yet.
        directories: directories by local source name.
        stores: OCI layouts by store name.
    """

    __slots__ = ("directories", "front", "options", "stores")

    def __init__(
        self,
        front: Front,
        options: CompileOptions,
        directories: Mapping[str, str],
        stores: Mapping[str, Path | LentLayout],
    ) -> None:
        self.front: Final = front
        self.options: Final = options
        self.directories: Final = dict(directories)
        self.stores: Final = stores

    @property
    def locals(self) -> dict[str, Path]:
        """`directories` as paths."""
        from pathlib import Path

        return {name: Path(directory) for name, directory in self.directories.items()}

    @property
    def platforms(self) -> tuple[Platform | None, ...]:
        """The platforms to compile for; None is the default one."""
        return self.options.target_platforms or (None,)


def with_changes(request: CompileRequest, **changes: Any) -> CompileRequest:
    """The same request with other attributes."""
    known = {name: getattr(request, name) for name in CompileRequest.__slots__}
    return CompileRequest(**known | changes)


class Asked(Record, kw_only=True):
    """What was typed, before it is split into data (`BuildRequest`) and what is lent (`Session`).

    Attributes:
        compile: the front half.
        outputs: what to make; empty keeps the image in dockc's own store.
        names: image names of `-t`.
        secrets, ssh: texts of `--secret` and `--ssh`.
        allow: entitlements (`network.host`, `security.insecure`).
        executor: `auto`, `embedded`, `crun` or `runc`.
        snapshotter: `auto`, `overlay` or `native`.
        parallelism: steps run at once; 0 leaves it to the solver.
        cache_from, cache_to: caches elsewhere to read, and to write after the outputs.
        insecure: registries are spoken to by plain HTTP or with any certificate.
        uploads: files by the addresses that they answer for.
    """

    compile: CompileRequest
    outputs: tuple[Output, ...] = ()
    names: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    ssh: tuple[str, ...] = ()
    allow: frozenset[str] = frozenset()
    executor: str = "auto"
    snapshotter: str = "auto"
    parallelism: int = 0
    cache_from: tuple[CacheEntry, ...] = ()
    cache_to: tuple[CacheEntry, ...] = ()
    insecure: bool = False
    uploads: Mapping[str, Path] = made(dict)


class BuildRequest(Record, kw_only=True):
    """What to build. Data only: it may cross a wire. What the client lends beside it is in
    `runtime.session.base.Session`.

    Attributes:
        frontend: what reads `attrs`, by name; "" for a `definition` that needs none.
        attrs: frontend options, as BuildKit takes them.
        definition: LLB to be solved as it is.
        inputs: definitions for the frontend, by name.
        outputs: what to make; empty keeps the image in the builder's own store.
        names: image names of `-t`.
        allow: entitlements (`network.host`, `security.insecure`).
        cache_from, cache_to: caches elsewhere to read, and to write after the outputs.
        insecure: registries are spoken to by plain HTTP or with any certificate.
        offline: ask nobody but the store and what the client lends.
        answers: what the compiler need not ask about; unless `offline`, nothing else is asked.
        locked: what the lock file is called whose answers must be enough and right; "" for none.
        level, passes, squash: of the compiler's pipeline; passes "" means the level's own.
        measure: tell the sizes of the steps' results too.
        policies: rules over the sources, beside what the client says (`Session.policy`).
    """

    frontend: str = "dockerfile.v0"
    attrs: Mapping[str, str] = made(dict)
    definition: bytes = b""
    inputs: Mapping[str, bytes] = made(dict)
    outputs: tuple[Output, ...] = ()
    names: tuple[str, ...] = ()
    allow: frozenset[str] = frozenset()
    cache_from: tuple[CacheEntry, ...] = ()
    cache_to: tuple[CacheEntry, ...] = ()
    insecure: bool = False
    offline: bool = False
    answers: Answers | None = None
    locked: str = ""
    level: int = 1
    passes: str = ""
    squash: int = 0
    measure: bool = False
    policies: tuple[Policy, ...] = ()


class Built(Record, kw_only=True):
    """What came of a build.

    Attributes:
        exported: one per output.
        executed, cached: steps that ran, and steps whose results were there.
        answers: what the compiler was told; None where none was at work.
        sizes: bytes on disk by digest of the step, if they were to be measured.
        caches: what the caches that were written say, such as `cache.manifest`.
    """

    exported: tuple[Exported, ...] = ()
    executed: int = 0
    cached: int = 0
    answers: Answers | None = None
    sizes: Mapping[str, int] = made(dict)
    caches: Mapping[str, str] = made(dict)

    @property
    def metadata(self) -> Mapping[str, str]:
        """BuildKit's exporter response, all outputs together."""
        return {key: value for one in self.exported for key, value in one.metadata.items()} | dict(self.caches)


# --- files --------------------------------------------------------------------------------------------


def check_entitlements(allow: frozenset[str]) -> None:
    """Refuse entitlements that there are not.

    Raises:
        UsageError: which one.
    """
    for name in sorted(allow):
        entitlement_of(name)


def entitlement_of(name: str) -> str:
    """The entitlement that a build asks for; `device` may say which (`device=vendor.example/kind=name`).

    Raises:
        UsageError: there is none of that name.
    """
    kind, which, _ = name.partition("=")
    if kind not in ENTITLEMENTS or (which and kind != "device"):
        *some, last = ENTITLEMENTS
        raise UsageError(f"unknown entitlement {name[:80]}", hint=f"Known are {', '.join(some)} and {last}.")
    return kind


class Found:
    """A request with its directories found.

    Attributes:
        attrs: frontend options, with what the request says by other means.
        directories: directories by local source name.
        stores: OCI layouts by store name.
        dockerfile: the Dockerfile's bytes where they are no file of a directory, or None.
    """

    __slots__ = ("attrs", "directories", "dockerfile", "stores")

    def __init__(
        self,
        attrs: Mapping[str, str],
        directories: Mapping[str, str],
        stores: Mapping[str, Path | LentLayout],
        dockerfile: bytes | None,
    ) -> None:
        self.attrs: Final = dict(attrs)
        self.directories: Final = dict(directories)
        self.stores: Final = stores
        self.dockerfile: Final = dockerfile


def find(request: CompileRequest, *, fetch: bool = False, showing: Showing | None = None) -> Found:
    """Sort out options, directories and layouts; a Dockerfile on standard input is read.

    Args:
        request: what was asked for.
        fetch: the Dockerfile of a remote context will be fetched by whoever builds.
        showing: shows that archives of images are read, or None.

    Raises:
        DockcError: a directory that is not there, a Dockerfile that cannot be named.
    """
    attrs = dict(request.attrs)
    locals_: dict[str, str] = {}
    stores: dict[str, Path] = {}
    for name, value in request.contexts.items():
        attrs[f"context:{name}"] = _named_context(request, name, value, locals_, stores, showing)
    remote = fetch and is_in_remote_context(request)
    path = data = None
    if not remote:
        path, data = (None, request.dockerfile) if request.dockerfile is not None else _dockerfile(request)
    if is_remote(request.context):
        attrs.setdefault("context", request.context)
        if not remote and request.dockerfile is None:
            attrs.setdefault("dockerfilekey", DOCKERFILE)
        elif request.file:
            attrs.setdefault("filename", request.file)
    elif request.context != "-":
        locals_["context"] = _directory(request.context)
    key = attrs.get("dockerfilekey", DOCKERFILE)
    if data is not None and "dockerfilekey" in attrs:
        attrs["dockerfilekey"] = DOCKERFILE  # what is read elsewhere is not looked for in a context
    elif path is not None and "filename" in attrs and not request.file:
        locals_.setdefault(key, _folder_of(request))
    elif path is not None:
        locals_[key] = os.path.dirname(path) or "."  # noqa: PTH120  pathlib costs a tenth of the start
        attrs["filename"] = os.path.basename(path)  # noqa: PTH119
    return Found(attrs, locals_, stores, data)


def load(request: CompileRequest, *, showing: Showing | None = None) -> Inputs:
    """Read the Dockerfile and sort out options, directories and layouts.

    Args:
        request: what was asked for.
        showing: shows that archives of images are read, or None.

    Raises:
        DockcError: a file that cannot be read, an option that cannot be understood.
    """
    found = find(request, showing=showing)
    data = found.dockerfile
    if data is None:
        path = dockerfile_path(request)
        assert path is not None
        data = read_file(path)
    return inputs_of(found.attrs, data, directories=found.directories, stores=found.stores)


def inputs_of(
    attrs: Mapping[str, str],
    data: bytes,
    *,
    directories: Mapping[str, str] | None = None,
    stores: Mapping[str, Path | LentLayout] | None = None,
    check_syntax: bool = True,
    given: Mapping[str, Definition] | None = None,
) -> Inputs:
    """A Dockerfile read, with its options and the graphs `given` beside it; unless `check_syntax`, whatever frontend it
    asks for.

    Raises:
        DockcError: an option that cannot be understood, a file that asks for a frontend that there is not.
    """
    from dockc.compiler.compile import read
    from dockc.compiler.options import CompileOptions
    from dockc.grammar.source import Source

    options = CompileOptions.from_attrs(attrs, inputs=given)
    front = read(Source(attrs.get("filename", "Dockerfile"), data))
    if check_syntax:
        _check_syntax(front, attrs)
    return Inputs(front, options, directories or {}, stores or {})


def check_given(definition: Definition) -> None:
    """Refuse the graph of nothing, which is not that of an empty file system.

    Raises:
        DockcError: in the reference's words.
    """
    if not definition.ops and not definition.metadata:
        raise DockcError("invalid nil input definition to definition op")


def is_remote(context: str) -> bool:
    """Whether a context that was typed is remote. A folder of this name wins, whatever it looks like."""
    return is_url(context) and not os.path.isdir(context)  # noqa: PTH112


def is_url(context: str) -> bool:
    """Whether a context is remote: a git repository, an archive or a file on the web."""
    return context.startswith(("http://", "https://", "git://", "ssh://", "git@", "github.com/")) or context.endswith(
        ".git"
    )


def _directory(text: str) -> str:
    path = text or "."
    if not os.path.isdir(path):  # noqa: PTH112
        there = os.path.exists(path)  # noqa: PTH110
        raise UsageError(
            f"unable to prepare context: path {text!r} {'is not a directory' if there else 'does not exist'}",
            hint=f"Name a directory, or a git or HTTP URL{'; a Dockerfile is named by `-f`' if there else ''}.",
        )
    return path


def _dockerfile(request: CompileRequest) -> tuple[str | None, bytes | None]:
    """Where the Dockerfile is, or its bytes from standard input."""
    if is_web_file(request.file):
        from dockc.engine.webfile import fetch

        return None, fetch(request.file, request.store, offline=request.offline)
    path = dockerfile_path(request)
    if path is not None:
        return path, None
    if request.file == "-" == request.context:
        raise UsageError("can't use stdin for both build context and dockerfile")
    data = sys.stdin.buffer.read(FILE_LIMIT + 1)
    if len(data) > FILE_LIMIT:
        raise DockcError(f"failed to read dockerfile: standard input is larger than {FILE_LIMIT} bytes")
    from dockc.engine.images import is_archive

    if is_archive(data[:512]):
        raise UsageError("standard input holds an archive, no Dockerfile", hint="Only `dockc build -` takes archives.")
    return None, data


def is_in_remote_context(request: CompileRequest) -> bool:
    """Whether the Dockerfile must be fetched: the context is a URL, and no local file is named, which takes an absolute
    path.
    """
    elsewhere = request.file == "-" or os.path.isabs(request.file) or is_web_file(request.file)  # noqa: PTH117
    return is_remote(request.context) and request.dockerfile is None and not elsewhere


def dockerfile_path(request: CompileRequest) -> str | None:
    """Where the Dockerfile is; None for standard input.

    Raises:
        UsageError: the context is remote and no file is named, or it is no directory.
    """
    if request.file == "-" or (not request.file and request.context == "-"):
        return None
    if is_remote(request.context) and not os.path.isabs(request.file):  # noqa: PTH117
        raise UsageError(
            "the Dockerfile of a remote context is not here",
            hint="Name a local one by its absolute path; `dockc build` fetches it itself.",
        )
    if request.file:
        return request.file
    folder = _folder_of(request)
    named = request.attrs.get("filename", "")
    paths = [name if folder == "." else os.path.join(folder, name) for name in ((named,) if named else NAMES)]  # noqa: PTH118
    return next((path for path in paths if os.path.exists(path)), paths[0])  # noqa: PTH110


def _folder_of(request: CompileRequest) -> str:
    """Where the Dockerfile is looked for: the context, or the folder of the named context that the option
    `dockerfilekey` says.
    """
    value = request.contexts.get(request.attrs.get("dockerfilekey", ""), "")
    path = value.removeprefix("local:")
    return path if value and os.path.isdir(path) else _directory(request.context)  # noqa: PTH112


def is_web_file(file: str) -> bool:
    """Whether `--file` is an address to fetch the Dockerfile from."""
    return file.startswith(("http://", "https://"))


def _named_context(
    request: CompileRequest,
    name: str,
    value: str,
    locals_: dict[str, str],
    stores: dict[str, Path],
    showing: Showing | None,
) -> str:
    if value.startswith("docker-image://") or is_remote(value):
        return value
    if value.startswith("docker://"):  # as skopeo and podman write it
        return "docker-image://" + value.removeprefix("docker://")
    path = value.removeprefix("local:")
    if os.path.isdir(path):  # noqa: PTH112
        locals_[name] = path
        return f"local:{name}"
    from dockc.engine import images

    if not images.is_image(value):
        raise UsageError(
            f"failed to get build context {name}: {value} is not a directory",
            hint=f"It may also be docker-image://NAME, an address, or an image of this machine: {', '.join(images.FORMS)}.",
        )
    store = _store_name(name)  # a reference that names the digest; the store is named like the context
    stores[store], digest = images.found(name, value, request.store, showing)
    return f"oci-layout://{store}@{digest}"


def _store_name(name: str) -> str:
    return (
        "".join(c if c.isascii() and (c.isalnum() or c in "-_./") else "-" for c in name.lower()).strip("-_./")
        or "layout"
    )


def foreign_syntax(front: Front, attrs: Mapping[str, str]) -> str:
    """The frontend that a file, or a build argument for it, asks for, where it is not the one that is built in, or where a
    named context stands for its image; "" otherwise.
    """
    wanted = attrs.get("build-arg:BUILDKIT_SYNTAX", "")
    if not wanted:
        directive = next((d for d in front.parsed.file.directives if d.name == "syntax"), None)
        wanted = directive.value if directive is not None else ""
    image = wanted.split(" ", 1)[0]
    if image and image != FRONTEND and stands_in(attrs, image):
        return wanted
    name = image.split("@", 1)[0]
    slash = name.rfind("/")
    name = name[: name.find(":", slash)] if ":" in name[slash + 1 :] else name
    return wanted if name and name not in BUILT_IN and wanted != FRONTEND else ""


def stands_in(attrs: Mapping[str, str], image: str) -> bool:
    """Whether one of the named contexts stands for an image of this machine's platform.

    Raises:
        CompileError: the name is no reference.
    """
    from dockc.compiler.lower.contexts import stands_for
    from dockc.oci import platform as platforms

    prefix = "context:"
    named = {key.removeprefix(prefix): value for key, value in attrs.items() if key.startswith(prefix)}
    return bool(named) and bool(stands_for(named, image, platforms.default()))


def _check_syntax(front: Front, attrs: Mapping[str, str]) -> None:
    """Refuse a file that asks for another frontend than the one that is built in."""
    wanted = foreign_syntax(front, attrs)
    if wanted:
        raise DockcError(
            f"the frontend {wanted} is not supported",
            hint="Only builds run other frontends; everything else is the built-in compiler's.",
        )


def wants_index(attrs: Mapping[str, str]) -> bool:
    """Whether an image of one platform, too, is to have an index (`multi-platform`)."""
    text = attrs.get("multi-platform", attrs.get("build-arg:BUILDKIT_MULTI_PLATFORM", ""))
    return text.lower() in {"1", "t", "true"}
