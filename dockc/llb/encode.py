"""The canonical protobuf bytes of LLB messages, written out directly.

Field numbers follow `proto/ops.proto`. Canonical means: fields in the order of their numbers, default values
left out, map entries sorted by key. Digests are computed over these bytes, so every function here is tested
against the protobuf package; it exists because importing that package costs more than compiling a file.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.llb.definition import Definition


def definition(value: Definition) -> bytes:
    """`pb.Definition`."""
    raise NotImplementedError(value)
