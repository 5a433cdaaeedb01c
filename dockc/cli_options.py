"""Options that several commands take, in one wording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Context = Annotated[str, typer.Argument(help="The build context: a directory, or the URL of a git repository or archive.")]
File = Annotated[
    str, typer.Option("--file", "-f", help="The Dockerfile; `-` reads standard input. Default: CONTEXT/Dockerfile.")
]
Target = Annotated[str, typer.Option("--target", help="The stage to build, by name. Default: the last.")]
BuildArg = Annotated[
    list[str], typer.Option("--build-arg", metavar="NAME[=VALUE]", help="Set a build argument; without a value, from the environment.")
]
PlatformOption = Annotated[
    list[str], typer.Option("--platform", metavar="OS/ARCH[/VARIANT]", help="Target platform; repeat or separate by commas for several.")
]
Label = Annotated[list[str], typer.Option("--label", metavar="NAME=VALUE", help="Add a label to the image config.")]
BuildContext = Annotated[
    list[str],
    typer.Option("--build-context", metavar="NAME=VALUE", help="A named context: a directory, docker-image://REF, oci-layout://DIR, URL."),
]
Opt = Annotated[
    list[str], typer.Option("--opt", metavar="KEY=VALUE", help="A frontend option as BuildKit takes it, such as `add-hosts=…`.")
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Run every step, whatever is cached.")]
Answers = Annotated[
    Path | None, typer.Option("--answers", metavar="FILE", help="Answers to what the compiler asks about images and sources; no network.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Ask no registry: what FILE and the store do not answer is an error.")]
Level = Annotated[
    int, typer.Option("-O", min=0, max=2, help="Optimisation level: 0 none, 1 no byte changes (default), 2 all.")
]
Passes = Annotated[str, typer.Option("--passes", metavar="NAMES", help="Run exactly these passes, separated by commas.")]
PrintAfter = Annotated[list[str], typer.Option("--print-after", metavar="PASS", help="Print the IR after this pass to standard error.")]
PrintAfterAll = Annotated[bool, typer.Option("--print-after-all", help="Print the IR after every pass.")]
TimePasses = Annotated[bool, typer.Option("--time-passes", help="Print the time that each pass takes.")]
VerifyEach = Annotated[bool, typer.Option("--verify-each", help="Verify the IR after every pass.")]
Locked = Annotated[Path | None, typer.Option("--locked", metavar="FILE", help="Compile with this lock file's answers only, and fail where they do not do.")]
Squash = Annotated[int, typer.Option("--squash", min=0, max=3, help="Merge layers: 1 and 2 file operations that need none of their own, 3 all on the base image.")]
Store = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", envvar="DOCKC_STORE", help="Where layers, images and the cache live.")
]
Executor = Annotated[str, typer.Option("--executor", metavar="NAME", help="What runs steps: auto, embedded, crun or runc.")]
