"""Every kind of mistake in a Dockerfile: its code, and what to do about it.

A kind is the error's code, and after a slash the way to go wrong where a code has several. `{0}`, `{1}` in a
help are the fault's values.
Every `CompileError` names a row (`errors.Fault.kind`); docs/reference/errors.md has an example of each code.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockc.errors import Fault

_MODIFIERS = (
    "known are ${{x:-word}} ${{x:+word}} ${{x:?word}}, the same without colon, "
    "and ${{x#pattern}} ${{x%pattern}} ${{x/pattern/word}}"
)
_OPTIONS = (
    "options are type, from, source, target, readonly, readwrite, id, sharing, required, size, mode, uid, gid and env"
)
_PORT = "write PORT, FIRST-LAST or either with /tcp or /udp; ports go from 0 to 65535"
_UNSET = "set it with ARG or ENV before this line, or with --build-arg"

ROWS: Mapping[str, str] = {
    # words
    "bad-substitution/modifier": _MODIFIERS,
    "bad-substitution/empty": _MODIFIERS,
    "bad-substitution/slash": "write ${{name/pattern/word}}",
    "bad-substitution/brace": "write ${{name}}; a literal $ is \\$",
    "bad-substitution/pattern": "a pattern is text with * and ?; an escape character stands before another one",
    "unclosed-quote": "close the quote, or put the escape character before it",
    "unset-variable": _UNSET,
    "too-large": "a word holds no more than 16 million characters",
    # FROM
    "blank-base": "give the ARG a default before the first FROM, or set it with --build-arg",
    "bad-image-name": "write [HOST[:PORT]/]NAME[:TAG][@DIGEST]",
    "bad-image-name/case": "image names are lower case; only the tag after the colon may be upper case",
    "bad-platform": "write OS/ARCHITECTURE, such as linux/amd64, linux/arm64 or linux/arm/v7",
    "blank-platform": "give the ARG a default before the first FROM",
    "no-stage": "",
    "no-stage/none": "add a stage: FROM IMAGE, or FROM scratch",
    "image-not-available": "",
    "bad-image": "",
    "endless-triggers": "the triggers of this image read images with triggers of their own; use another base",
    "unknown-target": "",
    # who reads whom
    "unknown-stage": "stages are numbered from 0 in the order of their FROM; a name is safer",
    "later-stage/copy": "move that stage above this one; a stage can copy from earlier stages only",
    "later-stage/mount": "move that stage above this one; a stage can mount earlier stages only",
    "circular-stages": "a stage cannot need itself, neither directly nor through another",
    "variable-in-from/copy": (
        "add FROM ${{NAME}} AS stage, with an ARG NAME before the first FROM, and copy from the stage"
    ),
    "variable-in-from/mount": "mount from a stage of this file",
    # RUN
    "empty-command": 'name a program: RUN ["program", "argument"]',
    "empty-command/heredoc": "a heredoc needs the shell form of RUN",
    "bad-mount/type": "mounts are of type bind, cache, secret, ssh or tmpfs",
    "bad-mount/sharing": "write shared, private or locked",
    "bad-mount/other-type": "a mount of type {1} has no such option (type= must stand before options of its own)",
    "bad-mount/option": _OPTIONS,
    "bad-mount/no-value": "write {0}=VALUE",
    "bad-mount/size": "a number of bytes, or one with a unit, such as 64m",
    "bad-mount/bool": "write true or false",
    "bad-mount/mode": "write an octal number, such as 0755",
    "bad-mount/id": "write a number; names of users are not looked up here",
    "bad-mount/owner": "{0}= belongs to mounts of type cache, secret and ssh",
    "bad-mount/target": "name a directory below /: target=/path",
    "bad-mount/secret-from": "a secret comes from --secret id=ID,src=FILE",
    "bad-mount/only-cache": "sharing= belongs to mounts of type cache",
    "bad-mount/no-id": "name the secret: type=secret,id=ID",
    "bad-mount/two-ids": "keep id=",
    "bad-mount/ssh-source": "name the agent with id=",
    "bad-mount/csv": "write key=value,key=value; a value with a comma goes in double quotes",
    # COPY and ADD
    "bad-mode": "write an octal mode, such as 0644, or a symbolic one, such as u+x,go-w",
    "remote-copy/url": "use ADD for URLs",
    "remote-copy/git": "use ADD for git repositories",
    "bad-checksum/many": "write one ADD for each source",
    "bad-checksum/local": "files of the context need no checksum",
    "bad-checksum/digest": "write sha256: and 64 hexadecimal digits",
    "bad-checksum/mismatch": "the address and the flag name different commits",
    "git-conflict": "the address says otherwise: keep one of them",
    "bad-git-address": "git addresses take ?ref=, branch=, tag=, commit=, subdir=, keep-git-dir= and submodules=",
    "bad-path": "on Windows, paths are on drive C:",
    # the image config
    "blank-name": "",
    "blank-name/volume": "name a directory",
    "bad-signal": "write a name, such as SIGTERM, or a number",
    "bad-port": _PORT,
    "bad-port/ranges": "both ranges must have the same length",
    "bad-port/address": "EXPOSE needs no address: write the port alone",
    "bad-port/many": "expose the ports that are really served",
    # directives and the epoch
    "bad-check-directive/option": "write # check=skip=RULE,RULE or skip=all; error=true makes errors of warnings",
    "check-failed": "mend what the warnings above name, or drop error=true",
    "bad-epoch-stage": "the stage holds one ADD of one URL or git commit, and nothing else",
    "bad-epoch": "write seconds since 1970",
    # what does not stand in the file
    "empty-file": "",
    "bad-option": "",
    "bad-context": "",
    "bad-ignore-file": "",
    "bad-commit": "",
    "source-not-available": "",
    "not-utf8": "",
    "bad-ir": "",
    "endless-rewriting": "",
    # while instructions are read; their help is made there, where their usage is known
    "argument-count": "",
    "bad-device": "",
    "bad-flag-value": "",
    "bad-healthcheck": "",
    "bad-heredoc": "",
    "bad-stage-name": "",
    "bad-trigger": "",
    "duplicate-flag": "",
    "missing-flag-value": "",
    "not-json": "",
    "unknown-flag": "",
    "unknown-instruction": "",
}


def help_of(fault: Fault) -> str:
    """What to do about a mistake, "" where there is nothing to say."""
    return ROWS[fault.kind].format(*fault.values)
