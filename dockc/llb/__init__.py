"""LLB: the graph language between compiler and solver, and its authoring interface.

    from dockc import llb

    base = llb.image("debian:12")
    built = base.run("apt-get install -y gcc", shell=True).file(llb.copy(llb.local("context"), "/", "/src"))
    definition = built.run("make -C /src").marshal()

Names are loaded when they are first used, so that `import dockc.llb` costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.llb.author.state import Ran as Ran
    from dockc.llb.author.state import State as State
    from dockc.llb.author.state import diff as diff
    from dockc.llb.author.state import from_definition as from_definition
    from dockc.llb.author.state import git as git
    from dockc.llb.author.state import http as http
    from dockc.llb.author.state import image as image
    from dockc.llb.author.state import local as local
    from dockc.llb.author.state import merge as merge
    from dockc.llb.author.state import oci_layout as oci_layout
    from dockc.llb.author.state import scratch as scratch
    from dockc.llb.author.state import source as source
    from dockc.llb.author.steps import cache as cache
    from dockc.llb.author.steps import copy as copy
    from dockc.llb.author.steps import mkdir as mkdir
    from dockc.llb.author.steps import mkfile as mkfile
    from dockc.llb.author.steps import mount as mount
    from dockc.llb.author.steps import rm as rm
    from dockc.llb.author.steps import symlink as symlink
    from dockc.llb.author.steps import tmpfs as tmpfs
    from dockc.llb.author.vertex import Constraints as Constraints
    from dockc.llb.author.vertex import FileAction as FileAction
    from dockc.llb.author.vertex import Location as Location
    from dockc.llb.author.vertex import Mount as Mount
    from dockc.llb.author.vertex import Secret as Secret
    from dockc.llb.author.vertex import SourceMap as SourceMap
    from dockc.llb.author.vertex import Ssh as Ssh
    from dockc.llb.definition import Definition as Definition
    from dockc.llb.definition import LinuxResources as LinuxResources
    from dockc.llb.definition import ProgressGroup as ProgressGroup
    from dockc.llb.ops import Device as Device
    from dockc.llb.ops import ProxyEnv as ProxyEnv

_HOMES = {
    "definition": ("Definition", "LinuxResources", "ProgressGroup"),
    "ops": ("Device", "ProxyEnv"),
    "author.state": (
        *("Ran", "State", "diff", "from_definition", "git", "http", "image", "local", "merge"),
        *("oci_layout", "scratch", "source"),
    ),
    "author.steps": ("cache", "copy", "mkdir", "mkfile", "mount", "rm", "symlink", "tmpfs"),
    "author.vertex": ("Constraints", "FileAction", "Location", "Mount", "Secret", "SourceMap", "Ssh"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - the table is the list


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
