"""Words that people bring from other tools and that are no commands here: what does it instead, in one line."""

from __future__ import annotations

from dockc.errors import UsageError
from dockc.line.verbs import GROUPS

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


def refuse(words: list[str]) -> None:
    """Say what a line asks for that is no command here.

    Raises:
        UsageError: the first word is another tool's, or the second is no command of its group.
    """
    first, second = (*words, "", "")[:2]
    if first in GROUPS and second:
        raise UsageError(
            f"no such command: {first} {second}", hint=f"{GROUPS[first]} `dockc {first} --help` lists the commands."
        )
    if first in WORDS:
        raise UsageError(f"no such command: {first}", hint=WORDS[first])
