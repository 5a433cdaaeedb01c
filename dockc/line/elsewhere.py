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

_PRUNE = "`dockc rmi` takes names away, `dockc prune` frees what nothing needs."
_HERE = "It is about builders elsewhere. `dockc daemon` is a program: what started it stops it."
#: What is no command of its group here.
SECOND = {
    "builder bake": "`dockc build` takes one target at a time; there is no bake.",
    "builder build": "`dockc build --builder NAME`.",
    "builder stop": _HERE,
    "builder version": "`dockc builder inspect` shows a builder's version, `dockc version` dockc's.",
    "image build": "`dockc build`.",
    "image import": "The archive of a file system becomes an image by `FROM scratch` and `ADD`.",
    "image prune": _PRUNE,
    "image tree": "`dockc image layers` shows layers, `dockc image files` files.",
    "system dial-stdio": "`dockc buildctl dial-stdio`.",
    "system events": "`dockc history ls` lists builds, `dockc history logs` prints what they said.",
    "system info": "`dockc config` shows what holds here, `dockc doctor` checks the store.",
}
_TRUST = "There is no content trust here: leave it out, and name an image by its digest."
_TAGS = "One tag at a time."
_FILTER = "`dockc images NAME` lists one name's images, and `--json` gives lines for `jq`."
_ALONE = "One program runs here, in this terminal, until it ends, on the host's network; nothing of it is kept."
#: Options of docker's commands that are none here, by the command's last word; what does it instead, in one line.
OPTIONS: dict[str, dict[str, str]] = {
    "history": {
        **dict.fromkeys(("--quiet", "-q"), "`dockc image layers --json` has the layers' digests."),
        **dict.fromkeys(("--human", "-H"), "Sizes are for people, and in bytes with `--json`."),
        "--format": "`dockc image history --json` gives a line of JSON for each layer.",
    },
    "images": {
        **dict.fromkeys(("--all", "-a", "--tree"), "All that is kept under a name is listed; there are no others."),
        **dict.fromkeys(("--filter", "-f"), _FILTER),
        **dict.fromkeys(("--digests", "--no-trunc"), "`--quiet` and `--json` have whole digests."),
    },
    "inspect": {
        **dict.fromkeys(("--size", "-s"), "The size is there without it."),
        "--type": "There are images alone: leave it out.",
    },
    "load": {"--platform": "All platforms that the archive has are loaded."},
    "pull": {**dict.fromkeys(("--all-tags", "-a"), _TAGS), "--disable-content-trust": _TRUST},
    "prune": {
        "--volumes": "There are no volumes here; `dockc cache mounts` is about what cache mounts keep.",
    },
    "push": {
        **dict.fromkeys(("--all-tags", "-a"), _TAGS),
        "--disable-content-trust": _TRUST,
        "--platform": "All of the image is pushed; `dockc save --platform` writes one platform alone.",
    },
    "rmi": {
        "--no-prune": "It takes names alone away, and never layers.",
        "--platform": "It takes names away, not parts of an image.",
    },
    "run": {
        "--rm": "Nothing of a run is kept in any case: leave it out.",
        **dict.fromkeys(("--detach", "-d", "--name", "--restart", "--network", "--net", "--publish", "-p"), _ALONE),
        **dict.fromkeys(("--volume", "-v", "--mount"), "Nothing of the host is mounted: COPY it into an image."),
        "--entrypoint": "Words after the image's name are the program and its arguments.",
    },
    "version": dict.fromkeys(("--format", "-f"), "`dockc version --json`."),
}
OPTIONS |= {"ls": OPTIONS["images"], "layers": OPTIONS["history"], "rm": OPTIONS["rmi"]}


def instead(verb: str, option: str) -> str:
    """What does an option's work that a command has not, in one line; "" where nobody asks for it.

    Args:
        verb: the command, all its words.
        option: as it was written, with its dashes.
    """
    group, _, last = verb.rpartition(" ")
    if group not in ("", "image", "system", "builder") or (last in ("ls", "rm") and group != "image"):
        return ""
    return OPTIONS.get(last, {}).get(option, "")


_MEANT = {"delete": "rm", "list": "ls", "log": "logs", "remove": "rm", "show": "inspect"}
"""Words for what the commands of a group do, and what they are called."""


def refuse(argv: Sequence[str]) -> None:
    """Say what a line asks for that is no command here.

    Raises:
        UsageError: the first word is another tool's, or what follows a group is no command of it.
    """
    words = [word for word in argv if not word.startswith("-")]
    if (both := " ".join(words[:2])) in SECOND:
        raise UsageError(f"no such command: {both}", hint=SECOND[both])
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
