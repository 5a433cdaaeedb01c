"""Options that several commands take, in one wording."""

from __future__ import annotations

from dockc.base.options import argument, option
from dockc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WHAT, _ANSWERS, _PASSES = "What is built", "Answers about the world", "Optimisation"

CONTEXT = argument(
    ".", help="The build context: a directory, or the URL of a git repository or archive.", completes="directory"
)
FILE = option(
    "--file",
    "-f",
    metavar="FILE",
    help="The Dockerfile, a file or an address; `-` reads standard input. Default: CONTEXT/Dockerfile, else "
    "CONTEXT/Containerfile.",
    completes="file",
)
TARGET = option(
    "--target", metavar="STAGE", help="The stage to build, by name. Default: the last.", group=_WHAT, completes="stage"
)
BUILD_ARG = option(
    "--build-arg",
    metavar="NAME[=VALUE]",
    help="Set a build argument; without a value, from the environment.",
    group=_WHAT,
)
PLATFORM = option(
    "--platform",
    metavar="OS/ARCH[/VARIANT]",
    help="Target platform; repeat or separate by commas for several.",
    group=_WHAT,
)
LABEL = option("--label", metavar="NAME=VALUE", help="Add a label to the image config.", group=_WHAT)
BUILD_CONTEXT = option(
    "--build-context",
    metavar="NAME=VALUE",
    help="A named context: a directory, URL, docker-image://REF, dockc-image://NAME of the store, oci-layout://PATH, "
    "docker-archive:FILE[:NAME], oci-archive:FILE[:TAG], or an archive's FILE.",
    group=_WHAT,
)
LOCAL_IMAGES = option(
    "--local-images",
    variable="DOCKC_LOCAL_IMAGES",
    help="FROM takes an image of the store (loaded, pulled or built) where it has one of that name, before any registry "
    "is asked. Without it, the registry's image wins.",
    group=_WHAT,
)
OPT = option(
    "--opt", metavar="KEY=VALUE", help="A frontend option as BuildKit takes it, such as `add-hosts=…`.", group=_WHAT
)
NO_CACHE = option("--no-cache", help="Run every step, whatever is cached.")
ANSWERS = option(
    "--answers",
    metavar="FILE",
    help="Answers to what the compiler asks about images and sources; no network.",
    group=_ANSWERS,
    completes="file",
)
OFFLINE = option(
    "--offline", help="Ask no registry: what FILE and the store do not answer is an error.", group=_ANSWERS
)
LOCKED = option(
    "--locked",
    metavar="FILE",
    help="Compile with this lock file's answers only, and fail where they do not do.",
    group=_ANSWERS,
    completes="file",
)
LEVEL = option(
    "-O",
    metavar="LEVEL",
    default=1,
    low=0,
    high=2,
    help="Optimisation level: 0 none, 1 no byte changes (default), 2 all.",
    group=_PASSES,
)
PASSES = option(
    "--passes", metavar="NAMES", help="Run exactly these passes, separated by commas.", group=_PASSES, completes="pass"
)
SQUASH = option(
    "--squash", metavar="LEVEL", low=0, high=3, bare=3, group=_PASSES,
    help="Merge layers: 1 and 2 file operations that need none of their own, 3 all on the base image, which is what "
         "no level means.",
)  # fmt: skip
PRINT_AFTER = option(
    "--print-after",
    metavar="PASS",
    help="Print the IR after this pass to standard error.",
    group=_PASSES,
    completes="pass",
)
PRINT_AFTER_ALL = option("--print-after-all", help="Print the IR after every pass.", group=_PASSES)
TIME_PASSES = option("--time-passes", help="Print the time that each pass takes.", group=_PASSES)
VERIFY_EACH = option("--verify-each", help="Verify the IR after every pass.", group=_PASSES)
STORE = option(
    "--store",
    metavar="DIR",
    variable="DOCKC_STORE",
    help="Where layers, images and the cache live.",
    completes="directory",
)
BUILDER = option(
    "--builder",
    metavar="NAME",
    variable="BUILDX_BUILDER",
    help="The builder of that name (`dockc builder create`). Default: the chosen one.",
)
ADDR = option("--addr", metavar="URL", variable="BUILDKIT_HOST", help="A builder's address, as of `dockc build`.")
TLSDIR = option(
    "--tlsdir",
    metavar="DIR",
    help="Certificates for --addr tcp://: ca.pem, cert.pem and key.pem.",
    completes="directory",
)
EXECUTOR = option(
    "--executor",
    metavar="NAME",
    default="auto",
    help="What runs steps: auto, embedded, crun or runc.",
    completes="auto|embedded|crun|runc",
)
FILES = argument(
    help="Files, directories to search, or patterns; `-` reads standard input. Default: the current directory.",
    completes="file",
)
OUTPUT = option("--output", "-o", metavar="FILE", help="Write there instead of standard output.", completes="file")


def color(group: str = "") -> Any:
    """The option that says of colours, below a heading."""
    return option(
        "--color",
        metavar="WHEN",
        default="auto",
        help="Colours: auto (on a terminal; NO_COLOR, FORCE_COLOR, CLICOLOR and CLICOLOR_FORCE count), always or never.",
        completes="auto|always|never",
        group=group,
    )


IF_NO_FILES = option(
    "--if-no-files",
    metavar="WHAT",
    default="warn",
    help="What it means where there is no Dockerfile: warn (end with 0), error (end with 2) or ignore.",
    completes="warn|error|ignore",
)
JSON = option("--json", help="Print JSON lines.")
AS_JSON = option("--json", help="Short for --format=json.")


def form(format: str, json: bool) -> str:  # noqa: A002 - the option's name
    """The form that `--format` and `--json` ask for together; text and table are what holds where nothing is said.

    Raises:
        UsageError: two different ones.
    """
    if json and format not in ("", "text", "table", "json"):
        raise UsageError(f"--json and --format={format}", hint="Choose one of them.")
    return "json" if json else format
