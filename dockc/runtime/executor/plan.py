"""The message from the builder to the container's first process: plain values, sent with `marshal`.

Both sides run the same interpreter from the same package, so the form needs no versions.
"""

from __future__ import annotations

from typing import TypedDict, final

from dockc.runtime.executor.policy import MountEntry


@final
class Plan(TypedDict):
    """Everything the child does, decided beforehand."""

    rootfs: str
    readonly_rootfs: bool
    sandboxed: bool
    mounts: list[MountEntry]
    selectors: dict[str, str]
    cgroups: list[str]
    devices: list[str]
    masked: list[str]
    readonly: list[str]
    namespaces: int
    own_network: bool
    network_namespace: str
    hostname: str
    uid: int
    gid: int
    groups: list[int]
    args: list[str]
    env: list[str]
    cwd: str
    rlimits: list[tuple[int, int, int]]
    capabilities: int
    ambient: bool
    last_capability: int
    seccomp: bytes
    no_new_privileges: bool


@final
class RuntimePlan(TypedDict):
    """Run an OCI runtime instead: its command line, and directories that it must not see."""

    command: list[str]
    cgroups: list[str]
    hidden: list[str]
