"""The command line: options to a request, the call, a view of what came back. No decision is taken here.

Heavy rooms are imported inside the commands that need them: start-up cost is a feature, and a test holds the list
of modules that each command may load.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dockc.cli_build import build, plain_flags
from dockc.cli_explain import explain, lsp
from dockc.cli_lint import lint
from dockc.cli_options import (
    Answers,
    BuildArg,
    BuildContext,
    Context,
    Executor,
    File,
    Label,
    Level,
    Locked,
    NoCache,
    Offline,
    Opt,
    Passes,
    PlatformOption,
    PrintAfter,
    PrintAfterAll,
    Squash,
    Store,
    Target,
    TimePasses,
    VerifyEach,
)
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


def _version(value: bool) -> None:
    if value:
        from dockc.base.version import VERSION

        sys.stdout.write(f"dockc {VERSION}\n")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and exit.", callback=_version, is_eager=True)] = False,
) -> None:
    """A compiler toolchain for Dockerfiles: parse, lint, compile to LLB, solve, export OCI images."""


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
    locked: Locked = None,
    level: Level = 1,
    passes: Passes = "",
    squash: Squash = 0,
    print_after: PrintAfter = [],  # noqa: B006
    print_after_all: PrintAfterAll = False,
    time_passes: TimePasses = False,
    verify_each: VerifyEach = False,
    store: Store = None,
) -> None:
    """Compile a Dockerfile and print one of its forms.

    Warnings go to standard error. `dockc compile | buildctl debug dump-llb` works.
    """
    values = dict(locals())
    from dockc.commands.compile import compile_command
    from dockc.fastargs import compile_request

    form = emit or ("llb" if output is None and sys.stdout.isatty() else "pb")
    _write(compile_command(compile_request(values), form, sys.stderr.write), output)


app.command()(build)


@app.command(name="run", context_settings={"allow_interspersed_args": False})
def run_image(
    image: Annotated[str, typer.Argument(help="Name of an image that was built here.")],
    command: Annotated[list[str] | None, typer.Argument(help="Command and arguments instead of the image's CMD.")] = None,
    env: Annotated[list[str], typer.Option("--env", "-e", metavar="NAME=VALUE", help="Set an environment variable.")] = [],  # noqa: B006
    user: Annotated[str, typer.Option("--user", "-u", help="Run as this user instead of the image's.")] = "",
    workdir: Annotated[str, typer.Option("--workdir", "-w", help="Working directory instead of the image's.")] = "",
    executor: Executor = "auto",
    store: Store = None,
) -> int:
    """Run the program of an image; what it writes is thrown away. Ends with the program's exit status."""
    from dockc.commands.run import run as run_container

    return run_container(
        image,
        command or [],
        store=store,
        executor=executor,
        stdout=sys.stdout.buffer,
        stderr=sys.stderr.buffer,
        env=env,
        user=user,
        workdir=workdir,
    )


@app.command()
def images(
    remove: Annotated[list[str], typer.Option("--remove", metavar="NAME", help="Take a name away; its layers go with the next prune.")] = [],  # noqa: B006
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    store: Store = None,
) -> None:
    """List the images that were built under a name."""
    from dockc.commands.store import forget_images
    from dockc.commands.store import images as named
    from dockc.console.view import render_images

    if remove:
        forget_images(store, remove)
        return
    _write(render_images(named(store), as_json=json_output).encode(), None)


@app.command()
def du(
    filters: Annotated[list[str], typer.Option("--filter", metavar="CONDITION", help="Only records that match, such as `type==exec.cachemount`.")] = [],  # noqa: B006
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    store: Store = None,
) -> None:
    """Show what the store holds and what it takes."""
    from dockc.commands.store import usage
    from dockc.console.view import render_usage

    _write(render_usage(usage(store, filters), as_json=json_output).encode(), None)


@app.command()
def prune(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Internal records too.")] = False,
    filters: Annotated[list[str], typer.Option("--filter", metavar="CONDITION", help="Only records that match; `until=24h` keeps recent ones.")] = [],  # noqa: B006
    keep_storage: Annotated[str, typer.Option("--keep-storage", metavar="SIZE", help="Stop when no more than this is used, such as 10GB.")] = "",
    store: Store = None,
) -> None:
    """Remove build cache that nothing needs. Images with a name stay."""
    from dockc.base.units import parse_duration, parse_size
    from dockc.commands.store import prune as prune_store
    from dockc.console.view import render_pruned

    until = [f.removeprefix("until=") for f in filters if f.startswith("until=")]
    pruned = prune_store(
        store,
        everything=everything,
        filters=[f for f in filters if not f.startswith("until=")],
        keep_storage=parse_size(keep_storage) if keep_storage else 0,
        keep_duration=parse_duration(until[-1]) if until else 0,
    )
    _write(render_pruned(pruned).encode(), None)


@app.command()
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Forget what cannot be used any more.")] = False,
    store: Store = None,
) -> int:
    """Check the store: every blob's digest, every layer, every cache record. Ends with 1 if something is wrong."""
    from dockc.commands.store import examine

    report = examine(store, fix=fix)
    for finding in report.findings:
        sys.stdout.write(f"{finding.problem}: {finding.subject}: {finding.message}{' (fixed)' if finding.fixed else ''}\n")
    sys.stdout.write(f"{report.blobs} blobs and {report.records} records checked: {'healthy' if report.healthy else 'damaged'}\n")
    return 0 if report.healthy else 1


@app.command()
def base(
    programs: Annotated[list[str] | None, typer.Argument(help="Programs by name or path, and further files. Default: a shell and its usual tools.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="OCI layout to write; a `.tar` name gives an archive.")] = Path("base"),
    name: Annotated[str, typer.Option("--name", help="Tag of the image in the layout.")] = "",
) -> None:
    """Make a base image from this machine's own programs and the libraries they need. No registry, no root."""
    from dockc.runtime.baseimage.build import DEFAULT_PROGRAMS
    from dockc.runtime.baseimage.build import base as make_base

    written = make_base(programs or DEFAULT_PROGRAMS, output, name=name)
    sys.stdout.write(f"{written.path}: {written.files} files, {written.layer_size} bytes, {written.digest}\n")


@app.command(name="opt")
def optimise(
    file: Annotated[str, typer.Argument(help="IR as `dockc compile --emit=ir` prints it; `-` reads standard input.")] = "-",
    passes: Passes = "",
    level: Level = 1,
    squash: Squash = 0,
    emit: Annotated[str, typer.Option("--emit", metavar="FORM", help="ir, llb, dot, json or pb.")] = "ir",
    print_after: PrintAfter = [],  # noqa: B006
    print_after_all: PrintAfterAll = False,
    time_passes: TimePasses = False,
    verify_each: VerifyEach = False,
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Write there instead of standard output.")] = None,
) -> None:
    """Run passes over a file of IR."""
    from dockc.commands.ir import optimise_text
    from dockc.engine.request import CompileRequest

    data = sys.stdin.buffer.read() if file == "-" else _read(Path(file))
    request = CompileRequest(
        passes=passes,
        level=level,
        squash=squash,
        print_after=tuple(print_after),
        print_after_all=print_after_all,
        time_passes=time_passes,
        verify_each=verify_each,
    )
    _write(optimise_text(data, request, emit, sys.stderr.write), output)


@app.command(name="passes")
def list_passes() -> None:
    """List the passes and the levels that run them."""
    from dockc.commands.ir import describe_passes

    _write(describe_passes().encode(), None)


@app.command()
def decompile(
    file: Annotated[str, typer.Argument(help="LLB as `dockc compile --emit=pb` writes it, or an image config with history (JSON); `-` reads standard input.")] = "-",
) -> None:
    """Write a plain Dockerfile for LLB or for an image's history."""
    from dockc.commands.ir import decompile_bytes

    data = sys.stdin.buffer.read() if file == "-" else _read(Path(file))
    _write(decompile_bytes(data).encode("utf-8", "surrogateescape"), None)


@app.command()
def lock(
    context: Context = ".",
    file: File = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: Dockerfile.lock beside the Dockerfile.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; end with 1 if the lock file is out of date.")] = False,
    policy: Annotated[Path | None, typer.Option("--policy", metavar="FILE", help="Also write the pins as a BuildKit source policy (JSON).")] = None,
    target: Target = "",
    build_arg: BuildArg = [],  # noqa: B006
    platform: PlatformOption = [],  # noqa: B006
    build_context: BuildContext = [],  # noqa: B006
    opt: Opt = [],  # noqa: B006
    store: Store = None,
) -> int:
    """Write down what a Dockerfile's images, repositories and URLs are now, for `--locked` builds."""
    from dockc.commands.options import frontend_attrs, named_contexts
    from dockc.engine.request import CompileRequest
    from dockc.lockfile import lock_command

    attrs = frontend_attrs(target=target, build_args=build_arg, platforms=platform, opts=opt)
    request = CompileRequest(context, file, attrs=attrs, contexts=named_contexts(build_context), store=store)
    return lock_command(request, output=output, check=check, policy=policy, log=sys.stderr.write)


Files = Annotated[
    list[str] | None, typer.Argument(help="Files, directories to search, or patterns; `-` reads standard input. Default: the current directory.")
]


@app.command(name="fmt")
def format_files(
    files: Files = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; end with 1 if a file would change.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; show what would change, and end with 1 if anything would.")] = False,
    stdin_filename: Annotated[str, typer.Option("--stdin-filename", metavar="FILE", help="What standard input is called in messages and diffs.")] = "",
) -> int:
    """Format Dockerfiles in one style. A file is written only when it is proven to compile to the same LLB."""
    from dockc.commands.fmt import format_command
    from dockc.grammar.source import encode

    def out(text: str) -> None:
        sys.stdout.flush()
        sys.stdout.buffer.write(encode(text))

    return format_command(files or ["."], check=check, diff=diff, stdin_name=stdin_filename, out=out, log=sys.stderr.write)


app.command()(lint)
app.command()(explain)
app.command()(lsp)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        from dockc.errors import UsageError

        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc


def _write(data: bytes, output: Path | None) -> None:
    if output is not None:
        try:
            output.write_bytes(data)
        except OSError as exc:
            from dockc.errors import UsageError

            raise UsageError(f"cannot write {output}: {exc.strerror}") from exc
        return
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Whoever read has gone. What is still buffered must not be tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None


def run(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Errors that dockc raises on purpose become a message on standard error, with a hint where there is one.
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        result: Any = app(args=plain_flags(arguments), standalone_mode=False)
    except typer.Exit as exc:
        return exc.exit_code
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        sys.stderr.write("dockc: interrupted\n")
        return 130
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
