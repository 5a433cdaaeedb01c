"""`dockc base`: a base image made from this machine's own programs, without registry and without root.

    names -> programs -> links, libraries, interpreters -> one deterministic layer -> an OCI layout

A file keeps its path; a symbolic link on the way to it is copied as a link. What a program opens by
itself while it runs (locales, plug-ins, a language's standard library) is not found: name such files
as further programs, by their paths.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, cast

from dockc.base import children
from dockc.base.record import Mutable, Record, made
from dockc.errors import DockcError
from dockc.golang.ospaths import DEFAULT_PATH
from dockc.golang.text import dump_json
from dockc.oci import digest as digests
from dockc.oci import mediatypes as mt
from dockc.oci import platform as platforms
from dockc.oci.descriptor import Descriptor, platform_to_json
from dockc.oci.manifest import Index, Manifest, parse
from dockc.runtime.baseimage.elf import Linker

REF_NAME = "org.opencontainers.image.ref.name"
DEFAULT_PROGRAMS = (
    "sh", "cat", "ls", "cp", "mv", "rm", "mkdir", "rmdir", "ln", "touch", "chmod", "chown", "env", "id",
    "sleep", "uname", "echo", "printf", "true", "false", "test", "head", "tail", "wc", "sort", "uniq", "cut",
    "tr", "grep", "sed", "find", "xargs", "date", "pwd", "stat", "readlink", "dirname", "basename", "tee",
    "sha256sum", "tar", "gzip", "expr", "seq", "hostname", "mktemp", "install",
)  # fmt: skip
"""What is copied when no program is named; those that this machine lacks are left out."""

_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
_GROUP = b"root:x:0:\nnogroup:x:65534:\n"
_DIRS = {"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700, "etc": 0o755, "dev": 0o755, "proc": 0o755, "sys": 0o755}
_TOP_LINKS = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")
_MAX_LINKS = 40
_MAX_SCRIPT_DEPTH = 8


class Entry(Record):
    """One file of the root: exactly one of `target` (a link), `source` or `data` (a file), or none (a directory)."""

    mode: int
    target: str = ""
    source: Path | None = None
    data: bytes | None = None


class Written(Record):
    """What `base` made: the manifest's digest, the place, and how many files and bytes of layer it holds."""

    digest: str
    path: Path
    name: str
    files: int
    layer_size: int


class _Root(Mutable):
    """The root being put together; only `add_*` change it."""

    entries: dict[str, Entry] = made(dict)
    linker: Linker = made(Linker)

    def add_dir(self, path: str, mode: int = 0o755) -> None:
        parent = ""
        for part in PurePosixPath(path).parts[:-1]:
            parent = f"{parent}/{part}".lstrip("/")
            self.entries.setdefault(parent, Entry(mode=_DIRS.get(parent, 0o755)))
        if path:
            self.entries.setdefault(path, Entry(mode=mode))

    def add(self, path: Path) -> Path:
        """Add the file at an absolute path, with every link on the way; returns the real path."""
        at, rest = Path("/"), list(path.parts[1:])
        links = 0
        while rest:
            part = rest.pop(0)
            if part == "..":
                at = at.parent
                continue
            here = at / part
            key = str(here)[1:]
            if here.is_symlink():
                links += 1
                if links > _MAX_LINKS:
                    raise DockcError(f"{path}: too many levels of symbolic links")
                target = os.readlink(here)  # noqa: PTH115 - the text itself, not a normalised path
                self.add_dir(str(at)[1:])
                self.entries.setdefault(key, Entry(mode=0o777, target=target))
                rest = [p for p in PurePosixPath(target).parts if p != "/"] + rest
                at = Path("/") if target.startswith("/") else at
                continue
            at = here
        info = at.stat()
        if stat.S_ISDIR(info.st_mode):
            self.add_dir(str(at)[1:])
            return at
        if not stat.S_ISREG(info.st_mode):
            raise DockcError(f"{path}: not a regular file")
        self.add_dir(str(at.parent)[1:])
        self.entries.setdefault(str(at)[1:], Entry(mode=stat.S_IMODE(info.st_mode) & 0o755 | 0o444, source=at))
        return at

    def add_link(self, path: str, target: str) -> None:
        if not self.resolves(path):
            self.add_dir(str(PurePosixPath(path).parent).lstrip("/."))
            self.entries.setdefault(path, Entry(mode=0o777, target=target))

    def resolves(self, path: str) -> bool:
        """Whether a path already leads to something in the root."""
        parts, at, links = list(PurePosixPath(path).parts), "", 0
        while parts:
            part = parts.pop(0)
            if part in ("/", ".", ".."):
                at = "" if part == "/" else str(PurePosixPath(at).parent).strip("/.") if part == ".." else at
                continue
            key = f"{at}/{part}".lstrip("/")
            entry = self.entries.get(key)
            if entry is None or links > _MAX_LINKS:
                return False
            if entry.target:
                links += 1
                parts = list(PurePosixPath(entry.target).parts) + parts
            else:
                at = key
        return True

    def add_program(self, path: Path, depth: int = 0) -> None:
        """Add a program with its libraries, or a script with its interpreter."""
        if depth > _MAX_SCRIPT_DEPTH:
            raise DockcError(f"{path}: its interpreter is a script, and so on")
        real = self.add(path)
        elf = self.linker.elf(real)
        if elf is not None:
            self._add_libraries(real)
        else:
            for interpreter in script_programs(real):
                if not interpreter.exists():
                    raise DockcError(f"{path}: its interpreter {interpreter} is not on this machine")
                self.add_program(interpreter, depth + 1)

    def add_object(self, path: Path) -> None:
        """Add what an added file needs, if it is a program or library."""
        if path.is_file() and self.linker.elf(path) is not None:
            self._add_libraries(path)

    def _add_libraries(self, program: Path) -> None:
        elf = self.linker.elf(program)
        musl = elf is not None and "ld-musl" in elf.interpreter
        if elf is not None and elf.interpreter:
            self.add(Path(elf.interpreter))
        todo: list[tuple[Path, tuple[Path, ...]]] = [(program, ())]
        seen = {program}
        while todo:
            loader, chain = todo.pop()
            loader_elf = self.linker.elf(loader)
            for soname in loader_elf.needed if loader_elf else ():
                found = self.linker.find(soname, loader, chain, musl=musl)
                if found is None:
                    raise DockcError(
                        f"{program}: the shared library {soname} is not found",
                        hint=f"{loader} needs it; ldd shows what is missing.",
                    )
                library, only_by_cache = found
                real = self.add(library)
                if only_by_cache:
                    # The image has no ld.so.cache, so the linker must meet the name in a standard directory.
                    self._link_standard(soname, library)
                if real not in seen:
                    seen.add(real)
                    todo.append((real, (loader, *chain)))

    def _link_standard(self, soname: str, library: Path) -> None:
        for where in self.linker.standard_dirs:
            if (where / "libc.so.6").exists():
                self.add_link(f"{str(where.resolve())[1:]}/{soname}", str(library))
                return


def _add_tree(root: _Root, top: Path) -> None:
    """Add all below a directory, and the shared libraries that its objects need; special files are left out.

    Scripts are taken as they are: a library's first lines name interpreters that nobody runs.
    """
    for folder, names, files in os.walk(top):
        names.sort()
        root.add_dir(folder[1:])
        for name in sorted([*files, *(n for n in names if Path(folder, n).is_symlink())]):
            path = Path(folder, name)
            if path.is_symlink() and not path.exists():
                root.entries.setdefault(str(path)[1:], Entry(mode=0o777, target=os.readlink(path)))  # noqa: PTH115
            elif path.is_symlink() or path.is_file():
                root.add_object(root.add(path))


def script_programs(path: Path) -> Iterator[Path]:
    """The programs that a script's first line names (`#!/usr/bin/env x` names two)."""
    with path.open("rb") as stream:
        first = stream.read(512).split(b"\n", 1)[0]
    if not first.startswith(b"#!"):
        return
    words = os.fsdecode(first[2:]).split()
    if not words:
        return
    yield Path(words[0])
    if PurePosixPath(words[0]).name == "env":
        for word in words[1:]:
            if not word.startswith("-") and "=" not in word:
                yield find_program(word)
                return


def find_program(name: str) -> Path:
    """A named program's path: looked up in PATH and the usual directories, unless it holds a slash.

    Raises:
        DockcError: there is none.
    """
    if "/" in name:
        path = Path(os.path.abspath(name))  # noqa: PTH100 - resolve() would lose the links
        if path.is_file() or path.is_dir():
            return path
        raise DockcError(f"{name}: no such program")
    found = shutil.which(name, path=f"{DEFAULT_PATH}:{os.environ.get('PATH', '')}")
    if found is None:
        raise DockcError(f"{name}: no such program on this machine", hint="Name it by its path, or install it.")
    return Path(found)


def collect(programs: Sequence[str], *, extra: Sequence[str] = ()) -> dict[str, Entry]:
    """The root file system of the named programs: path without leading slash to entry.

    Args:
        programs: names or paths; a directory is taken with all below it; empty means `DEFAULT_PROGRAMS`, as
            far as they are here.
        extra: paths of plain files to copy as they are.
    """
    root = _Root()
    for path, mode in _DIRS.items():
        root.add_dir(path, mode)
    for name in _TOP_LINKS:
        top = Path("/", name)
        if top.is_symlink():
            root.entries[name] = Entry(mode=0o777, target=os.readlink(top))  # noqa: PTH115
            root.add_dir(str(top.resolve())[1:])
    root.entries["etc/passwd"] = Entry(mode=0o644, data=_PASSWD)
    root.entries["etc/group"] = Entry(mode=0o644, data=_GROUP)
    for program in programs or _present(DEFAULT_PROGRAMS):
        found = find_program(program)
        if found.is_dir():
            root.add(found)
            _add_tree(root, found.resolve())
            continue
        root.add_program(found)
        if PurePosixPath(program).name == "busybox":
            for applet in _applets(found):
                root.add_link(applet, str(found))
    for file in extra:
        root.add(Path(os.path.abspath(file)))  # noqa: PTH100
    shell = next((f"/usr/{d}/sh" for d in ("bin", "local/bin") if root.resolves(f"usr/{d}/sh")), "")
    if shell:
        root.add_link("bin/sh", shell)
    return root.entries


def _present(names: Sequence[str]) -> list[str]:
    here = [name for name in names if shutil.which(name, path=DEFAULT_PATH)]
    if "sh" not in here:
        raise DockcError("sh: no such program on this machine")
    return here


def _applets(busybox: Path) -> list[str]:
    done = children.run([str(busybox), "--list-full"])
    names = os.fsdecode(done.stdout).split()
    return [n for n in names if PurePosixPath(n).name != "busybox" and ".." not in n]


def write_layer(entries: dict[str, Entry], out: IO[bytes]) -> None:
    """Write the root as an uncompressed tar: sorted, owned by root, times at the epoch."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(entries):
            entry = entries[path]
            info = tarfile.TarInfo(path)
            info.mode = entry.mode
            if entry.target:
                info.type, info.linkname = tarfile.SYMTYPE, entry.target
                tar.addfile(info)
            elif entry.data is not None:
                info.size = len(entry.data)
                tar.addfile(info, io.BytesIO(entry.data))
            elif entry.source is not None:
                with entry.source.open("rb") as stream:
                    info.size = os.fstat(stream.fileno()).st_size
                    tar.addfile(info, stream)
            else:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)


def base(programs: Sequence[str], dest: Path, *, name: str = "", extra: Sequence[str] = ()) -> Written:
    """Make a base image.

    Args:
        programs: names or paths; empty for a small default set.
        dest: a directory to hold the OCI layout (made if missing; an existing layout gets one image more), or
            a path ending in `.tar` for the layout as an archive.
        name: value of `org.opencontainers.image.ref.name`, e.g. `latest`; an image of that name is replaced.
        extra: paths of further files.

    Raises:
        DockcError: an unknown program, a missing library, a destination that is something else.
    """
    entries = collect(programs, extra=extra)
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DockcError(f"cannot make {dest.parent}: {(error.strerror or str(error)).lower()}") from error
    if dest.name.endswith(".tar"):
        with tempfile.TemporaryDirectory(dir=dest.parent, prefix=".dockc-base-") as temp:
            written = _write_layout(entries, Path(temp), name)
            packed = Path(temp, "layout.tar")
            _pack(Path(temp), packed)
            packed.replace(dest)
    else:
        written = _write_layout(entries, dest, name)
    return Written(written.digest, dest, name, written.files, written.layer_size)


def _write_layout(entries: dict[str, Entry], dest: Path, name: str) -> Written:
    others = _other_manifests(dest, name)
    blobs = dest / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    layer = _store_layer(entries, blobs)
    platform = platforms.default()
    config_json = platform_to_json(platform) | {
        "config": {"Env": [f"PATH={DEFAULT_PATH}"], "Cmd": ["/bin/sh"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "dockc base"}],
    }
    config = _store(dump_json({"created": "1970-01-01T00:00:00Z"} | config_json), mt.OCI_CONFIG, blobs)
    manifest = Manifest(media_type=mt.OCI_MANIFEST, config=config, layers=(layer,)).marshal()
    plain = _store(manifest, mt.OCI_MANIFEST, blobs)
    named = Descriptor(
        plain.media_type, plain.digest, plain.size, annotations={REF_NAME: name} if name else {}, platform=platform
    )
    index = Index(media_type=mt.OCI_INDEX, manifests=(*(o for o in others if o.digest != named.digest), named))
    _replace(dest / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    _replace(dest / "index.json", index.marshal())
    return Written(plain.digest, dest, name, len(entries), layer.size)


def _other_manifests(dest: Path, name: str) -> tuple[Descriptor, ...]:
    if not dest.exists() or not any(dest.iterdir()):
        return ()
    if not (dest / "oci-layout").exists() or not (dest / "index.json").exists():
        raise DockcError(f"{dest}: neither empty nor an OCI layout")
    index = parse((dest / "index.json").read_bytes(), mt.OCI_INDEX)
    if not isinstance(index, Index):
        raise DockcError(f"{dest}: its index.json is not an index")
    return tuple(d for d in index.manifests if not name or d.annotations.get(REF_NAME) != name)


def _store(data: bytes, media_type: str, blobs: Path) -> Descriptor:
    digest = digests.from_bytes(data)
    _replace(blobs / digests.encoded(digest), data)
    return Descriptor(media_type, digest, len(data))


def _store_layer(entries: dict[str, Entry], blobs: Path) -> Descriptor:
    with tempfile.NamedTemporaryFile(dir=blobs, prefix=".layer-", delete=False) as temp:
        path = Path(temp.name)
        try:
            hashing = _HashingFile(temp)
            write_layer(entries, cast(IO[bytes], hashing))
            temp.flush()
            digest, size = hashing.hasher.digest(), hashing.hasher.size
            path.chmod(0o644)
            path.rename(blobs / digests.encoded(digest))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return Descriptor(mt.OCI_LAYER, digest, size)


class _HashingFile(io.RawIOBase):
    """Passes writes on and hashes them; the tar writer needs no more."""

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner = inner
        self.hasher = digests.Hasher()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.hasher.size

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.hasher.update(data)
        self._inner.write(data)
        return len(data)


def _replace(path: Path, data: bytes) -> None:
    temp = path.with_name(f".{path.name}.{os.getpid()}")
    temp.write_bytes(data)
    temp.replace(path)


def _pack(layout: Path, archive: Path) -> None:
    files = sorted(p for p in layout.rglob("*") if p != archive and not p.name.startswith("."))
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in files:
            info = tarfile.TarInfo(path.relative_to(layout).as_posix())
            if path.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
                continue
            info.size = path.stat().st_size
            with path.open("rb") as stream:
                tar.addfile(info, stream)
