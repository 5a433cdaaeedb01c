"""What OCI runtimes leave open in a sandboxed step, closed by a `createContainer` hook: after their mounts, before the
program.

crun mounts the root anew without its flags. In a user namespace runtimes bind the host's device nodes, which root of
the
container may change where it is the host's root too; and /sys with the control groups below it, writable.
Source: OCI runtime specification, "POSIX-platform Hooks": the hook runs in the container's mount namespace.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from typing import Any

from dockc.runtime.executor import policy
from dockc.runtime.executor.sandbox import attach, restrict
from dockc.runtime.kernel.rootpath import open_in_root

_CODE = "import sys; sys.path.insert(0, sys.argv[1]); from dockc.runtime.executor.hook import main; main(*sys.argv[2:])"


def hooks(package_root: str, rootfs: str, *, rootless: bool) -> dict[str, Any]:
    """The `hooks` of a sandboxed step's configuration.

    Args:
        package_root: directory to import this package from.
        rootfs: path of the root file system before the root is changed.
        rootless: the runtime runs in a user namespace.
    """
    frozen = [(f"/dev/{name}", ["ro", "nosuid", "noexec"]) for name in policy.DEVICES]
    frozen.append(("/sys", ["ro", "nosuid", "nodev", "noexec"]))
    arguments = [package_root, rootfs, json.dumps(frozen if rootless else [])]
    args = [sys.executable, "-I", "-S", "-c", _CODE, *arguments]
    # What an interpreter may need to find its own libraries; runtimes hand nothing on.
    env = [f"{name}={os.environ[name]}" for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ]
    return {"createContainer": [{"path": sys.executable, "args": args, "env": env}]}


def main(rootfs: str, frozen: str) -> None:
    """Restrict the mounts of a container that is being made; an error ends it."""
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    restrict(root, ["nodev"], recursive=False)
    for path, options in json.loads(frozen):
        try:
            target = open_in_root(root, path)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            raise
        attach(target, target, options, recursive=True)
        os.close(target)
