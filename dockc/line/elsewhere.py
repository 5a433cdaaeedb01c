"""Words that people bring from other tools and that are no commands here: what does it instead, in one line."""

from __future__ import annotations

from dockc.errors import UsageError
from dockc.line.verbs import GROUPS, members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_CONTAINERS = "dockc keeps no containers: `dockc run IMAGE` runs one program, and keeps nothing of it."
WORDS = {
    "attach": _CONTAINERS,
    "buildctl-daemonless.sh": "`dockc build` needs no daemon.",
    "buildkitd": "`dockc daemon` serves the same protocol.",
    "buildx": "Leave the word out: `dockc build`, `dockc builder`, `dockc du`, `dockc prune`, `dockc history`.",
    "commit": "Write the change as a RUN or COPY, and `dockc build`.",
    "container": _CONTAINERS,
    "create": _CONTAINERS,
    "exec": _CONTAINERS,
    "export": "`dockc build --output DIR` writes a file system; `dockc image save` writes an image.",
    "format": "`dockc fmt`.",
    "hadolint": "`dockc lint --profile=hadolint` gives its findings exactly.",
    "imagetools": "`dockc image inspect` shows an image; `dockc pull` and `dockc push` carry it.",
    "import": "The archive of a file system becomes an image by `FROM scratch` and `ADD`.",
    "info": "`dockc config` shows what holds here, `dockc doctor` checks the store.",
    "kill": _CONTAINERS,
    "logout": "dockc keeps no credentials: `docker logout`, or `skopeo logout`.",
    "logs": "`dockc history logs last` prints what a build printed.",
    "manifest": "`dockc build --platform A,B --push` makes an index; `dockc image inspect` shows one.",
    "ps": _CONTAINERS,
    "rm": _CONTAINERS,
    "search": "Ask the registry's own page.",
    "start": _CONTAINERS,
    "stop": _CONTAINERS,
}


_MEANT = {"delete": "rm", "list": "ls", "log": "logs", "remove": "rm", "show": "inspect"}
"""Words for what the commands of a group do, and what they are called."""


def refuse(argv: Sequence[str]) -> None:
    """Say what a line asks for that is no command here.

    Raises:
        UsageError: the first word is another tool's, or what follows a group is no command of it.
    """
    words = [word for word in argv if not word.startswith("-")]
    size = next((size for size in (2, 1) if " ".join(words[:size]) in GROUPS and len(words) >= size), 0)
    group, rest = " ".join(words[:size]), words[size:]
    if size and list(argv[:size]) == words[:size] and len(argv) > size and argv[size].startswith("-"):
        raise UsageError(
            f"which command of `dockc {group}`? An option comes after it",
            hint=f"`dockc {group} --help` lists the commands.",
        )
    if size and rest:
        from dockc.compiler.suggest import nearest

        known = dict(members(group))
        meant = known.get(_MEANT.get(rest[0], "")) or known.get(nearest(rest[0], known))
        raise UsageError(
            f"no such command: {group} {rest[0]}",
            hint=f"Did you mean `dockc {meant}`?"
            if meant
            else f"{GROUPS[group]} `dockc {group} --help` lists the commands.",
        )
    if words and words[0] in WORDS:
        raise UsageError(f"no such command: {words[0]}", hint=WORDS[words[0]])
