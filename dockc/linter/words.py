"""Words of instructions as they are written: names of stages, options of mounts."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.linter.shell.commands import Command


def unquoted(text: str) -> str:
    """A word without surrounding quotes."""
    return text.strip("\"'")


def alias(from_: ast.From) -> str:
    """The stage's name as written, or ""."""
    return from_.stage_name_word.text if from_.stage_name_word is not None else ""


def verifies(command: Command) -> bool:
    """Whether a command checks a file against a hash or a signature."""
    name, texts = command.name, command.texts
    if name in _SUMS:
        return any(
            text in {"--check", "--status"} or (text[:1] == "-" and text[1:2] != "-" and "c" in text) for text in texts
        )
    if name == "cosign":
        return any(text.startswith("verify") for text in texts)
    if name == "openssl":
        return "dgst" in texts and "-verify" in texts
    return (name in {"gpg", "gpg2", "gpgv", "gpgv2"} and ("--verify" in texts or name.startswith("gpgv"))) or (
        name in {"minisign", "signify", "rsign"} and any(text.startswith("-V") or text == "verify" for text in texts)
    )


_SUMS = frozenset(
    [*(f"sha{size}sum" for size in (1, 224, 256, 384, 512)), "md5sum", "b2sum", "b3sum", "shasum", "cksum"]
)


def uses(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Where `$name` and `${name…` stand in a text: the place of the name, and what follows it within the braces, up to
    two characters; "" where there are no braces.
    """
    at = text.find(name) if name else -1
    while at >= 0:
        end = at + len(name)
        follows = text[end : end + 1]
        if not (follows.isalnum() or follows == "_"):
            if text[at - 1 : at] == "$":
                yield at, ""
            elif text[max(at - 2, 0) : at] == "${":
                yield at, text[end : end + 2]
        at = text.find(name, at + 1)


def mounts(run: ast.Instruction) -> Iterator[dict[str, str]]:
    """The `--mount` options of a RUN as key and value; keys in lower case."""
    if not isinstance(run, ast.Run):
        return
    for word in run.mounts:
        pairs = (part.partition("=") for part in word.text.split(","))
        yield {key.strip().lower(): value.strip("\"'") for key, _, value in pairs}
