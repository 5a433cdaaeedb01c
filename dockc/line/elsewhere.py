"""Words that people bring from other tools and that are no commands here: what does it instead, in one line."""

from __future__ import annotations

from dockc.errors import UsageError
from dockc.line.verbs import GROUPS, VERBS, members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_CONTAINERS = "dockc keeps no containers: `dockc run IMAGE` runs one program, and keeps nothing of it."
_COMPOSE = "There is no compose: `dockc build` takes one Dockerfile, `dockc run` runs one program."
_SCANS = "Nothing here looks for vulnerabilities: `dockc save` writes an archive that scanners read."
_VOLUMES = "There are no volumes here; `dockc cache mounts` is about what cache mounts keep."
_CLUSTER = "dockc builds images; what runs them is another tool's."
_ATTESTED = "There are no attestations here; `dockc image files` lists what an image holds."
WORDS = {
    "attach": _CONTAINERS,
    "bake": "`dockc build` takes one target at a time; there is no bake.",
    "buildctl-daemonless.sh": "`dockc build` needs no daemon.",
    "buildkitd": "`dockc daemon` serves the same protocol.",
    "buildx": "Leave the word out: `dockc build`, `dockc builder`, `dockc du`, `dockc prune`, `dockc history`.",
    "buildah": "Leave the word out: `dockc build`, `dockc images`, `dockc push`.",
    "check": "`dockc build --check` gives BuildKit's findings, `dockc lint` more.",
    "clean": "`dockc prune` removes build cache that nothing needs; `dockc du` shows what there is.",
    "commit": "Write the change as a RUN or COPY, and `dockc build`.",
    "compose": _COMPOSE,
    "container": _CONTAINERS,
    "context": "`dockc builder` is about where builds happen.",
    "cp": "`dockc build --output DIR` writes a build's files; `dockc image files` lists an image's.",
    "create": _CONTAINERS,
    "crane": "`dockc pull`, `dockc push`, `dockc tag` and `dockc image inspect` do what it does.",
    "diff": "`dockc image layers` says what each layer adds, changes and removes.",
    "dive": "`dockc image layers` says what each layer adds, changes and wastes; `dockc image files` lists the files.",
    "down": _COMPOSE,
    "events": "`dockc history ls` lists builds, `dockc history logs` prints what they said.",
    "exec": _CONTAINERS,
    "export": "`dockc build --output DIR` writes a file system; `dockc image save` writes an image.",
    "format": "`dockc fmt`.",
    "hadolint": "`dockc lint --profile=hadolint` gives its findings exactly.",
    "imagetools": "`dockc image inspect` shows an image; `dockc pull` and `dockc push` carry it.",
    "import": "The archive of a file system becomes an image by `FROM scratch` and `ADD`.",
    "info": "`dockc config` shows what holds here, `dockc doctor` checks the store.",
    "init": "dockc writes no Dockerfiles of its own, but for `dockc decompile`, which makes one of an image.",
    "kaniko": "`dockc build --push` needs no daemon and no root either.",
    "kill": _CONTAINERS,
    "logout": "dockc keeps no credentials: `docker logout`, or `skopeo logout`.",
    "logs": "`dockc history logs last` prints what a build printed.",
    "ls": "`dockc images`.",
    "manifest": "`dockc build --platform A,B --push` makes an index; `dockc image inspect` shows one.",
    "network": "Steps and programs use the host's network; `dockc build --network none` gives steps none.",
    "node": _CLUSTER,
    "outline": "`dockc build --call=outline`.",
    "pause": _CONTAINERS,
    "plugin": "docker's plug-ins are docker's own; `docker-dockc` makes dockc one of them.",
    "podman": "Leave the word out, as docker's: `dockc build`, `dockc images`, `dockc run`.",
    "port": _CONTAINERS,
    "ps": _CONTAINERS,
    "rename": _CONTAINERS,
    "restart": _CONTAINERS,
    "rm": _CONTAINERS,
    "sbom": _ATTESTED,
    "scan": _SCANS,
    "scout": _ATTESTED,
    "search": "Ask the registry's own page.",
    "service": _CLUSTER,
    "skopeo": "`dockc pull`, `dockc push`, `dockc load`, `dockc save` and `dockc image inspect` do what it does.",
    "stack": _CLUSTER,
    "start": _CONTAINERS,
    "stats": _CONTAINERS,
    "stop": _CONTAINERS,
    "swarm": _CLUSTER,
    "targets": "`dockc build --call=targets`.",
    "test": "`dockc build --check` and `dockc lint` judge a Dockerfile; `dockc run` runs an image's program.",
    "top": _CONTAINERS,
    "trust": "Nothing here checks signatures: name an image by its digest.",
    "unpause": _CONTAINERS,
    "trivy": _SCANS,
    "up": _COMPOSE,
    "update": _CONTAINERS,
    "validate": "`dockc build --check` gives BuildKit's findings, `dockc lint` more.",
    "verify": "`dockc doctor` checks the store, `dockc build --check` a Dockerfile; nothing here checks signatures.",
    "volume": _VOLUMES,
    "why": "`dockc explain --miss` says why steps of a build ran, `dockc explain --plan` why they would.",
    "wait": _CONTAINERS,
}

_PRUNE = "`dockc rmi` takes names away, `dockc prune` frees what nothing needs."
_HERE = "It is about builders elsewhere. `dockc daemon` is a program: what started it stops it."
#: What is no command of its group here.
SECOND = {
    "builder bake": "`dockc build` takes one target at a time; there is no bake.",
    "builder build": "`dockc build --builder NAME`.",
    "builder stop": _HERE,
    "builder version": "`dockc builder inspect` shows a builder's version, `dockc version` dockc's.",
    "history trace": "`dockc history open` shows a build's time line and what it waited for.",
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
_LISTED = "`dockc explain rules` lists them, with what each is about."
_WRITTEN = "Files are written without it; `--check` and `--diff` write nothing."
_ONE_STYLE = "There is one style, and nothing to choose in it."
#: Options of docker's commands, and of other linters and formatters, that are none here, by the command's last word; what does it instead, in one line.
OPTIONS: dict[str, dict[str, str]] = {
    "fmt": {
        **dict.fromkeys(("--write", "-w", "--in-place", "-i", "--fix"), _WRITTEN),
        **dict.fromkeys(("--list", "-l"), "`--check` names the files that would change."),
        **dict.fromkeys(("--indent", "-n", "--newline", "--space-redirects", "-s"), _ONE_STYLE),
    },
    "history": {
        **dict.fromkeys(("--quiet", "-q"), "`dockc image layers --json` has the layers' digests."),
        **dict.fromkeys(("--human", "-H"), "Sizes are for people, and in bytes with `--json`."),
        "--format": "`dockc image history --json` gives a line of JSON for each layer.",
    },
    "images": {
        "--tree": "All that is kept under a name is listed; `dockc image layers NAME` goes below it.",
        **dict.fromkeys(("--filter", "-f"), _FILTER),
        **dict.fromkeys(("--digests", "--no-trunc"), "`--quiet` and `--json` have whole digests."),
    },
    "inspect": {
        **dict.fromkeys(("--size", "-s"), "The size is there without it."),
        "--type": "There are images alone: leave it out.",
    },
    "lint": {
        **dict.fromkeys(("--disable", "--disable-rule", "--skip"), "`--ignore CODE`."),
        **dict.fromkeys(("--enable", "--rule", "-r"), "`--extend CODE` adds a rule, `--select CODE` takes that alone."),
        **dict.fromkeys(("--list-rules", "--rules"), _LISTED),
        **dict.fromkeys(("--exit-zero", "--no-error"), "`--no-fail` ends with 0 whatever is found."),
        **dict.fromkeys(
            ("--quiet", "-q"), "`--format=concise` is a line for each finding; the exit status says the rest."
        ),
        **dict.fromkeys(("--reporter", "--output-format"), "`--format FORM`."),
        "--exclude": "Name the files: `dockc lint 'services/**/Dockerfile'`.",
    },
    "load": {"--platform": "All platforms that the archive has are loaded."},
    "pull": {**dict.fromkeys(("--all-tags", "-a"), _TAGS), "--disable-content-trust": _TRUST},
    "prune": {
        "--volumes": _VOLUMES,
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
        **dict.fromkeys(("--detach", "-d", "--name", "--restart", "--network", "--net", "--publish", "-p"), _ALONE),
        **dict.fromkeys(("--volume", "-v", "--mount"), "Nothing of the host is mounted: COPY it into an image."),
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
        if group == "history" and not meant:  # docker's takes an image
            raise UsageError(
                f"no such command: history {rest[0]}",
                hint=f"`dockc image history {rest[0]}` shows an image's layers, `dockc history ls` lists builds.",
            )
        raise UsageError(
            f"no such command: {group} {rest[0]}",
            hint=f"Did you mean `dockc {meant}`?"
            if meant
            else f"{GROUPS[group]} `dockc {group} --help` lists the commands.",
        )
    if words and words[0] in WORDS:
        raise UsageError(f"no such command: {words[0]}", hint=WORDS[words[0]])
    if words and not size and argv[0] == words[0]:
        from dockc.compiler.suggest import nearest

        meant = nearest(words[0], (*dict.fromkeys(verb.partition(" ")[0] for verb in VERBS), *GROUPS))
        raise UsageError(
            f"no such command: {words[0]}",
            hint=f"Did you mean `dockc {meant}`?" if meant else "`dockc --help` lists the commands.",
        )
