"""`dockc fmt`: formats files, and proves of each that it still means the same before it is written."""

from __future__ import annotations

import errno
import os
import sys

from dockc.base.options import Options, option
from dockc.base.output import counted
from dockc.base.style import PLAIN, Style
from dockc.commands import shared
from dockc.commands.discover import STDIN, find_some
from dockc.errors import DockcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dockc.base.output import Output


class FormatOptions(Options):
    """Format Dockerfiles in one style. A file is written only when it is proven to compile to the same LLB."""

    files: tuple[str, ...] = shared.FILES
    check: bool = option("--check", help="Write nothing; end with 1 if a file would change.")
    diff: bool = option("--diff", help="Write nothing; show what would change, and end with 1 if anything would.")
    stdin_filename: str = option(
        "--stdin-filename", metavar="FILE", help="What standard input is called in messages and diffs."
    )
    if_no_files: str = shared.IF_NO_FILES
    color: str = shared.color()
    examples = ("dockc fmt", "dockc fmt --diff Dockerfile", "dockc fmt --check .")


def run(options: FormatOptions, out: Output) -> int:
    """`dockc fmt`."""
    files = options.files or (".",)
    return format_command(
        files,
        check=options.check,
        diff=options.diff,
        stdin_name=options.stdin_filename,
        out=out.write,
        log=out.log,
        if_no_files=options.if_no_files,
        style=out.style(),
    )


class FormatRefused(DockcError):
    """The formatted file would not mean the same; nothing was written."""


def format_text(text: str, name: str) -> str:
    """The text in dockc's style.

    Raises:
        FormatRefused: the outcome would not compile to the same LLB, or the file cannot be read.
    """
    from dockc.compiler.compile import read
    from dockc.compiler.format import format_file
    from dockc.grammar.source import Source

    front = read(Source.from_text(text, name))
    if (error := front.result.error) is not None:
        raise FormatRefused(f"{name}: cannot be formatted before it can be read: {error.message}", hint=error.hint)
    after = format_file(front.parsed.file)
    if after == text:
        return text
    from dockc.compiler.equivalence import equivalent

    if not equivalent(text, after, name=name):
        raise FormatRefused(
            f"{name}: formatting would change what is built", hint="Please report this file; it was left as it is."
        )
    return after


def format_command(
    arguments: Sequence[str],
    *,
    check: bool,
    diff: bool,
    out: Callable[[str], object],
    log: Callable[[str], object],
    stdin_name: str = "",
    if_no_files: str = "warn",
    style: Style = PLAIN,
) -> int:
    """Format files in place; standard input to standard output.

    Args:
        arguments: files, directories, patterns, or `-`.
        check: write nothing.
        diff: write nothing, show the changes.
        stdin_name: what standard input is called in diffs and messages.
        if_no_files: what it means that there is none: warn, error or ignore.
        style: colours of diffs.

    Returns:
        0, or 1 when `check` or `diff` would change something, or a file was refused.
    """
    changed, failed = 0, 0
    paths = find_some(arguments, if_no_files, log)
    for path in paths:
        try:
            before = _read(path)
            name = (stdin_name or "<stdin>") if path == STDIN else path
            after = format_text(before, name)
        except DockcError as error:
            from dockc.console.errors import visible

            log(visible(f"error: {error.message}\n" + (f"  help: {error.hint}\n" if error.hint else "")))
            failed += 1
            continue
        if diff:
            out(diff_text(name, before, after, style))
        elif path == STDIN and not check:
            out(after)
        if before == after:
            continue
        changed += 1
        if check:
            log(f"would reformat {name}\n")
        elif not diff and path != STDIN:
            from pathlib import Path

            write_text(Path(path), after)
            log(f"reformatted {path}\n")
    if check or (paths != [STDIN] and not diff):
        log(
            f"{counted(changed, 'file')} {'would be ' if check else ''}reformatted, "
            f"{len(paths) - changed - failed} unchanged\n"
        )
    return 1 if failed or (changed and (check or diff)) else 0


def diff_text(path: str, before: str, after: str, style: Style) -> str:
    """What changes, as a unified diff; with the words alone where nobody wants colours."""
    import difflib

    lines = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), path, path)
    whole = [line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines]
    if not style.color:
        return "".join(whole)
    from dockc.console import paint
    from dockc.console.errors import visible

    return paint.diff(map(visible, whole), style)


def _read(path: str) -> str:
    from dockc.base.files import read_file
    from dockc.grammar.source import decode

    return decode(sys.stdin.buffer.read() if path == STDIN else read_file(path))


def write_text(path: Path, text: str) -> None:
    """Replace a file at once and whole, keeping its mode and, where that is allowed, its owner; through a link, what it
    points to.
    """
    import tempfile
    from pathlib import Path

    from dockc.grammar.source import encode

    target = path.resolve()
    temporary = ""
    try:
        before = target.stat()
        if not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))  # renaming would get around it
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.")
        with os.fdopen(handle, "wb") as file:
            file.write(encode(text))
            file.flush()
            os.fsync(file.fileno())
        if hasattr(os, "chown"):
            try:
                os.chown(temporary, before.st_uid, before.st_gid)
            except PermissionError:
                pass  # the file becomes ours
        os.chmod(temporary, before.st_mode & 0o7777)  # noqa: PTH101
        Path(temporary).replace(target)
    except OSError as exc:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise DockcError(f"cannot write {path}: {exc.strerror}") from exc
