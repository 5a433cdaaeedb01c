"""`dockc lsp`: the language server."""

from __future__ import annotations

from dockc.base.options import Options, option
from dockc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.base.output import Output


class LspOptions(Options):
    """Serve editors: the Language Server Protocol over standard input and output. Needs the extra `lsp`."""

    stdio: bool = option("--stdio", help="Talk over standard input and output; this is the default and the only way.")
    examples = ("dockc lsp",)


def run(options: LspOptions, out: Output) -> int:
    """`dockc lsp`."""
    try:
        import pygls  # noqa: F401
    except ImportError:
        raise UsageError(
            "the language server needs pygls, which is not installed", hint="pip install 'dockc[lsp]'"
        ) from None
    from dockc.lsp.server import serve

    serve()
    return 0
