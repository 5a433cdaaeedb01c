"""`docker-dockc`: dockc as a plug-in of the `docker` command, and `docker-buildx`: in the place of its builder.

docker asks a plug-in what it is (`docker-cli-plugin-metadata`), and calls it with its own words, global options before
the plug-in's name. Source: docker's documentation of plug-ins for its command line, and what docker 28 does.

    docker dockc lint          any verb of dockc
    docker build .             with `"aliases": {"builder": "dockc"}` in ~/.docker/config.json, or called `docker-buildx`
"""

from __future__ import annotations

import os
import sys

from dockc.base.version import VERSION
from dockc.line.verbs import COMPLETE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

METADATA = "docker-cli-plugin-metadata"
_SOCKET = "DOCKER_CLI_PLUGIN_SOCKET"
#: Global options of docker with a value, and the variable that says the same to the docker that we may call.
_VALUES = {
    "--config": "DOCKER_CONFIG",
    "--context": "DOCKER_CONTEXT",
    "-c": "DOCKER_CONTEXT",
    "--host": "DOCKER_HOST",
    "-H": "DOCKER_HOST",
    "--log-level": "",
    "-l": "",
    "--tlscacert": "",
    "--tlscert": "",
    "--tlskey": "",
}
_FLAGS = frozenset(("-D", "--debug", "--tls", "--tlsverify"))
#: Options of a build that say what is made, or that nothing is.
_SAYS = frozenset(("-o", "--output", "--push", "--load", "--call", "--check"))
#: buildx' words for builders.
_BUILDERS = frozenset(("create", "inspect", "ls", "rm", "use"))


def translated(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The words of dockc for what docker calls, and variables that its global options set.

    Args:
        argv: the plug-in's arguments; the first that is no option is the plug-in's name.
    """
    variables: dict[str, str] = {}
    rest = list(argv)
    asked = rest[:1] in (["__complete"], ["__completeNoDesc"])
    if asked:
        rest = rest[1:]
    while rest and rest[0].startswith("-"):
        flag, equals, value = rest.pop(0).partition("=")
        if flag in _VALUES:
            if not equals and rest:
                value = rest.pop(0)
            if _VALUES[flag]:
                variables[_VALUES[flag]] = value
        elif flag not in _FLAGS:
            rest.insert(0, flag + equals + value)
            break
    name, words = (rest[0], rest[1:]) if rest else ("", [])
    if name == "buildx":
        words = _of_buildx(words)
    if asked:
        return [COMPLETE, "--", *words], variables
    if words[:1] == ["build"] and not _says(words):
        words.insert(1, "--load")  # whoever builds with docker wants the image in docker
    return words, variables


def _of_buildx(words: list[str]) -> list[str]:
    """Words of buildx in those of dockc: `--builder` may stand before the verb, and builders are a group."""
    before: list[str] = []
    while words and words[0].partition("=")[0] in {"--builder", "-D", "--debug"}:
        flag = words.pop(0)
        if flag == "--builder" and words:
            flag = f"--builder={words.pop(0)}"
        if flag.startswith("--builder="):
            before.append(flag)
    if words[:1] in (["b"], ["build"]):
        return ["build", *before, *words[1:]]
    if words and words[0] in _BUILDERS:
        return ["builder", *words]
    return [*words[:1], *before, *words[1:]]


def _says(words: Sequence[str]) -> bool:
    """Whether a build says what it makes."""
    return any(
        word.partition("=")[0] in _SAYS or (word.startswith("-o") and not word.startswith("--")) for word in words
    ) or any(word in {"--help", "-h"} for word in words)


def begin(argv: list[str]) -> list[str]:
    """Take up docker's call: dockc's command line.

    The metadata are written here, and the process ends.
    """
    if argv[:1] == [METADATA]:
        import json

        told = {
            "SchemaVersion": "0.1.0",
            "Vendor": "dockc",
            "Version": f"v{VERSION}",
            "ShortDescription": "Compile, lint and build Dockerfiles",
        }
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        os._exit(0)
    words, variables = translated(argv)
    os.environ.update(variables)
    _forget_context()
    if words[:1] == [COMPLETE]:
        _complete(words[2:])
    follow(os.environ.get(_SOCKET, ""))
    return words


def _forget_context() -> None:
    """Docker names its own context in the place of a builder where none is named: that is no builder of ours."""
    name = os.environ.get("BUILDX_BUILDER", "")
    if name in {"", "default"}:
        return
    from dockc.client import builders
    from dockc.errors import DockcError

    try:
        known = name in builders.load().nodes
    except DockcError:  # the command will say so
        return
    if not known:
        del os.environ["BUILDX_BUILDER"]


def _complete(words: Sequence[str]) -> None:
    """What may come next, in the form of docker's command line library: candidates, then a number that says what else
    the shell may offer. The process ends.
    """
    from dockc.errors import DockcError
    from dockc.line.complete import candidates

    directive = 4  # no files
    try:
        for word, text in candidates(words):
            if word == ":file":
                directive = 0
            elif word == ":directory":
                directive = 16
            else:
                sys.stdout.write(f"{word}\t{text}\n" if text else f"{word}\n")
        sys.stdout.write(f":{directive}\n")
        sys.stdout.flush()
    except (DockcError, OSError, ValueError):  # nobody wants an error while they type
        os._exit(1)
    os._exit(0)


def follow(address: str) -> None:
    """End when docker does. docker closes a socket when it is told to end, and does not pass signals on.

    Builds enter namespaces as a process of one thread, so the kernel is asked for a signal instead of a thread to wait.
    """
    if not address:
        return
    import _signal as signal  # type: ignore[import-not-found]
    import _socket
    import fcntl

    link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        link.connect("\0" + address[1:] if address.startswith("@") else address)
        link.setblocking(False)
    except OSError:
        link.close()
        return

    def heard(*_: object) -> None:
        try:
            if link.recv(64):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGIO, heard)
    fcntl.fcntl(link, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(link, fcntl.F_SETFL, fcntl.fcntl(link, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    heard()  # it may have been closed before
