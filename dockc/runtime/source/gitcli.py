"""Running the git program: no user configuration, no prompts, secrets in the environment only."""

from __future__ import annotations

import base64
import os
import selectors
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dockc.base.children import Child
from dockc.base.record import Record, replace
from dockc.errors import DockcError, SolveError
from dockc.runtime.cancel import check_cancelled

if TYPE_CHECKING:
    from dockc.runtime.session.secrets import SecretStore, SshAgents
    from dockc.runtime.source.gitid import GitOptions

_PROXIES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
)
_POLL = 0.1
_PIECE = 1 << 16
_MOST = 64 << 20
"""Bytes of a command's answer: a list of refs, an object that is shown."""
_KEPT = 1 << 20
"""Bytes of its errors, the last ones."""


class GitError(SolveError):
    """A git command that failed.

    Attributes:
        stderr: what it said.
    """

    def __init__(self, message: str, stderr: str = "", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.stderr = stderr


class Git(Record):
    """A way to run git.

    Attributes:
        environ: the whole environment of the command.
        git_dir: repository, or None.
        work_tree: checkout, or None.
        log: gets what git says on its error channel.
        cancelled: the build's cancel event.
    """

    environ: tuple[tuple[str, str], ...]
    git_dir: Path | None = None
    work_tree: Path | None = None
    log: Callable[[bytes], None] | None = None
    cancelled: threading.Event | None = None

    def at(self, git_dir: Path | None = None, work_tree: Path | None = None) -> Git:
        """The same, for another repository."""
        return replace(self, git_dir=git_dir or self.git_dir, work_tree=work_tree or self.work_tree)

    def run(self, *args: str) -> bytes:
        """Run one command and return its output.

        A server that cannot do shallow fetches is asked again without `--depth`, one that does not give
        single commits is asked for everything.

        Raises:
            GitError: it failed.
            Cancelled: the build was given up; the whole process group is gone.
        """
        todo = list(args)
        while True:
            status, out, err = self._once(todo)
            text = err.decode("utf-8", "replace")
            if self.log is not None and err:
                self.log(err)
            if status == 0:
                return out
            fewer = _simpler(todo, text)
            if fewer is None:
                raise GitError(f"git stderr:\n{text}: exit status {status}", text)
            todo = fewer

    def text(self, *args: str) -> str:
        """Output of one command as text, without space around it."""
        return self.run(*args).decode("utf-8", "replace").strip()

    def succeeds(self, *args: str) -> bool:
        """Whether a command ends well."""
        try:
            self.run(*args)
        except GitError:
            return False
        return True

    def _once(self, args: list[str]) -> tuple[int, bytes, bytes]:
        # Repositories must not use paths of this machine as their submodules.
        command = ["git", "-c", "protocol.file.allow=user"]
        if self.work_tree is not None:
            command += ["--work-tree", str(self.work_tree)]
        if self.git_dir is not None:
            command += ["--git-dir", str(self.git_dir)]
        try:
            process = Child(
                [*command, *args],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.work_tree or self.git_dir,
                env=dict(self.environ),
                start_new_session=True,
                umask=0o022,
            )
        except FileNotFoundError:
            raise GitError("failed to find git binary", hint="install git") from None
        try:
            out, err = self._heard(process)
            while True:
                try:
                    return process.wait(_POLL), out, err
                except subprocess.TimeoutExpired:
                    check_cancelled(self.cancelled)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()

    def _heard(self, process: Child) -> tuple[bytes, bytes]:
        """What a command says on both channels until it closes them: what it says may come from a server that never ends."""
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = bytearray(), bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ, out)
            selector.register(process.stderr, selectors.EVENT_READ, err)
            while selector.get_map():
                ready = selector.select(_POLL)
                check_cancelled(self.cancelled)
                for key, _ in ready:
                    data = os.read(key.fd, _PIECE)
                    if not data:
                        selector.unregister(key.fileobj)
                    key.data.extend(data)
                if len(out) > _MOST:
                    raise GitError(f"git said more than {_MOST} bytes, which is no answer")
                if len(err) > 2 * _KEPT:  # its end says what went wrong
                    del err[:-_KEPT]
        return bytes(out), bytes(err[-_KEPT:])


def _simpler(args: list[str], stderr: str) -> list[str] | None:
    """The command without what the server could not do, or None when that was not the reason."""
    if ("--depth" in stderr or "shallow" in stderr) and "--depth=1" in args:
        return [arg for arg in args if arg != "--depth=1"]
    if "not our ref" in stderr or "unadvertised object" in stderr:
        from dockc.runtime.source.gitid import is_commit

        if len(args) > 2 and args[0] == "fetch" and is_commit(args[-1]):
            return args[:-1]
    return None


@contextmanager
def prepare(
    options: GitOptions,
    secrets: SecretStore | None,
    agents: SshAgents | None,
    *,
    log: Callable[[bytes], None] | None = None,
    cancelled: threading.Event | None = None,
    offline: bool = False,
) -> Iterator[Git]:
    """A `Git` with the build's credentials; what is needed on disk is gone afterwards. `offline`, it asks nobody.

    Raises:
        SolveError: an agent is asked for that the build does not lend.
    """
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "HOME": os.devnull,
    }
    environ |= {name: os.environ[name] for name in _PROXIES if name in os.environ}
    if offline:
        environ["GIT_ALLOW_PROTOCOL"] = "file"
    header = _authorization(options, secrets)
    # A server that trickles for ever is left: as slow as the transport of registries allows, see
    # `registry.transport.Limits`.
    settings = [("http.lowSpeedLimit", "1024"), ("http.lowSpeedTime", "300"), ("core.hooksPath", os.devnull)]
    settings += [(f"url.{real}.insteadOf", shown) for real, shown in options.instead_of]
    if header:
        settings.append((f"http.{options.token_scope}.extraheader", f"Authorization: {header}"))
    environ["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings):
        environ |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    if options.ssh_id:
        environ["SSH_AUTH_SOCK"] = str(_agent(options.ssh_id, agents))
    ssh = f"ssh -F {os.devnull}"
    with tempfile.NamedTemporaryFile("w", prefix="known-hosts-") as known:
        if options.known_hosts:
            known.write(options.known_hosts)
            known.flush()
            ssh += f" -o UserKnownHostsFile={known.name}"
        else:
            ssh += " -o StrictHostKeyChecking=no"
        environ["GIT_SSH_COMMAND"] = ssh
        yield Git(tuple(environ.items()), log=log, cancelled=cancelled)


def _authorization(options: GitOptions, secrets: SecretStore | None) -> str:
    """The Authorization header out of the build's secrets: one for the host before the general one."""
    if secrets is None:
        return ""
    try:
        host = urlsplit(options.remote).netloc.rpartition("@")[2]
    except ValueError:
        host = ""
    candidates = (
        (options.header_secret and f"{options.header_secret}.{host}", False),
        (options.token_secret and f"{options.token_secret}.{host}", True),
        (options.header_secret, False),
        (options.token_secret, True),
    )
    for name, token in candidates:
        value = secrets.get(name) if name else None
        if value is None:
            continue
        if token:
            value = b"basic " + base64.b64encode(b"x-access-token:" + value)
        text = value.decode("latin-1").strip()
        if not text.isprintable():
            raise DockcError(f"secret {name}: control characters in an authorization")
        return text
    return ""


def _agent(ssh_id: str, agents: SshAgents | None) -> Path:
    source = agents.find(ssh_id) if agents is not None else None
    if source is None:
        raise SolveError(f'no SSH key "{ssh_id}" forwarded from the client', hint=f"add --ssh {ssh_id}")
    if source.socket is None:
        raise SolveError(
            f'SSH key "{ssh_id}": git sources need an agent socket, not key files',
            hint="load the key into an agent (ssh-add) and lend that",
        )
    return source.socket
