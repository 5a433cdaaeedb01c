"""`dockc playground`: the compiler in a browser page, served to this machine alone."""

from __future__ import annotations

from dockc.base.options import Options, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from dockc.base.output import Output


class PlaygroundOptions(Options):
    """Serve the playground: the compiler in a browser page, for this machine alone. Nothing that is typed there leaves
    the browser.
    """

    port: int = option(
        "--port",
        metavar="NUMBER",
        default=8765,
        low=0,
        high=65535,
        help="Port of the loopback address; 0 takes a free one.",
    )
    folder: Path | None = option(
        "--folder", metavar="DIR", help="The built playground. Default: the installed one.", completes="directory"
    )
    browser: bool = option("--open", help="Open the page in the browser.")
    examples = ("dockc playground",)


def run(options: PlaygroundOptions, out: Output) -> int:
    """`dockc playground`."""
    from dockc.commands.serve import serve

    return serve(
        None if options.folder is None else str(options.folder),
        options.port,
        open_browser=options.browser,
        out=out.write,
    )
