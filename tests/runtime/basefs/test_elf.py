"""ELF files and the linker's search, against the machine's own programs."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.runtime.baseimage.elf import BadElf, Linker, parse_cache, read


def test_a_program_of_this_machine() -> None:
    path = Path(shutil.which("ls") or "/bin/ls")
    elf = read(path)
    assert elf is not None
    assert Path(elf.interpreter).exists()
    assert any(name.startswith("libc") for name in elf.needed)


def test_not_elf(tmp_path: Path) -> None:
    file = tmp_path / "f"
    for data in (b"", b"#!/bin/sh\n", b"\x7fEL"):
        file.write_bytes(data)
        assert read(file) is None


def test_broken_elf(tmp_path: Path) -> None:
    whole = Path(shutil.which("true") or "/bin/true").read_bytes()
    file = tmp_path / "f"
    for size in (5, 40, 63, 64, 100, 200, 1000):
        file.write_bytes(whole[:size])
        with pytest.raises(BadElf):
            read(file)


@given(st.binary(max_size=300), st.sampled_from([b"\x7fELF\x02\x01", b"\x7fELF\x01\x02", b"\x7fELF"]))
def test_nonsense_is_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "nonsense"
    file.write_bytes(head + data)
    try:
        read(file)
    except BadElf:
        pass


def test_libraries_are_those_that_ldd_names() -> None:
    ldd = shutil.which("ldd")
    if ldd is None:
        pytest.skip("no ldd on this machine")
    for name in ("ls", "git", "python3", "ssh", "tar"):
        found = shutil.which(name, path="/usr/bin:/bin")
        if found is None:
            continue
        told = subprocess.run([ldd, found], capture_output=True, text=True, check=True).stdout
        expected = {Path(line.split("=>")[1].split()[0]).resolve() for line in told.splitlines() if "=> /" in line}
        linker = Linker()
        todo, seen = [Path(found)], set[Path]()
        while todo:
            loader = todo.pop()
            elf = linker.elf(loader)
            assert elf is not None
            for soname in elf.needed:
                library = linker.find(soname, loader, (), musl=False)
                assert library is not None, soname
                if library[0].resolve() not in seen:
                    seen.add(library[0].resolve())
                    todo.append(library[0])
        loader_paths = {path for path in seen if path.name.startswith("ld-")}
        assert seen - loader_paths == expected - loader_paths


def _cache(rows: list[tuple[str, str, int]]) -> bytes:
    strings, table = b"", b""
    start = 48 + 24 * len(rows)
    for name, path, hwcap in rows:
        key = start + len(strings)
        strings += name.encode() + b"\0"
        value = start + len(strings)
        strings += path.encode() + b"\0"
        table += struct.pack("<iIIIQ", 0, key, value, 0, hwcap)
    head = b"glibc-ld.so.cache1.1" + struct.pack("<II", len(rows), len(strings)) + b"\x02" + bytes(19)
    return head + table + strings


def test_cache() -> None:
    data = _cache([("liba.so", "/hw/liba.so", 1), ("liba.so", "/plain/liba.so", 0), ("libb.so", "/b", 0)])
    found = parse_cache(data)
    assert found == {"liba.so": [Path("/plain/liba.so"), Path("/hw/liba.so")], "libb.so": [Path("/b")]}
    assert parse_cache(b"ld.so-1.7.0" + bytes(5) + data) == found
    assert parse_cache(data[:60]) == {}
    assert parse_cache(b"") == {}


def test_run_path_and_origin(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    (tmp_path / "lib").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "l.c").write_text("int f(void){return 0;}")
    (tmp_path / "m.c").write_text("int f(void); int main(void){return f();}")

    def run(*command: str | Path) -> None:
        subprocess.run(command, check=True, capture_output=True)

    run(compiler, "-shared", "-o", tmp_path / "lib/libf.so", tmp_path / "l.c")
    for flag in ("--enable-new-dtags", "--disable-new-dtags"):
        program = tmp_path / "bin/m"
        libraries = ("-L", tmp_path / "lib", "-lf", f"-Wl,{flag},-rpath,$ORIGIN/../lib")
        run(compiler, "-o", program, tmp_path / "m.c", *libraries)
        found = Linker().find("libf.so", program, (), musl=False)
        assert found == (tmp_path / "lib/libf.so", False)
        assert Linker().find("libnone.so", program, (), musl=False) is None
