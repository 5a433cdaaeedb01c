"""The text of a shell-form instruction as hadolint's parser hands it to its rules and to ShellCheck.

It differs from what the shell gets: blanks after a continuation become one, a line with `<<` in it loses its heredoc and all that
follows the opener, and a heredoc that stands for the whole command is taken without surrounding space.
"""

from __future__ import annotations

import re

from dockc.lean import pattern

_COMMENTS = pattern(r"(?:[ \t]*#[^\n]*\n+)+")
_BLANKS = pattern(r"[ \t]+")


def command(text: str, at: int, escape: str) -> tuple[bool, str]:
    """Whether a command is in exec form, and its text (the words of the exec form joined by blanks).

    Args:
        text: of the file; line breaks are `\\n`.
        at: where the command begins, behind flags.
        escape: the escape character.
    """
    if text.startswith("<<", at) and (found := _heredoc(text, at)) is not None:
        return False, found
    if text.startswith("[", at) and (words := _exec_form(text, at, escape)) is not None:
        return True, " ".join(words)
    line = _until_heredoc(text, at, escape)
    return False, _until_end(text, at, escape) if line is None else line


def _exec_form(text: str, at: int, escape: str) -> list[str] | None:
    """The words of `["…", …]`, in which only the escape character escapes and only quotes; None where it is none."""
    words: list[str] = []
    at = _space(text, at + 1, escape)
    while text.startswith('"', at):
        found = _quoted(text, at + 1, escape)
        if found is None:
            return None
        words.append(found[1])
        at = _space(text, found[0], escape)
        if not text.startswith(",", at):
            break
        at = _space(text, at + 1, escape)
        if not text.startswith('"', at):
            return None
    return words if text.startswith("]", at) else None


def _space(text: str, at: int, escape: str) -> int:
    while at < len(text):
        if found := _BLANKS.match(text, at):
            at = found.end()
        elif (joined := _break(text, at, escape)) is not None:
            at = joined[0]
        else:
            break
    return at


def _quoted(text: str, at: int, escape: str) -> tuple[int, str] | None:
    """A string's text up to its closing quote, and where that ends."""
    out: list[str] = []
    while at < len(text):
        c = text[at]
        if c == '"':
            return at + 1, "".join(out)
        if c == "\n":
            return None
        if c == escape:
            if (joined := _break(text, at, escape)) is not None:
                at = joined[0]
                out.append(joined[1])
                continue
            run = at
            while text.startswith(escape, run):
                run += 1
            if not text.startswith('"', run):
                out.append(text[at:run])
                at = run
            elif run == at + 1:
                out.append('"')
                at = run + 1
            else:
                return None
        else:
            out.append(c)
            at += 1
    return None


def _break(text: str, at: int, escape: str) -> tuple[int, str] | None:
    """Continuations at `at`: where they end, and what stands for them; None where there is none."""
    blank = ""
    start = at
    while text.startswith(escape, at):
        after = at + 1
        if found := _BLANKS.match(text, after):
            after = found.end()
        if not text.startswith("\n", after):
            break
        while text.startswith("\n", after):
            after += 1
        if found := _COMMENTS.match(text, after):
            after = found.end()
        if found := _BLANKS.match(text, after):
            after, blank = found.end(), " "
        at = after
    return None if at == start else (at, blank)


def _until_end(text: str, at: int, escape: str) -> str:
    out: list[str] = []
    while at < len(text) and text[at] != "\n":
        if text[at] == escape and (found := _break(text, at, escape)) is not None:
            at = found[0]
            out.append(found[1])
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


def _until_heredoc(text: str, at: int, escape: str) -> str | None:
    """The line up to its first `<<` where that opens a heredoc; else None."""
    out: list[str] = []
    while at < len(text) and text[at] != "\n":
        if text.startswith("<<", at):
            return None if _heredoc(text, at) is None else "".join(out).strip()
        if text[at] == escape and (found := _break(text, at, escape)) is not None:
            at = found[0]
            out.append(found[1])
        else:
            out.append(text[at])
            at += 1
    return None


def _heredoc(text: str, at: int) -> str | None:
    """The body of the heredoc whose opener begins at `at`, all that follows the opener's word included; None where it has no end."""
    at += 2
    while text.startswith("-", at):
        at += 1
    quote = text[at : at + 1]
    end = text.find(quote, at + 1) if quote and quote in "'\"" else -1
    if end > 0:
        marker, at = text[at + 1 : end], end + 1
    else:
        found = re.compile(r"\s").search(text, at)
        if found is None:
            return None
        marker, at = text[at : found.start()], found.end()
    if found := re.compile(r"[|>][ \t]*[^\n]*").match(text, at):
        at = found.end()
    if text.startswith(f"{marker}\n", at) or text[at:] == marker:
        return ""
    end = text.find(f"\n{marker}\n", at)
    if end < 0:
        if not text.endswith(f"\n{marker}") or len(text) - len(marker) - 1 < at:
            return None
        end = len(text) - len(marker) - 1
    return text[at:end].strip()
