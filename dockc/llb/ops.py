"""Marshalled operations: their typed views (`llb.operations`), and `parse`, which reads them."""

from __future__ import annotations

from dockc.llb.operations import EMPTY as EMPTY
from dockc.llb.operations import AnyOp as AnyOp
from dockc.llb.operations import BuildOp as BuildOp
from dockc.llb.operations import CacheOpt as CacheOpt
from dockc.llb.operations import Chown as Chown
from dockc.llb.operations import ContentCache as ContentCache
from dockc.llb.operations import Copy as Copy
from dockc.llb.operations import CredentialOpt as CredentialOpt
from dockc.llb.operations import Device as Device
from dockc.llb.operations import DiffOp as DiffOp
from dockc.llb.operations import ExecOp as ExecOp
from dockc.llb.operations import FileAction as FileAction
from dockc.llb.operations import FileOp as FileOp
from dockc.llb.operations import HostIP as HostIP
from dockc.llb.operations import Input as Input
from dockc.llb.operations import MergeOp as MergeOp
from dockc.llb.operations import Meta as Meta
from dockc.llb.operations import Mkdir as Mkdir
from dockc.llb.operations import Mkfile as Mkfile
from dockc.llb.operations import Mount as Mount
from dockc.llb.operations import MountKind as MountKind
from dockc.llb.operations import NamedUser as NamedUser
from dockc.llb.operations import Network as Network
from dockc.llb.operations import Op as Op
from dockc.llb.operations import PassthroughOp as PassthroughOp
from dockc.llb.operations import ProxyEnv as ProxyEnv
from dockc.llb.operations import Rm as Rm
from dockc.llb.operations import SecretEnv as SecretEnv
from dockc.llb.operations import Security as Security
from dockc.llb.operations import Sharing as Sharing
from dockc.llb.operations import SourceOp as SourceOp
from dockc.llb.operations import Symlink as Symlink
from dockc.llb.operations import TmpfsOpt as TmpfsOpt
from dockc.llb.operations import Ulimit as Ulimit
from dockc.llb.operations import User as User
from dockc.llb.operations import validate as validate


def parse(data: bytes) -> Op:
    """Read the bytes of an operation.

    Raises:
        InvalidDefinition: these are not the bytes of an operation.
    """
    from dockc.llb.wire import decode

    return decode.op(data)
