"""Static x86-64 programs of a few instructions, for steps whose image has no such tool.

Sources: System V ABI for x86-64 (ELF header, program header, the stack at the start); Intel's manual for the instructions.
"""

from __future__ import annotations

import struct

_BASE, _ENTRY = 0x400000, 64 + 56


def _elf(body: bytes) -> bytes:
    size = _ENTRY + len(body)
    header = b"\x7fELF\2\1\1" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, _BASE + _ENTRY, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 4096) + body


def i386_call(number: int, first: int, words: tuple[int, ...]) -> bytes:
    """Makes one system call of i386 (`int 0x80`), its second argument the address of `words`; the error is its status."""
    code_size = 5 + 5 + 5 + 2 + 2 + 2 + 5 + 2
    code = b"\xb8" + struct.pack("<I", number)  # mov eax, number
    code += b"\xbb" + struct.pack("<I", first)  # mov ebx, first
    code += b"\xb9" + struct.pack("<I", _BASE + _ENTRY + code_size)  # mov ecx, address of the words
    code += b"\xcd\x80"  # int 0x80
    code += b"\x89\xc3" + b"\xf7\xdb"  # mov ebx, eax; neg ebx
    code += b"\xb8" + struct.pack("<I", 1) + b"\xcd\x80"  # mov eax, 1 (exit); int 0x80
    assert len(code) == code_size
    return _elf(code + struct.pack(f"<{len(words)}I", *words))


def setxattr() -> bytes:
    """`PROGRAM FILE NAME VALUE`: sets an extended attribute; the error is its status."""
    code = b"\x48\x8b\x7c\x24\x10"  # mov rdi, [rsp+16]
    code += b"\x48\x8b\x74\x24\x18"  # mov rsi, [rsp+24]
    code += b"\x48\x8b\x54\x24\x20"  # mov rdx, [rsp+32]
    code += b"\x4d\x31\xd2"  # xor r10, r10
    code += b"\x42\x80\x3c\x12\x00"  # again: cmp byte [rdx+r10], 0
    code += b"\x74\x05"  # je done
    code += b"\x49\xff\xc2"  # inc r10
    code += b"\xeb\xf4"  # jmp again
    code += b"\x4d\x31\xc0"  # done: xor r8, r8
    code += b"\xb8" + struct.pack("<I", 188) + b"\x0f\x05"  # mov eax, 188 (setxattr); syscall
    code += b"\x89\xc7" + b"\xf7\xdf"  # mov edi, eax; neg edi
    code += b"\xb8" + struct.pack("<I", 60) + b"\x0f\x05"  # mov eax, 60 (exit); syscall
    return _elf(code)


def true() -> bytes:
    """Ends well."""
    return _elf(b"\x31\xff" + b"\xb8" + struct.pack("<I", 60) + b"\x0f\x05")  # xor edi, edi; mov eax, 60 (exit); syscall
