"""The commands `explain` and `lsp`: options to a request, the call, the text to where it is wanted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dockc.errors import UsageError


def explain(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="A rule (code, name or another tool's code), an instruction, a pass, `rules`, `instructions`, FILE:LINE, or a FILE. For --plan and --graph also a directory; default: the current one.")] = "",
    context: Annotated[str, typer.Argument(help="The build context. Default: the directory of FILE.")] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Show which steps of FILE would run and which are cached; run nothing.")] = False,
    graph: Annotated[bool, typer.Option("--graph", help="Show stages and operations of FILE.")] = False,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="Of the graph: text, svg, mermaid, dot or html.")] = "text",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there instead of standard output.")] = None,
    record: Annotated[Path | None, typer.Option("--record", metavar="FILE", help="Times and sizes for the graph, as `dockc build --record` writes them.")] = None,
    online: Annotated[bool, typer.Option("--online", help="Ask registries about base images; without it, and without answers, they are made up. A plan always asks.")] = False,
    answers: Annotated[Path | None, typer.Option("--answers", metavar="FILE", help="Answers to what the compiler asks about images and sources; no network.")] = None,
    locked: Annotated[Path | None, typer.Option("--locked", metavar="FILE", help="Use this lock file's answers.")] = None,
    target: Annotated[str, typer.Option("--target", help="The stage to build, by name. Default: the last.")] = "",
    build_arg: Annotated[list[str], typer.Option("--build-arg", metavar="NAME[=VALUE]", help="Set a build argument; without a value, from the environment.")] = [],  # noqa: B006
    platform: Annotated[list[str], typer.Option("--platform", metavar="OS/ARCH[/VARIANT]", help="Target platform.")] = [],  # noqa: B006
    build_context: Annotated[list[str], typer.Option("--build-context", metavar="NAME=VALUE", help="A named context: a directory, docker-image://REF, oci-layout://DIR, URL.")] = [],  # noqa: B006
    opt: Annotated[list[str], typer.Option("--opt", metavar="KEY=VALUE", help="A frontend option as BuildKit takes it.")] = [],  # noqa: B006
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Plan a build that runs every step.")] = False,
    store: Annotated[Path | None, typer.Option("--store", metavar="DIR", envvar="DOCKC_STORE", help="Where layers, images and the cache live.")] = None,
) -> None:
    """Explain a rule, an instruction, a pass, a line of a Dockerfile, what a build would do, or its graph."""
    from dockc import explaincmd
    from dockc.commands.options import frontend_attrs, named_contexts
    from dockc.engine.request import CompileRequest

    if not topic and not (plan or graph):
        raise UsageError("nothing to explain", hint="Name a rule, an instruction, a pass, FILE:LINE or a FILE.")
    file, line = explaincmd.split_place(topic or ".")
    if (plan or graph) and Path(file).is_dir():
        file = explaincmd.dockerfile_of(file)
    if not (plan or graph or line or Path(file).is_file()):
        _put(explaincmd.page(topic), output)
        return
    if plan and graph:
        raise UsageError("--plan and --graph are two questions: ask one at a time")
    if (plan or graph) and line:
        raise UsageError(f"{'--plan' if plan else '--graph'} takes a FILE without a line")
    attrs = frontend_attrs(target=target, build_args=build_arg, platforms=platform, opts=opt, no_cache=no_cache)
    request = CompileRequest(
        context or str(Path(file).parent),
        file,
        attrs=attrs,
        contexts=named_contexts(build_context),
        answers=answers,
        locked=locked,
        store=store,
    )
    looked = explaincmd.look(request, online=online or plan, filename=file)
    if plan:
        text = explaincmd.plan(looked)
    elif line:
        text = explaincmd.line(looked, line)
    else:
        text = explaincmd.graph(looked, form, record)
    _put(text, output)


def lsp(
    stdio: Annotated[bool, typer.Option("--stdio", help="Talk over standard input and output; this is the default and the only way.")] = True,
) -> None:
    """Serve editors: the Language Server Protocol over standard input and output. Needs the extra `lsp`."""
    try:
        import pygls  # noqa: F401
    except ImportError:
        raise UsageError("the language server needs pygls, which is not installed", hint="pip install 'dockc[lsp]'") from None
    from dockc.lsp.server import serve

    serve()


def _put(text: str, output: Path | None) -> None:
    data = text.encode("utf-8", "surrogateescape")
    if output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
