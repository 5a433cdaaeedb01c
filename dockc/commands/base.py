"""`dockc base`: a base image of this machine's own programs."""

from __future__ import annotations

from dockc.base.options import Options, argument, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from dockc.base.output import Output


class BaseOptions(Options):
    """Make a base image from this machine's own programs and the libraries they need. No registry, no root."""

    programs: tuple[str, ...] = argument(
        help="Programs by name or path, and further files. Default: a shell and its usual tools.", completes="file"
    )
    output: Path | None = option(
        "--output",
        "-o",
        metavar="DIR",
        help="OCI layout to write; a `.tar` name gives an archive. Default: base.",
        completes="file",
    )
    name: str = option("--name", metavar="TAG", help="Tag of the image in the layout.")
    examples = ("dockc base sh ls cat --output base", "dockc build . --build-context base=oci-layout://base")


def run(options: BaseOptions, out: Output) -> int:
    """`dockc base`."""
    from pathlib import Path

    from dockc.runtime.baseimage.build import DEFAULT_PROGRAMS, base

    written = base(options.programs or DEFAULT_PROGRAMS, options.output or Path("base"), name=options.name)
    out.write(f"{written.path}: {written.files} files, {written.layer_size} bytes, {written.digest}\n")
    return 0
