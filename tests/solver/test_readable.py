"""What an operation fails with reaches people in words."""

from __future__ import annotations

import errno
import os

import pytest

from dockc.errors import DockcError
from dockc.llb.pb import ops_pb2
from dockc.solver.run.context import readable
from dockc.solver.vertex import Vertex


@pytest.mark.parametrize(
    ("error", "said", "hint"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/s/f"),
            "the disk is full (no space left on device): /s/f",
            "dockc prune",
        ),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full (no space left on device)", "dockc prune"),
        (OSError(errno.EIO, os.strerror(errno.EIO), "/s/f"), "input/output error: /s/f", "dmesg"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "too many open files", "ulimit"),
        (OSError(), "oserror", ""),
        (ValueError("odd"), "odd", ""),
        (ValueError(), "ValueError", ""),
    ],
)
def test_no_raw_errno(error: Exception, said: str, hint: str) -> None:
    vertex = Vertex("sha256:v", ops_pb2.Op(), name="RUN make")
    told = readable(error, vertex)
    assert isinstance(told, DockcError)
    assert told.message == f"RUN make: {said}"
    assert hint in told.hint
    assert "Errno" not in told.message
