"""`dockc explain`: finds out what is asked about, gathers the facts, and has them put into words.

RULE, INSTRUCTION, PASS   -> a page
FILE:LINE                 -> what the line does          (a compilation that is watched)
FILE --plan               -> what would run              (the solver, with nothing executed)
[STEP] --miss             -> why steps ran               (the history)
FILE --graph              -> stages and operations       (and a build record, if there is one)
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.options import Options, argument, option
from dockc.commands import shared
from dockc.engine.compile import asker, compile_all, initial_answers
from dockc.engine.plan import Looked, Step, plan_steps
from dockc.engine.request import CompileRequest, Inputs, load
from dockc.errors import CompileError, DockcError, UsageError, without_credentials

if TYPE_CHECKING:
    from dockc.base.output import Output
    from dockc.compiler.explain.graph import Graph
    from dockc.compiler.explain.line import Key
    from dockc.compiler.explain.trace import Trace
    from dockc.compiler.questions import Answers, Request
    from dockc.console.graph import Fact
    from dockc.linter.rule import Rule


_REPORT = "The report"


class ExplainOptions(Options):
    """Explain a rule, an instruction, a pass, a line of a Dockerfile, what a build would do, or its graph."""

    topic: str = argument(
        metavar="TOPIC", completes="file",
        help="A rule (code, name or another tool's code), an instruction, a pass, `rules`, `instructions`, "
             "FILE:LINE, or a FILE. "
        "A directory stands for its Dockerfile; default for --plan and --graph: the current one.",
    )  # fmt: skip
    context: str = argument(help="The build context. Default: the directory of FILE.", completes="directory")
    plan: bool = option(
        "--plan",
        help="Show which steps of FILE would run and which are cached; run nothing. With --graph, on its boxes.",
    )
    graph: bool = option("--graph", help="Show stages and operations of FILE, and on pictures what lint finds.")
    form: str = option(
        "--format", metavar="FORMAT", default="text", help="text or json; for a graph also svg, mermaid, dot or html.",
        completes="text|json|svg|mermaid|dot|html", group=_REPORT,
    )  # fmt: skip
    json: bool = option("--json", help="Short for --format=json.", group=_REPORT)
    output: Path | None = shared.OUTPUT
    color: str = shared.color()
    record: Path | None = option(
        "--record",
        metavar="FILE",
        help="Times and sizes for the graph, as `dockc build --record` writes them.",
        completes="file",
    )
    online: bool = option(
        "--online",
        help="Ask registries about base images; without it, and without answers, they are made up. A plan always asks.",
    )
    answers: Path | None = shared.ANSWERS
    locked: Path | None = option("--locked", metavar="FILE", help="Use this lock file's answers.", completes="file")
    target: str = shared.TARGET
    build_arg: tuple[str, ...] = shared.BUILD_ARG
    platform: tuple[str, ...] = option("--platform", metavar="OS/ARCH[/VARIANT]", help="Target platform.")
    build_context: tuple[str, ...] = shared.BUILD_CONTEXT
    local_images: bool = shared.LOCAL_IMAGES
    opt: tuple[str, ...] = shared.OPT
    no_cache: bool = option("--no-cache", help="Plan a build that runs every step.")
    miss: bool = option(
        "--miss",
        help="Say why steps of the last build ran though there is a cache; TOPIC names one step: FILE:LINE, its "
        "number, its digest, or a part of its name.",
    )
    of: str = option(
        "--of", metavar="BUILD", default="last", help="With --miss, a build of the history. Default: last."
    )
    against: str = option(
        "--against",
        metavar="BUILD",
        help="With --miss, compare with this build, `last` for the one before; without it, with what the build found "
        "nearest when it ran.",
    )
    store: Path | None = shared.STORE
    examples = (
        "dockc explain Dockerfile:12",
        "dockc explain DL3008",
        "dockc explain --plan",
        "dockc explain Dockerfile --graph --format html -o graph.html",
    )


def run(options: ExplainOptions, out: Output) -> int:
    """`dockc explain`."""
    from dockc.base.record import replace
    from dockc.commands.attrs import frontend_attrs, named_contexts

    options = replace(options, form=shared.form(options.form, options.json))
    if options.miss:
        return _misses(options, out)
    if options.against or options.of != "last":
        raise UsageError("--of and --against are for --miss")
    asked = options.plan or options.graph
    if not options.topic and not asked:
        raise UsageError("nothing to explain", hint="Name a rule, an instruction, a pass, FILE:LINE or a FILE.")
    file, number = split_place(options.topic or ".")
    directory = Path(file).is_dir()
    if not (asked or number or Path(file).is_file()):
        try:
            text = page(options.topic)
        except UsageError:
            if not directory:
                raise
        else:
            if options.form not in {"text", "json"}:
                raise UsageError(f"--format={options.form} is for a FILE", hint="Pages are text or json.")
            if options.form == "json":
                text = json.dumps({"topic": options.topic, "text": text}) + "\n"
            out.write(_painted(text, options, out), options.output)
            return 0
    if (asked or number) and not Path(file).exists():
        raise UsageError(f"{file} does not exist", hint="Name a Dockerfile, or a directory that has one.")
    if directory:
        file = dockerfile_of(file)
    if asked and number:
        raise UsageError(f"{'--plan' if options.plan else '--graph'} takes a FILE without a line")
    attrs = frontend_attrs(
        target=options.target,
        build_args=options.build_arg,
        platforms=options.platform,
        opts=options.opt,
        no_cache=options.no_cache,
        local_images=options.local_images,
    )
    request = CompileRequest(
        options.context or str(Path(file).parent),
        file,
        attrs=attrs,
        contexts=named_contexts(options.build_context),
        answers=options.answers,
        locked=options.locked,
        store=options.store,
    )
    looked = look(request, online=options.online or options.plan, filename=file)
    if options.form not in {"text", "json"} and (number or (options.plan and not options.graph)):
        raise UsageError(
            f"{'a line' if number else 'a plan'} has no format {options.form}", hint="Choose text or json."
        )
    if options.graph or not (options.plan or number):
        text = graph(looked, options.form, options.record, planned=options.plan, log=out.log)
    elif options.plan:
        text = plan(looked, form=options.form)
    else:
        text = line(looked, number, form=options.form)
    out.write(_painted(without_credentials(text), options, out), options.output)
    return 0


def _painted(text: str, options: ExplainOptions, out: Output) -> str:
    """Text in colours, where the terminal and the user want them."""
    style = out.style(options.output)
    if not style.color or options.form != "text":
        return text
    from dockc.console import paint

    return paint.page(text, style)


def _unheard(text: str) -> object:
    return None


#: As lint writes places (with a column), and as explain itself does (with the last line of an instruction).
_PLACE = re.compile(r"(.+?):([1-9][0-9]{0,8})(?:[:-][0-9]{1,9})?")
_SOME_FILES = 200


# --- what is asked about --------------------------------------------------------------------------------


def split_place(text: str) -> tuple[str, int]:
    """`FILE:LINE`, `FILE:LINE:COLUMN` or `FILE:FIRST-LAST` to the file and the line; line 0 where there is none. A file
    whose name ends so wins.
    """
    match = _PLACE.fullmatch(text)
    if match is None or Path(text).exists():
        return text, 0
    return match[1], int(match[2])


def dockerfile_of(directory: str) -> str:
    """The Dockerfile that a build of a directory takes."""
    from dockc.engine.request import NAMES

    found = next((name for name in NAMES if (Path(directory) / name).exists()), NAMES[0])
    return str(Path(directory) / found)


def page(topic: str) -> str:
    """The page of a rule, an instruction or a pass; a list for `rules` and `instructions`.

    Raises:
        UsageError: nothing of that name.
    """
    from dockc.compiler.explain.instructions import INSTRUCTIONS
    from dockc.console import explain

    folded = topic.strip()
    if folded.lower() == "rules":
        return explain.rule_list(_rules())
    if folded.lower() == "instructions":
        return "".join(f"{doc.keyword:<12} {doc.summary}\n" for doc in INSTRUCTIONS.values())
    if folded.upper() in INSTRUCTIONS:
        return explain.instruction_page(INSTRUCTIONS[folded.upper()])
    if (found := _pass_page(folded)) is not None:
        return found
    from dockc.linter.registry import find_rule

    try:
        return explain.rule_page(find_rule(folded))
    except UsageError as error:
        if folded[:2].upper() == "SC" and folded[2:].isdecimal():
            raise
        hint = "A line is named FILE:LINE, from 1 on." if ":" in topic else error.hint
        if folded.isdecimal():
            hint = f"A line is named with its file: `dockc explain {dockerfile_of('.')}:{folded}`."
        raise UsageError(f"nothing is called {topic}", hint=hint) from None


def _rules() -> Sequence[type[Rule]]:
    from dockc.linter.registry import all_rules

    return sorted(all_rules(), key=lambda rule: rule.code)


def _pass_page(name: str) -> str | None:
    from dockc.compiler.passes import PRESETS, get_pass, names
    from dockc.console.explain import pass_page

    if name not in names():
        return None
    found = get_pass(name)
    levels = [f"-O{level}" for level, preset in PRESETS.items() if name in preset.split(",")]
    # The module's text is the pass's page where it says more than the class does.
    import sys

    pages = (found.__doc__ or "", sys.modules[found.__module__].__doc__ or "")
    return pass_page(name, max(pages, key=len), levels)


# --- a compilation --------------------------------------------------------------------------------------


def look(request: CompileRequest, *, online: bool, filename: str) -> Looked:
    """Read a Dockerfile. Without answers and not online, base images are made up.

    Raises:
        DockcError: it cannot be read.
    """
    inputs = load(request)
    options = inputs.options.for_platform(inputs.platforms[0])
    made_up = not online and request.answers is None and request.locked is None
    ask = _imagined(request, inputs) if made_up else asker(request, inputs)
    return Looked(request, inputs, options, ask, made_up, filename)


def _imagined(request: CompileRequest, inputs: Inputs) -> Callable[[tuple[Request, ...]], Answers]:
    """Files from the directories, everything else made up."""
    from dockc.compiler.imagine import made_up
    from dockc.compiler.questions import ContextRequest

    files = asker(request, inputs)

    def ask(requests: tuple[Request, ...]) -> Answers:
        local = tuple(one for one in requests if isinstance(one, ContextRequest))
        other = [one for one in requests if not isinstance(one, ContextRequest)]
        return files(local).merged(made_up(other))

    return ask


def _trace(looked: Looked, line: int = 0) -> Trace:
    from dockc.compiler.explain.trace import trace
    from dockc.compiler.questions import converse

    try:
        answers = initial_answers(looked.request)
        return converse(trace(looked.inputs.front, looked.options, line, answers), looked.ask)
    except CompileError as error:
        from dockc.compiler.diagnose import diagnose
        from dockc.grammar.render import render_all

        front = looked.inputs.front
        error.source = (front.source.name, front.source.text)
        diagnostic = diagnose(error, front)
        found = front.result.diagnostics or (() if diagnostic is None else (diagnostic,))
        error.details = render_all(found, front.source)
        helped = error.hint or any(one.help for one in found)
        if error.error_code in {"blank-base", "bad-image-name"} and not helped:
            error.hint = "If an ARG has no default, give it a value with --build-arg."
        raise


def line(looked: Looked, number: int, *, form: str = "text") -> str:
    """What the instruction on a line does, as text or JSON.

    Raises:
        UsageError: no such line, or nothing on it.
        CompileError: the file is wrong.
    """
    from dockc.compiler.emit import digest
    from dockc.compiler.explain.line import explain_line
    from dockc.console.explain import line_text

    source = looked.inputs.front.source
    count = len(source.line_starts)
    if not 1 <= number <= count:
        raise UsageError(f"{looked.filename} has {count} line{'s' * (count != 1)}, not {number}")
    reports = explain_line(_trace(looked, number), number, digest)
    if not reports:
        raise UsageError(f"{looked.filename}:{number} holds no instruction", hint=_next_instruction(looked, number))
    files = {key: found for r in reports for key in r.keys if (found := _files(looked.inputs, key)) is not None}
    if form == "json":
        from dockc.console.explain import line_json

        return line_json(reports, looked.filename, files, looked.made_up)
    return "\n".join(line_text(report, looked.filename, files, looked.made_up) for report in reports)


def _next_instruction(looked: Looked, number: int) -> str:
    for node in looked.inputs.front.parsed.file.instructions:
        if node.lines[0] > number:
            return f"The next instruction is on line {node.lines[0]}."
    return ""


def _files(inputs: Inputs, key: Key) -> Sequence[str] | None:
    """Files of a local directory that a key is made of now; None for keys of another kind."""
    from dockc.compiler.explain.context import files_of
    from dockc.runtime.fsutil.walk import Filter, walk

    directory = inputs.locals.get(key.source) if key.source else None
    if directory is None:
        return None
    patterns = tuple(path.strip("/") for path in key.paths)
    wanted = () if any(p in {"", "."} for p in patterns) else patterns
    found = []
    try:
        for entry in walk(directory, Filter(include=wanted, exclude=key.exclude)):
            if not stat.S_ISDIR(entry.status.st_mode):
                found.append(entry.path)
            if len(found) > _SOME_FILES:
                break
        return files_of(key, found)
    except (OSError, DockcError):
        return None  # a directory that cannot be read, a pattern that is none: the build will say so


# --- the graph ------------------------------------------------------------------------------------------


def graph(
    looked: Looked, form: str, record: Path | None, *, planned: bool = False, log: Callable[[str], object] = _unheard
) -> str:
    """The graph of a file in one of the formats.

    Args:
        looked: the file.
        form: one of `console.graph.FORMATS`.
        record: of a build, whose times and sizes are shown, or None.
        planned: what a build would do now is shown; as for `plan`, the process must have one thread.
        log: is told where the record is of another build.

    Raises:
        UsageError: an unknown format; a record that cannot be read.
        CompileError: the file is wrong.
    """
    from dockc.base.record import replace
    from dockc.compiler.emit import wire
    from dockc.compiler.explain.graph import make_graph
    from dockc.console.graph import FORMATS, Fact, match_facts, render_graph

    if form not in FORMATS:
        raise UsageError(f"unknown format {form}", hint=f"Choose one of {', '.join(FORMATS)}.")
    records = _facts(record) if record is not None else []
    made = make_graph(_trace(looked), lambda op: wire(op)[0], looked.inputs.front.source.text, looked.filename)
    facts = match_facts(made, records)
    if record is not None and (told := _strange(made, records, len(facts), record)):
        log(told)
    if planned:
        steps = {one.planned.vertex.digest: one for one in _planned(looked, insecure=False)}
        for i, node in enumerate(made.nodes):
            if node.digest in steps:
                step = steps[node.digest]
                facts[i] = replace(facts.get(i, Fact()), plan=step.planned.state.value, why=_words(step))
    if form in {"html", "svg"}:
        for i, (severity, found) in _findings(looked, made).items():
            facts[i] = replace(facts.get(i, Fact()), findings=found, severity=severity)
    return render_graph(made, form, facts)


def _strange(made: Graph, records: Sequence[tuple[str, str, Fact]], matched: int, record: Path) -> str:
    """What is said of a record that is of another build, wholly or in part; "" where it fits."""
    from dockc.console.errors import visible
    from dockc.console.graph import step_name

    digests, names = {node.digest for node in made.nodes}, {step_name(node.name) for node in made.nodes}
    steps = [(digest, name) for digest, name, _ in records if not name.startswith(_AROUND)]
    strange = [name or digest for digest, name in steps if digest not in digests and step_name(name) not in names]
    if not strange and (matched or not steps):
        return ""
    which = f"{len(strange)} of its {len(steps)} steps are not" if matched else f"none of its {len(steps)} steps is"
    example = f", such as `{strange[0]}`" if strange else ""
    return visible(
        f"warning: {record} does not fit this graph: {which} in it{example}\n"
        "  help: another version of the file, or other build arguments, target or platform, give other steps\n"
    )


#: Work around the steps of a file, which records have and graphs do not.
_AROUND = ("[internal]", "[auth]", "exporting ", "importing ", "pushing ", "resolve image config")


def _findings(looked: Looked, made: Graph) -> dict[int, tuple[str, tuple[str, ...]]]:
    """What lint finds in the lines of each node: the worst severity, and each finding in words."""
    from dockc.linter.options import LintOptions
    from dockc.linter.runner import lint_source

    rank = ("error", "warning", "info", "style")
    by_line: dict[int, list[tuple[str, str]]] = {}
    for one in lint_source(looked.inputs.front.source, LintOptions(shellcheck=False), path=looked.filename).findings:
        by_line.setdefault(one.line, []).append((one.severity.value, f"line {one.line}: {one.code} {one.message}"))
    found = {}
    for i, node in enumerate(made.nodes):
        first, last = node.lines or (0, -1)
        here = [one for number in range(first, last + 1) for one in by_line.get(number, ())]
        if here:
            worst = min(
                (severity for severity, _ in here), key=lambda word: rank.index(word) if word in rank else len(rank)
            )
            found[i] = (worst, tuple(words for _, words in here))
    return found


def _facts(path: Path) -> list[tuple[str, str, Fact]]:
    from dockc.console.graph import Fact
    from dockc.engine.record import read_record

    return [
        (one.digest, one.name, Fact(None if one.cached else one.seconds, one.size, one.cached))
        for one in read_record(path)
    ]


# --- the plan -------------------------------------------------------------------------------------------


def plan(looked: Looked, *, insecure: bool = False, form: str = "text") -> str:
    """Which steps a build would run now, as text or JSON. Nothing is executed; local directories are read.

    Enters the builder's namespaces, so it must be called while the process has one thread.

    Raises:
        DockcError: the file is wrong, or something that must be known cannot be found out.
    """
    from dockc.console.explain import plan_json, plan_text

    rows = []
    counts: dict[str, int] = {}
    for one in _planned(looked, insecure=insecure):
        word = _WORDS[one.planned.state.value]
        counts[word] = counts.get(word, 0) + 1
        rows.append((word, one.planned.vertex.name or one.planned.vertex.digest, one.line, _words(one)))
    return (plan_json if form == "json" else plan_text)(rows, counts, looked.filename)


_WORDS = {"cached": "HIT", "run": "MISS", "depends": "UNKNOWN"}


def _words(step: Step) -> tuple[str, ...]:
    """Why a step of a plan would run, or what that depends on."""
    from dockc.console.why import why_lines

    if step.why is not None:
        return tuple(why_lines(step.why))
    return (step.planned.reason,) if step.planned.state.value == "depends" and step.planned.reason else ()


def _planned(looked: Looked, *, insecure: bool) -> list[Step]:
    import asyncio

    from dockc.compiler.questions import converse
    from dockc.runtime.executor.rootless import enter_build_namespace
    from dockc.runtime.store.place import default_root
    from dockc.runtime.store.worker import Worker, WorkerOptions

    root = looked.request.store or default_root()
    asking = compile_all(looked.request, looked.inputs, _ignore)
    compiled, _ = converse(asking, asker(looked.request, looked.inputs))
    enter_build_namespace()
    with Worker(WorkerOptions(root=root)) as worker:
        return asyncio.run(plan_steps(looked, [one.definition for one in compiled], worker, insecure=insecure))


# --- a build that was -----------------------------------------------------------------------------------


def _misses(options: ExplainOptions, out: Output) -> int:
    """Why steps of a build ran; nothing for those that did not.

    Raises:
        UsageError: there is no such build or step.
        StoreError: the history cannot be read.
    """
    from dockc.console.explain import misses_json, misses_text
    from dockc.engine import missed
    from dockc.runtime.store.place import default_root

    if options.form not in {"text", "json"}:
        raise UsageError(f"misses have no format {options.form}", hint="Choose text or json.")
    if options.plan or options.graph:
        raise UsageError("--miss is about a build that was; --plan and --graph are about one that would be")
    file, number = split_place(options.topic)
    step = (
        f"line:{number}" if number and file != "line" else "" if Path(options.topic or ".").exists() else options.topic
    )
    found = missed.misses(options.store or default_root(), options.of, step=step, against=options.against)
    out.write((misses_json if options.form == "json" else misses_text)(found.misses, found.filename), options.output)
    if not found.misses and options.form == "text":
        from dockc.base.output import log

        build = f"of the build {found.record.ref}"
        log(
            f"note: step {options.topic} {build} did not miss the cache\n"
            if step
            else f"note: no step {build} missed the cache\n"
        )
    return 0


def _ignore(text: str) -> None:
    """Warnings are for other commands."""
