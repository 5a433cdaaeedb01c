"""What a stage stands on, as far as the file says: its chain of stages, the image at the bottom, and what that image is
known for.

Base images are not asked about; but their names tell much: the distribution, which shell `/bin/sh` is, who is the user.
Names are taken
with the values that ARGs are known to have. Where a variable is unknown, as in `base-${TARGETARCH}`, all stages that it
can mean are
looked at, and what they agree on counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dockc.base.pattern import pattern
from dockc.base.record import Record
from dockc.compiler.syntax import ast
from dockc.linter.images import about
from dockc.linter.scripts import Entry
from dockc.linter.sheet import Sheet
from dockc.linter.values import Values
from dockc.linter.words import alias, unquoted


class Base(Record):
    """What is at the bottom of a stage.

    Attributes:
        image: the lowest image with known variables replaced; "scratch" for nothing at all.
        windows: it is an image of Windows.
        shell: what `/bin/sh` is in it: `busybox`, `dash`, `bash`, "none", or "" where the name does not say.
        distribution: `alpine`, `debian`, `ubuntu`, `rhel`, `suse`, …, or "".
        user: the user that the image is known to set; None where the name does not say.
        workdir: the WORKDIR that the image is known to set, or "".
        below: stages that FROM may name, one where it is known which.
        on: the own stage that it surely stands on, or None.
        bottom: the lowest stage that it surely stands on, itself where there is none.
        known: the image's whole name is known.
    """

    image: str
    bottom: int
    windows: bool = False
    shell: str = ""
    distribution: str = ""
    user: str | None = None
    workdir: str = ""
    below: tuple[int, ...] = ()
    known: bool = True
    on: int | None = None


def chain(bases: Sequence[Base], stage: int) -> Iterator[int]:
    """A stage and those that it surely stands on, downwards."""
    at: int | None = stage if 0 <= stage < len(bases) else None
    while at is not None:
        yield at
        at = bases[at].on


def bases(sheet: Sheet, values: Values) -> tuple[Base, ...]:
    """One for each stage of a file, in order."""
    found: list[Base] = []
    names: dict[str, int] = {}
    for index, stage in enumerate(sheet.stages):
        from_ = stage[0].instruction if stage else None
        if not isinstance(from_, ast.From):
            found.append(Base("", index, known=False))
            continue
        found.append(_base(sheet, values, stage[0], from_, index, names, found))
        if alias(from_):
            names[alias(from_).lower()] = index
    return tuple(found)


def _base(
    sheet: Sheet,
    values: Values,
    entry: Entry,
    from_: ast.From,
    index: int,
    names: dict[str, int],
    found: list[Base],
) -> Base:
    text = values.word(from_.base, entry)
    platform = values.word(from_.platform, entry) or from_.platform.text
    windows = "windows" in platform.lower()
    if text is not None:
        below = names.get(text.lower())
        if below is None:
            return _bottom(text, index, windows=windows, escape=sheet.file.escape)
        lower = found[below]
        return Base(
            lower.image, lower.bottom, lower.windows or windows, lower.shell, lower.distribution,
            lower.user, lower.workdir, (below,), lower.known, below,
        )  # fmt: skip
    raw = unquoted(from_.base.text)
    candidates = [names[name] for name in fitting(raw, names)]
    if candidates:
        below_all = [found[c] for c in candidates]
        return Base(
            raw, index, all(b.windows for b in below_all), _agreed(b.shell for b in below_all),
            _agreed(b.distribution for b in below_all), below_all[0].user if len({b.user for b in below_all}) == 1 else None,
            _agreed(b.workdir for b in below_all), tuple(candidates), known=False,
        )  # fmt: skip
    base = _bottom(raw, index, windows=windows, escape=sheet.file.escape)
    return Base(raw, index, base.windows, base.shell, base.distribution, base.user, base.workdir, known=False)


def _bottom(text: str, index: int, *, windows: bool, escape: str) -> Base:
    facts = about(text)
    windows = windows or facts.distribution == "windows" or (not facts.distribution and escape == "`")
    if windows:
        return Base(text, index, windows=True, distribution="windows", user=facts.user, workdir=facts.workdir)
    return Base(text, index, shell=facts.shell, distribution=facts.distribution, user=facts.user, workdir=facts.workdir)


def _agreed(texts: Iterable[str]) -> str:
    """The one that all are, or ""."""
    kinds = set(texts)
    return kinds.pop() if len(kinds) == 1 else ""


def fitting(text: str, names: Iterable[str]) -> list[str]:
    """Names that a text with variables, such as `base-$TARGETARCH`, may be; none where it has no variable or nothing
    else.
    """
    if "$" not in text:
        return []
    pieces = _VARIABLE.split(unquoted(text).lower())
    return [name for name in names if _fits(pieces, name)] if any(pieces) else []


def _fits(pieces: list[str], name: str) -> bool:
    """Whether a name is the pieces with anything between them."""
    first, last = pieces[0], pieces[-1]
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for piece in pieces[1:-1]:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


_VARIABLE = pattern(r"\$(?:\{[^}]*\}|\w+)")
