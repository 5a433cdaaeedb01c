"""What a program needs to run: its interpreter and shared libraries, read from the ELF file itself.

Nothing is executed (unlike ldd). Source: System V ABI, chapters 4 and 5; ld.so(8) for the search order.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from dockc.base.machine import machine as this_machine
from dockc.base.record import Record
from dockc.errors import DockcError

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 10, 15, 29
_At = Callable[[int, int], bytes]
_MAX_TABLE = 4 << 20
_MAX_CACHE = 64 << 20


class BadElf(DockcError):
    """A file that starts like ELF and then is not."""


class Elf(Record):
    """The part of an ELF file that concerns dynamic linking.

    Attributes:
        machine: `(class, byte order, e_machine)`; objects of one process agree in it.
        interpreter: the dynamic linker's path, or "" (a library, or a static program).
        needed: sonames, in order.
        rpath: directories of DT_RPATH, `$ORIGIN` not yet replaced.
        runpath: directories of DT_RUNPATH, likewise.
    """

    machine: tuple[int, int, int]
    interpreter: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]


def read(path: Path) -> Elf | None:
    """Read a file's dynamic section; None if it is not ELF.

    Raises:
        BadElf: truncated, or with tables out of bounds.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        data = stream.read(64)
        if data[:4] != b"\x7fELF":
            return None
        size = os.fstat(stream.fileno()).st_size

        def at(offset: int, length: int) -> bytes:
            if length > _MAX_TABLE or offset + length > size:
                raise BadElf(f"{path}: broken ELF file: a table lies outside of the file")
            stream.seek(offset)
            return stream.read(length)

        try:
            return _parse(data, at)
        except (struct.error, ValueError, IndexError) as exc:
            raise BadElf(f"{path}: broken ELF file: {exc}") from exc


def _parse(head: bytes, at: _At) -> Elf:
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    machine = (head[4], head[5], *struct.unpack_from(order + "H", head, 18))
    if wide:
        (phoff,) = struct.unpack_from(order + "Q", head, 32)
        entry_size, count = struct.unpack_from(order + "HH", head, 54)
    else:
        (phoff,) = struct.unpack_from(order + "I", head, 28)
        entry_size, count = struct.unpack_from(order + "HH", head, 42)
    table = at(phoff, entry_size * count)
    loads: list[tuple[int, int, int]] = []
    interpreter, dynamic = "", b""
    for i in range(count):
        if wide:
            kind, _, offset, vaddr, _, filesz = struct.unpack_from(order + "IIQQQQ", table, i * entry_size)
        else:
            kind, offset, vaddr, _, filesz = struct.unpack_from(order + "IIIII", table, i * entry_size)
        if kind == _PT_LOAD:
            loads.append((vaddr, offset, filesz))
        elif kind == _PT_INTERP:
            interpreter = os.fsdecode(at(offset, filesz).split(b"\0", 1)[0])
        elif kind == _PT_DYNAMIC:
            dynamic = at(offset, filesz)
    if not dynamic:
        return Elf(machine, interpreter, (), (), ())
    return _dynamic(machine, interpreter, struct.iter_unpack(order + ("qQ" if wide else "iI"), dynamic), loads, at)


def _dynamic(
    machine: tuple[int, int, int],
    interpreter: str,
    entries: Iterator[tuple[int, ...]],
    loads: list[tuple[int, int, int]],
    at: _At,
) -> Elf:
    single: dict[int, int] = {}
    needed: list[int] = []
    for tag, value in entries:
        if tag == _DT_NULL:
            break
        if tag == _DT_NEEDED:
            needed.append(value)
        else:
            single[tag] = value
    if _DT_STRTAB not in single:
        return Elf(machine, interpreter, (), (), ())
    address = single[_DT_STRTAB]
    for vaddr, offset, filesz in loads:
        if vaddr <= address < vaddr + filesz:
            strings = at(address - vaddr + offset, single.get(_DT_STRSZ, 0))
            break
    else:
        raise ValueError("the string table is in no segment")

    def text(start: int) -> str:
        return os.fsdecode(strings[start : strings.index(b"\0", start)])

    def dirs(tag: int) -> tuple[str, ...]:
        return tuple(d for d in text(single[tag]).split(":") if d) if tag in single else ()

    return Elf(machine, interpreter, tuple(text(n) for n in needed), dirs(_DT_RPATH), dirs(_DT_RUNPATH))


class Linker:
    """Finds libraries as this machine's dynamic linkers do (glibc's and musl's)."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._elves: dict[Path, Elf | None] = {}

    def elf(self, path: Path) -> Elf | None:
        """`read`, remembered."""
        if path not in self._elves:
            self._elves[path] = read(path)
        return self._elves[path]

    def find(self, soname: str, loader: Path, chain: tuple[Path, ...], *, musl: bool) -> tuple[Path, bool] | None:
        """Find a library that `loader` needs.

        Args:
            soname: as in DT_NEEDED.
            loader: the object that needs it.
            chain: what loaded the loader, the program last; their RPATHs count too.
            musl: search as musl does.

        Returns:
            The path, and whether only the cache or the configuration knows its directory; or None.
        """
        own = self.elf(loader)
        if own is None:
            return None
        if "/" in soname:
            path = Path(soname)
            return (path, False) if self._fits(path, own) else None
        dirs = list(self._expand(own.runpath, loader))
        for obj in (loader, *chain):
            elf = self.elf(obj)
            if elf is not None and (musl or not own.runpath) and (musl or not elf.runpath):
                dirs += self._expand(elf.rpath, obj)
        standard = self._musl_dirs if musl else self.standard_dirs
        for where in (*dirs, *standard):
            if self._fits(where / soname, own):
                return where / soname, False
        if not musl:
            for path in self._cache.get(soname, ()):
                if self._fits(path, own):
                    return path, True
            for where in self._conf_dirs:
                if self._fits(where / soname, own):
                    return where / soname, True
        return None

    def _fits(self, path: Path, like: Elf) -> bool:
        try:
            elf = self.elf(path)
        except (OSError, BadElf):
            return False
        return elf is not None and elf.machine == like.machine

    @staticmethod
    def _expand(dirs: tuple[str, ...], obj: Path) -> Iterator[Path]:
        origin = str(obj.resolve().parent)
        for text in dirs:
            for name, value in (("ORIGIN", origin), ("LIB", "lib"), ("PLATFORM", this_machine())):
                text = text.replace("${" + name + "}", value).replace("$" + name, value)
            yield Path(os.path.normpath(text))

    @cached_property
    def standard_dirs(self) -> tuple[Path, ...]:
        """The directories that a glibc linker searches without cache or configuration."""
        arch = this_machine()
        names = [f"{arch}-linux-gnu", "arm-linux-gnueabihf", "i386-linux-gnu", "powerpc64le-linux-gnu"]
        dirs = [self._root / top / name for name in names for top in ("lib", "usr/lib")]
        dirs += [self._root / name for name in ("lib64", "usr/lib64", "lib", "usr/lib")]
        return tuple(d for d in dirs if d.is_dir())

    @cached_property
    def _musl_dirs(self) -> tuple[Path, ...]:
        for conf in sorted((self._root / "etc").glob("ld-musl-*.path")):
            text = conf.read_text(errors="replace").replace("\n", ":")
            return tuple(Path(d) for d in text.split(":") if d)
        return tuple(self._root / d for d in ("lib", "usr/local/lib", "usr/lib"))

    @cached_property
    def _cache(self) -> dict[str, list[Path]]:
        try:
            with (self._root / "etc/ld.so.cache").open("rb") as stream:
                return parse_cache(stream.read(_MAX_CACHE))
        except OSError:
            return {}

    @cached_property
    def _conf_dirs(self) -> tuple[Path, ...]:
        found: list[Path] = []
        todo, seen = [self._root / "etc/ld.so.conf"], set[Path]()
        while todo:
            conf = todo.pop(0)
            if conf in seen:
                continue
            seen.add(conf)
            try:
                lines = conf.read_text(errors="replace").splitlines()
            except OSError:
                continue
            for line in lines:
                words = line.split("#", 1)[0].split()
                if words[:1] == ["include"]:
                    for pattern in words[1:]:
                        full = Path(pattern) if pattern.startswith("/") else conf.parent / pattern
                        todo += sorted(Path("/").glob(str(full).lstrip("/")))
                elif words and words[0] != "hwcap":
                    found.append(Path(words[0]))
        return tuple(found)


def parse_cache(data: bytes) -> dict[str, list[Path]]:
    """The entries of glibc's ld.so.cache: soname to paths, plain ones before those for special processors."""
    start = data.find(b"glibc-ld.so.cache1.1")
    if start < 0:
        return {}
    data = data[start:]
    order = "<" if data[28:29] in (b"\0", b"\2") else ">"
    if data[28:29] == b"\0":
        order = "="
    plain: dict[str, list[Path]] = {}
    special: dict[str, list[Path]] = {}
    try:
        (count,) = struct.unpack_from(order + "I", data, 20)
        for i in range(min(count, len(data) // 24)):
            _, key, value, _, hwcap = struct.unpack_from(order + "iIIIQ", data, 48 + 24 * i)
            name = os.fsdecode(data[key : data.index(b"\0", key)])
            path = Path(os.fsdecode(data[value : data.index(b"\0", value)]))
            (special if hwcap else plain).setdefault(name, []).append(path)
    except (struct.error, ValueError):
        return {}
    for name, paths in special.items():
        plain.setdefault(name, []).extend(paths)
    return plain
