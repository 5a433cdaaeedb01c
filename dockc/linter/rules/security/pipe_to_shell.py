"""DK0202 pipe-to-shell."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.shell import ast as sh
from dockc.linter.shell.commands import Shell, literal


class PipeToShell(Rule):
    """Reports `curl … | sh` and its relatives: `bash <(curl …)`, `sh -c "$(wget …)"`, `eval "$(curl …)"`.

    ## Why

    Whoever controls the server, or the network, runs what they like in the build. A download that breaks off runs half
    a script. Download to a
    file, check its hash, then run it: `ADD --checksum=sha256:… URL /tmp/install.sh`.
    """

    code = "DK0202"
    name = "pipe-to-shell"
    summary = "A downloaded script is run unseen"
    severity = Severity.INFO
    equivalents = (
        "semgrep:curl-pipe-sh",
        "sonar:S6504",
    )
    bad = "FROM debian:12\nRUN curl -fsSL https://example.org/install.sh | sh\n"
    good = "FROM debian:12\nADD --checksum=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef https://example.org/install.sh /tmp/\nRUN sh /tmp/install.sh\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        for script in context.runs:
            if not script.shell.ok or not any(name in script.shell.text for name in _LOADERS):
                continue
            for start, end in _places(script.shell):
                end = len(script.shell.text[:end].rstrip(" \t\r\n\\"))
                yield Hit(
                    script.span(start, end),
                    "a downloaded script is run without a look at it",
                    help="Use ADD --checksum, or check a hash before running it.",
                )


_LOADERS = ("curl", "wget")
_SHELLS = frozenset(
    ["sh", "bash", "dash", "ash", "zsh", "ksh", "python", "python2", "python3", "perl", "ruby", "node", "php"]
)
_PREFIXES = frozenset(["sudo", "env", "exec", "command", "nohup"])


def _places(shell: Shell) -> Iterator[tuple[int, int]]:
    nodes: tuple[sh.Pipeline | sh.Simple, ...] = (*shell.pipelines, *shell.simples)
    for node in nodes:
        if isinstance(node, sh.Pipeline):
            loads = False
            for part in node.commands:
                if isinstance(part, sh.Simple) and loads and _program(part) in _SHELLS and _reads_input(part):
                    yield node.start, node.end
                    break
                loads = loads or (isinstance(part, sh.Simple) and _program(part) in _LOADERS)
        elif _program(node) in _SHELLS | {"eval", "source", "."} and any(map(_loads, node.words[1:])):
            yield node.start, node.end


def _program(node: sh.Simple) -> str:
    """The command's name, `sudo` and assignments passed over, without its directory."""
    for word in node.words:
        text = literal(word) if isinstance(word, sh.Word) else None
        if text is None:
            return ""
        if text not in _PREFIXES and not text.startswith("-") and "=" not in text:
            return text.rpartition("/")[2]
    return ""


def _reads_input(node: sh.Simple) -> bool:
    """Whether a shell gets its script from the pipe: no script and no `-c` among its words."""
    words = [literal(w) if isinstance(w, sh.Word) else "" for w in node.words]
    names = [w for w in words if w]
    at = next((i for i, w in enumerate(names) if w.rpartition("/")[2] in _SHELLS), 0)
    for word in names[at + 1 :]:
        if word in {"-", "-s", "--"} or word.startswith("-s"):
            return True
        if word in {"-c", "-e", "-m"} or not word.startswith("-"):
            return False
    return True


def _loads(word: sh.Word | sh.Assignment) -> bool:
    """Whether a word is made from a download."""
    if isinstance(word, sh.Assignment):
        return False
    stack: list[object] = list(word.parts)
    while stack:
        part = stack.pop()
        if isinstance(part, sh.Substitution):
            inner = sh.Script("", part.body)
            if any(isinstance(n, sh.Simple) and _program(n) in _LOADERS for n in sh.walk(inner)):
                return True
        stack.extend(getattr(part, "parts", ()))
    return False
