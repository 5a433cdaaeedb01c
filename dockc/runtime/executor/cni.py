"""Networks of steps that CNI plugins make: a namespace for each process, set up before it starts and torn down after.

Source: the CNI specification 1.0 (execution of plugins, derivation of configurations), BuildKit's defaults of paths.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockc.base import children, jsontext
from dockc.base.files import read_regular
from dockc.base.record import Record, replace
from dockc.errors import DockcError, UsageError
from dockc.runtime.executor.base import Dns, ExecSpec, ExecutorError, NetworkMode
from dockc.runtime.executor.sandbox import loopback_up
from dockc.runtime.kernel import syscalls

if TYPE_CHECKING:
    from dockc.runtime.executor.base import ExecIO, Executor, ResolvedMount

CONFIG = Path("/etc/buildkit/cni.json")
PLUGINS = Path("/opt/cni/bin")
MODES = ("auto", "host", "cni", "bridge")
_INTERFACE = "eth0"
_PATIENCE = 60.0
_LIMIT = 4 << 20


class NetworkOptions(Record, kw_only=True):
    """How the network of steps is made that ask for none in particular.

    Attributes:
        mode: `host`, `cni` (as `config` says), `bridge` (a bridge of this name and subnet), or `auto`: `cni` where
            there is a configuration, else `host`.
        config: a network, or a list of plugins (`.conflist`).
        plugins: directory of the plugins.
        dns: what /etc/resolv.conf says, in place of the host's.
    """

    mode: str = "host"
    config: Path = CONFIG
    plugins: Path = PLUGINS
    bridge: str = "buildkit0"
    subnet: str = "10.10.0.0/16"
    dns: Dns | None = None

    def resolved(self) -> str:
        """`host` or `cni`.

        Raises:
            UsageError: an unknown mode.
        """
        if self.mode not in MODES:
            raise UsageError(f"invalid network mode {self.mode}", hint=f"One of {', '.join(MODES)}.")
        if self.mode == "auto":
            return "cni" if self.config.exists() else "host"
        return "cni" if self.mode == "bridge" else self.mode


def networked(executor: Executor, options: NetworkOptions, state_dir: Path) -> Executor:
    """An executor whose steps have such a network.

    Raises:
        UsageError: a mode, configuration or plugin that there is not.
    """
    if options.resolved() == "host":
        return executor if options.dns is None else _Networked(executor, None, options.dns)
    if options.mode == "bridge":
        found = Cni("buildkit", "1.0.0", _bridge(options), options.plugins, state_dir)
    else:
        found = Cni.load(options.config, options.plugins, state_dir)
    return _Networked(executor, found, options.dns)


class _Networked:
    """An executor, and the network that it lacks."""

    def __init__(self, executor: Executor, cni: Cni | None, dns: Dns | None) -> None:
        self._executor, self._cni, self._dns = executor, cni, dns

    @property
    def name(self) -> str:
        return self._executor.name

    def run(
        self,
        spec: ExecSpec,
        rootfs: Path,
        mounts: Sequence[ResolvedMount],
        io: ExecIO,
        cancelled: threading.Event,
    ) -> int:
        spec = replace(spec, dns=spec.dns or self._dns)
        if self._cni is None or spec.network != NetworkMode.UNSET:
            return self._executor.run(spec, rootfs, mounts, io, cancelled)
        with self._cni.namespace(spec.hostname) as path:
            return self._executor.run(replace(spec, network_namespace=str(path)), rootfs, mounts, io, cancelled)


class Cni:
    """A network of plugins, each called in turn for each namespace.

    Args:
        name: of the network.
        version: of its configuration.
        plugins: configurations, each naming its program as `type`.
        folder: where the programs are.
        state_dir: where namespaces are shown while they are used.
    """

    def __init__(
        self, name: str, version: str, plugins: Sequence[Mapping[str, Any]], folder: Path, state_dir: Path
    ) -> None:
        self._name, self._version, self._plugins, self._folder = name, version, plugins, folder
        self._state = state_dir
        self._first = threading.Lock()
        for plugin in plugins:
            self._program(plugin)

    @classmethod
    def load(cls, config: Path, folder: Path, state_dir: Path) -> Cni:
        """Read a configuration.

        Raises:
            UsageError: it cannot be read or makes no sense, or a plugin is missing.
        """
        try:
            read = jsontext.parsed(read_regular(config, _LIMIT))
        except (OSError, ValueError) as exc:
            raise UsageError(f"cannot read the network configuration {config}: {exc}") from exc
        many = config.suffix == ".conflist"
        plugins = read.get("plugins") if many and isinstance(read, dict) else [read]
        if not isinstance(read, dict) or not plugins or not all(isinstance(one, dict) for one in plugins):
            raise UsageError(f"{config} describes no network")
        name, version = str(read.get("name", "")), str(read.get("cniVersion", "0.2.0"))
        if not name:
            raise UsageError(f"{config}: the network has no name")
        return cls(name, version, plugins, folder, state_dir)

    def _program(self, plugin: Mapping[str, Any]) -> Path:
        kind = str(plugin.get("type", ""))
        path = self._folder / kind
        if not kind or "/" in kind or not os.access(path, os.X_OK):
            raise UsageError(
                f"there is no network plugin {kind!r} in {self._folder}",
                hint="Debian's package containernetworking-plugins has them, in /usr/lib/cni.",
            )
        return path

    @contextlib.contextmanager
    def namespace(self, hostname: str = "") -> Iterator[Path]:
        """A network namespace for one process; it goes when the context ends.

        Raises:
            ExecutorError: the kernel or a plugin refuses.
        """
        self._state.mkdir(mode=0o711, parents=True, exist_ok=True)
        key = secrets.token_hex(12)
        path = self._state / f"network-{key}"
        path.touch(0o600)
        try:
            _in_thread(lambda: _make(path))
            try:
                env = self._environment(key, path, hostname)
                with self._one_at_first():
                    result = self._add(env)
                try:
                    yield path
                finally:
                    self._delete(env, result)
            finally:
                with contextlib.suppress(OSError):
                    syscalls.umount(str(path), syscalls.MNT_DETACH)
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _one_at_first(self) -> Iterator[None]:
        """The first namespace makes what all of them share (a bridge, rules of a firewall): one by one, also among
        daemons that are told of the same file.
        """
        shared = os.environ.get("BUILDKIT_CNI_INIT_LOCK_PATH", "")
        with self._first:
            if not shared:
                yield
                return
            with open(shared, "a") as file:  # noqa: PTH123  a path of the caller
                fcntl.flock(file, fcntl.LOCK_EX)
                yield

    def _environment(self, key: str, path: Path, hostname: str) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        env |= {
            "CNI_CONTAINERID": key,
            "CNI_NETNS": str(path),
            "CNI_IFNAME": _INTERFACE,
            "CNI_PATH": str(self._folder),
        }
        if hostname:
            env["CNI_ARGS"] = f"K8S_POD_NAME={hostname};IgnoreUnknown=1"
        return env

    def _add(self, env: Mapping[str, str]) -> Any:
        result: Any = None
        for plugin in self._plugins:
            try:
                result = self._call("ADD", plugin, env, result)
            except DockcError:
                self._delete(env, result)
                raise
        return result

    def _delete(self, env: Mapping[str, str], result: Any) -> None:
        """Best effort: the namespace, and with it every interface, goes in any case."""
        for plugin in reversed(self._plugins):
            with contextlib.suppress(DockcError):
                self._call("DEL", plugin, env, result)

    def _call(self, command: str, plugin: Mapping[str, Any], env: Mapping[str, str], before: Any) -> Any:
        """One plugin.

        Raises:
            ExecutorError: what it says.
        """
        config = {**plugin, "name": self._name, "cniVersion": self._version}
        if before is not None:
            config["prevResult"] = before
        program = self._program(plugin)
        try:
            done = children.run(
                [str(program)],
                data=json.dumps(config).encode(),
                timeout=_PATIENCE,
                env={**env, "CNI_COMMAND": command},
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise ExecutorError(f"network plugin {program.name}: {exc}") from exc
        try:
            said = jsontext.parsed(done.stdout) if done.stdout.strip() else None
        except ValueError:
            said = None
        if done.returncode:
            told = said.get("msg") if isinstance(said, dict) else None
            words = told or done.stderr.decode("utf-8", "replace").strip() or f"exit status {done.returncode}"
            raise ExecutorError(f"network plugin {program.name} failed to {command.lower()}: {words}")
        return said


def _bridge(options: NetworkOptions) -> list[dict[str, Any]]:
    """A bridge of our own, its guests behind the host's address."""
    return [
        {
            "type": "bridge",
            "bridge": options.bridge,
            "isDefaultGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": options.subnet}]]},
        },
        {"type": "firewall", "ingressPolicy": "same-bridge"},
    ]


def _make(path: Path) -> None:
    """In a thread of its own, which ends in the namespace that it makes: show that at a path."""
    syscalls.unshare(syscalls.CLONE_NEWNET)
    loopback_up()
    syscalls.mount("/proc/thread-self/ns/net", str(path), None, syscalls.MS_BIND)


def _in_thread(work: Any) -> None:
    trouble: list[OSError] = []

    def run() -> None:
        try:
            work()
        except OSError as exc:
            trouble.append(exc)

    thread = threading.Thread(target=run, name="dockc-network")
    thread.start()
    thread.join()
    if trouble:
        raise ExecutorError(f"cannot make a network namespace: {trouble[0].strerror}") from trouble[0]
