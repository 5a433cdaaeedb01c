"""Sources by the scheme of their identifiers.

What is named is called with identifier, attributes of the source operation, platform and worker (`base.Backing`). A new
kind is a
module of its own and one line here.
"""

from __future__ import annotations

from dockc.base.table import Table

SOURCES = Table(
    "dockc.sources",
    {
        "docker-image": "dockc.runtime.source.imageop:make",
        "oci-layout": "dockc.runtime.source.imageop:make",
        "docker-image+blob": "dockc.runtime.source.blob:make",
        "oci-layout+blob": "dockc.runtime.source.blob:make",
        "local": "dockc.runtime.source.local:make",
        "http": "dockc.runtime.source.http:make",
        "https": "dockc.runtime.source.http:make",
        "git": "dockc.runtime.source.git:make",
    },
)
