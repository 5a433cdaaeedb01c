"""`dockc build`: what was typed to a request, the call, a view of what came back."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def build_command(values: Mapping[str, Any]) -> int:
    """Build, or answer a question about a build.

    Args:
        values: the parameters of `build` on the command line, by name.

    Raises:
        DockcError: whatever goes wrong on purpose.
    """
    from dockc import buildflags
    from dockc.frontend import CompileRequest, frontend_attrs, named_contexts
    from dockc.piped import from_stdin

    def same(*names: str) -> dict[str, Any]:
        return {name: values[name] for name in names}

    buildflags.refuse(**same("cache_from", "cache_to", "attest", "provenance", "sbom", "builder"))
    for name, given in (("--rm", values["rm"]), ("--force-rm", values["force_rm"]), ("--compress", values["compress"])):
        if given:
            sys.stderr.write(f"warning: {name} has no effect: there are no containers to remove and no context to send\n")
    attrs = frontend_attrs(
        target=values["target"],
        build_args=values["build_arg"],
        platforms=values["platform"],
        labels=values["label"],
        opts=values["opt"],
        **same("no_cache", "no_cache_filter"),
    ) | buildflags.step_attrs(
        hosts=values["add_host"], ulimits=values["ulimit"], **same("pull", "network", "shm_size", "cgroup_parent")
    )
    attrs |= buildflags.proxy_attrs(os.environ, attrs)
    asked = CompileRequest(
        values["context"],
        values["file"],
        attrs=attrs,
        contexts=named_contexts(values["build_context"]),
        **same("answers", "offline", "locked", "level", "passes", "squash", "store"),
    )
    with from_stdin(asked, sys.stdin.buffer) as (read, uploads):
        method, form = buildflags.method("check" if values["check"] else values["call"], attrs)
        if method != "build":
            from dockc.calls import call as ask

            return ask(read, method, form, out=sys.stdout.write)
        from dockc.build import BuildRequest, build_and_show

        request = BuildRequest(
            compile=read,
            outputs=buildflags.outputs(values["output"], annotations=values["annotation"], **same("push", "load")),
            names=tuple(values["tag"]),
            secrets=tuple(values["secret"]),
            ssh=tuple(values["ssh"]),
            allow=frozenset(values["allow"]) | ({"network.host"} if values["network"] == "host" else set()),
            uploads=uploads,
            **same("executor", "snapshotter", "parallelism"),
        )
        build_and_show(request, mode="quiet" if values["quiet"] else values["progress"], **same("metadata_file", "iidfile", "record"))
    return 0
