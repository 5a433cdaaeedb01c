"""dockc: a compiler toolchain for Dockerfiles.

Public names: `parse`, `compile`, `optimize`, `emit`, `lint`, `fix`, `format`, `explain`, `copies`, `graph`, `build`,
`request`, `Answers`,
`Built`, `Engine`, `EngineOptions`, `LintOptions`, and the package `llb` for authoring LLB. Each is imported when it is
first used.
"""

from __future__ import annotations

__all__ = [
    "Answers", "Built", "Engine", "EngineOptions", "LintOptions", "__version__", "build", "compile", "copies", "emit", "explain", "fix", "format",
    "graph", "lint", "llb", "optimize", "parse", "request",
]  # fmt: skip

_NAMES = frozenset(__all__) - {"__version__", "llb"}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc import llb
    from dockc.api import (
        Answers,
        Built,
        Engine,
        EngineOptions,
        LintOptions,
        build,
        compile,
        copies,
        emit,
        explain,
        fix,
        format,
        graph,
        lint,
        optimize,
        parse,
        request,
    )
    from dockc.base.version import VERSION as __version__  # noqa: N811 - the name every package has


def __getattr__(name: str) -> object:
    if name == "__version__":
        from dockc.base.version import VERSION

        return VERSION
    if name == "llb":
        import dockc.llb

        return dockc.llb
    if name in _NAMES:
        from dockc import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((*(name for name in globals() if name.startswith("__")), *__all__))
