"""The command line: options to a request, the call, a view of what came back. No decision is taken here.

Heavy rooms are imported inside the commands that need them: start-up cost is a feature, and a test holds the list
of modules that each command may load.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dockc.errors import DockcError

app = typer.Typer(
    name="dockc",
    help="A compiler toolchain for Dockerfiles: parse, lint, compile to LLB, solve, export OCI images.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Context = Annotated[str, typer.Argument(help="The build context: a directory, or the URL of a git repository or archive.")]
File = Annotated[
    str, typer.Option("--file", "-f", help="The Dockerfile; `-` reads standard input. Default: CONTEXT/Dockerfile.")
]
Target = Annotated[str, typer.Option("--target", help="The stage to build, by name or index. Default: the last.")]
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
Store = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", envvar="DOCKC_STORE", help="Where layers, images and the cache live.")
]


def _version(value: bool) -> None:
    if value:
        from dockc import __version__

        sys.stdout.write(f"dockc {__version__}\n")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and exit.", callback=_version, is_eager=True)] = False,
) -> None:
    """A compiler toolchain for Dockerfiles: parse, lint, compile to LLB, solve, export OCI images."""


def _options(
    *,
    target: str,
    build_arg: list[str],
    platform: list[str],
    label: list[str],
    opt: list[str],
    no_cache: bool,
) -> dict[str, str]:
    """The short forms as frontend options; later ones win over `--opt` of the same key."""
    from dockc.frontend import frontend_attrs

    return frontend_attrs(
        target=target,
        build_args=build_arg,
        platforms=platform,
        labels=label,
        opts=opt,
        no_cache=no_cache,
    )


@app.command()
def compile(  # noqa: A001  the command's name
    context: Context = ".",
    file: File = "",
    emit: Annotated[
        str,
        typer.Option("--emit", metavar="FORM", help="cst, ast, ir, llb, dot, json, pb or image. Default: llb on a terminal, pb in a pipe."),
    ] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there instead of standard output.")] = None,
    target: Target = "",
    build_arg: BuildArg = [],  # noqa: B006  typer copies defaults
    platform: PlatformOption = [],  # noqa: B006
    label: Label = [],  # noqa: B006
    build_context: BuildContext = [],  # noqa: B006
    opt: Opt = [],  # noqa: B006
    no_cache: NoCache = False,
    answers: Answers = None,
    offline: Offline = False,
    level: Level = 1,
    passes: Passes = "",
    print_after: Annotated[list[str], typer.Option("--print-after", metavar="PASS", help="Print the IR after this pass to standard error.")] = [],  # noqa: B006
    print_after_all: Annotated[bool, typer.Option("--print-after-all", help="Print the IR after every pass.")] = False,
    time_passes: Annotated[bool, typer.Option("--time-passes", help="Print the time that each pass takes.")] = False,
    verify_each: Annotated[bool, typer.Option("--verify-each", help="Verify the IR after every pass.")] = False,
    store: Store = None,
) -> None:
    """Compile a Dockerfile and print one of its forms.

    Warnings go to standard error. `dockc compile | buildctl debug dump-llb` works.
    """
    from dockc.frontend import CompileRequest, compile_command, named_contexts

    form = emit or ("llb" if output is None and sys.stdout.isatty() else "pb")
    request = CompileRequest(
        context=context,
        file=file,
        attrs=_options(
            target=target, build_arg=build_arg, platform=platform, label=label, opt=opt, no_cache=no_cache
        ),
        contexts=named_contexts(build_context),
        answers=answers,
        offline=offline,
        level=level,
        passes=passes,
        print_after=tuple(print_after),
        print_after_all=print_after_all,
        time_passes=time_passes,
        verify_each=verify_each,
        store=store,
    )
    _write(compile_command(request, form, sys.stderr.write), output)


def _write(data: bytes, output: Path | None) -> None:
    if output is not None:
        output.write_bytes(data)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def run(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Errors that dockc raises on purpose become a message on standard error, with a hint where there is one.
    """
    try:
        result: Any = app(args=argv, standalone_mode=False)
    except typer.Exit as exc:
        return exc.exit_code
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        sys.stderr.write("dockc: interrupted\n")
        return 130
    except BrokenPipeError:
        return 141
    except DockcError as exc:
        _report(exc)
        return exc.exit_code
    except Exception as exc:
        if hasattr(exc, "show") and hasattr(exc, "exit_code"):  # click's usage errors
            exc.show()
            return int(exc.exit_code)
        raise
    return result if isinstance(result, int) else 0


def _report(exc: DockcError) -> None:
    from dockc.console.errors import render_error

    sys.stderr.write(render_error(exc))
