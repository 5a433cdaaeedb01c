"""The file that the tests of explanations are about, as a machine sees it that is the same everywhere."""

from __future__ import annotations

from dockc.base.record import replace
from dockc.engine.plan import Looked
from dockc.oci.platform import normalize, parse
from tests.golden.collect import Case

TOUR = Case("explain/tour", "everything")
FILE = TOUR.folder / "Dockerfile"


def on_amd64(looked: Looked) -> Looked:
    """The same on linux/amd64."""
    return replace(looked, options=replace(looked.options, build_platforms=(normalize(parse("linux/amd64")),)))
