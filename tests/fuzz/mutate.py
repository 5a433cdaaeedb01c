"""Mutations of bytes: reproducible from a seed, biased towards what the languages here are made of."""

from __future__ import annotations

import random
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"

TOKENS = [
    *(t.encode() for t in ["$", "{", "}", "${", "${A:-", "}", "${A}", "$A", '"', "'", "\\", "`", "<<", "<<EOF", "<<-E", "EOF", "[", "]", ",", ":", "=", "==", "#", "!", "*", "?", "**", "../", "/", "//", ".", "..", "~", ";", "|", "&", "(", ")", "<", ">", "@", "%", "+", "-"]),
    b"\n", b"\r\n", b"\\\n", b"`\n", b"\t", b" ", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", "\u2028\u0130\u00df\u212a".encode(),
    b"FROM ", b"RUN ", b"COPY ", b"ADD ", b"ENV ", b"ARG ", b"CMD ", b"LABEL ", b"ONBUILD ", b"SHELL ", b"USER ", b"VOLUME ", b"WORKDIR ",
    b"EXPOSE ", b"HEALTHCHECK ", b"ENTRYPOINT ", b"STOPSIGNAL ", b"MAINTAINER ", b"# escape=`\n", b"# syntax=a\n", b"# check=skip=all\n",
    b"--from=", b"--mount=type=", b"--chown=", b"--chmod=", b"--platform=", b"--link", b"--parents", b"--exclude=", b"--checksum=",
    b"AS ", b"scratch", b"latest", b"sha256:", b"linux/amd64", b"18446744073709551616", b"-1", b"0x", b"1e999", b"null", b"true", b"{}", b"[]",
]  # fmt: skip


def seeds(pattern: str = "*.Dockerfile") -> list[bytes]:
    """The seed files, in order of their names."""
    return [path.read_bytes() for path in sorted(SEEDS.glob(pattern))]


def mutate(random_: random.Random, data: bytes, others: list[bytes], limit: int = 20_000) -> bytes:
    """A changed copy of the data, at most `limit` bytes long."""
    out = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 3, 5, 9))):
        at = random_.randrange(len(out) + 1)
        match random_.randrange(10):
            case 0 | 1 | 2:
                out[at:at] = random_.choice(TOKENS)
            case 3:
                del out[at : at + random_.choice((1, 1, 2, 8, 40))]
            case 4:
                out[at : at + 1] = bytes((random_.randrange(256),))
            case 5:
                end = min(len(out), at + random_.choice((1, 5, 30)))
                out[end:end] = out[at:end] * random_.choice((1, 1, 2, 30))
            case 6:
                other = random_.choice(others)
                start = random_.randrange(len(other) + 1)
                out[at:at] = other[start : start + random_.choice((3, 20, 100))]
            case 7:
                lines = bytes(out).split(b"\n")
                random_.shuffle(lines) if random_.random() < 0.2 else lines.insert(random_.randrange(len(lines)), random_.choice(lines))
                out = bytearray(b"\n".join(lines))
            case 8:
                end = min(len(out), at + random_.choice((1, 5, 30)))
                out[at:end] = random_.choice(TOKENS)
            case _:
                if out:
                    spot = random_.randrange(len(out))
                    out[spot] ^= 1 << random_.randrange(8)
    return bytes(out[:limit])
