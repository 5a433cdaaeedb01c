"""A builder in a process of its own: enters its namespace as whoever it is, then runs what it is told.

Reads one JSON object a line on standard input, answers with one on standard output. Uses nothing but dockc
and the standard library, so that any Python of the machine will do.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import sys
import tarfile
import tempfile
import threading
from pathlib import Path
from typing import Any

from dockc.errors import DockcError
from dockc.runtime.executor import rootless
from dockc.runtime.executor.base import (
    ExecCancelled,
    ExecIO,
    ExecSpec,
    HostEntry,
    NetworkMode,
    ResolvedMount,
    Rlimit,
    SecurityMode,
)
from dockc.runtime.executor.choose import choose

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Driver:
    def __init__(self, executor: str, base: Path) -> None:
        self.namespace = rootless.enter_build_namespace()
        self.top = Path(tempfile.mkdtemp(prefix="dockc-test-"))
        self.top.chmod(0o711)
        self.executor = choose(executor, self.top / "state")
        self.base = base
        self.rootfs = self.top / "rootfs"
        self.fresh({})

    def hello(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "top": str(self.top),
            "pid": os.getpid(),
            "rootless": self.namespace.rootless,
            "single": self.namespace.single_id,
            "reason": self.namespace.reason,
        }

    def fresh(self, _: dict[str, Any]) -> dict[str, Any]:
        shutil.rmtree(self.rootfs, ignore_errors=True)
        self.rootfs.mkdir()
        with tarfile.open(self.base) as tar:
            tar.extraction_filter = lambda member, _: member
            tar.extractall(self.rootfs)
        return {}

    def sh(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run a shell script in the builder's namespace."""
        return {"status": os.waitstatus_to_exitcode(os.system(request["script"]))}

    def tree(self, request: dict[str, Any]) -> dict[str, Any]:
        top = self.rootfs / request.get("path", "")
        return {"names": sorted(str(p.relative_to(self.rootfs)) for p in top.rglob("*"))}

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        out: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        kwargs: dict[str, Any] = dict(request.get("spec", {}))
        kwargs.setdefault("env", [PATH])
        if "script" in request:
            kwargs["args"] = ["/bin/sh", "-c", request["script"]]
        for name in ("args", "env"):
            kwargs[name] = tuple(kwargs[name])
        kwargs["network"] = NetworkMode(kwargs.get("network", 0))
        kwargs["security"] = SecurityMode(kwargs.get("security", 0))
        kwargs["rlimits"] = tuple(Rlimit(*r) for r in kwargs.get("rlimits", ()))
        kwargs["extra_hosts"] = tuple(HostEntry(*h) for h in kwargs.get("extra_hosts", ()))
        mounts = [
            ResolvedMount(**{**m, "source": Path(m["source"]) if "source" in m else None})
            for m in request.get("mounts", ())
        ]
        cancelled = threading.Event()
        if "cancel_after" in request:
            threading.Timer(request["cancel_after"], cancelled.set).start()
        ready = request.get("cancel_at", "").encode()

        def note(data: bytes) -> None:
            out[1].extend(data)
            if ready and ready in out[1]:
                cancelled.set()

        answer: dict[str, Any] = {}
        try:
            answer["status"] = self.executor.run(
                ExecSpec(**kwargs), self.rootfs, mounts, ExecIO(note, out[2].extend), cancelled
            )
        except ExecCancelled:
            answer["cancelled"] = True
        except DockcError as exc:
            answer.update(error=exc.message, status=getattr(exc, "exit_status", None))
        answer["out"] = base64.b64encode(out[1]).decode()
        answer["err"] = base64.b64encode(out[2]).decode()
        return answer

    def serve(self) -> None:
        for line in sys.stdin:
            request = json.loads(line)
            answer = getattr(self, request["op"])(request)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        driver = Driver(sys.argv[1], Path(sys.argv[2]))
    except DockcError as exc:
        sys.stdout.write(json.dumps({"refused": f"{exc.message} ({exc.hint})"}) + "\n")
        return
    sys.stdout.write(json.dumps(driver.hello({})) + "\n")
    sys.stdout.flush()
    try:
        driver.serve()
    finally:
        shutil.rmtree(driver.top, ignore_errors=True)


if __name__ == "__main__":
    main()
