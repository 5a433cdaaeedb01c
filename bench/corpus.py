"""Real files a CPU second, in one process: `python bench/corpus.py DIR... [--rounds N]`.

Reads all Dockerfiles below the directories, then times each stage over all of them: reading (text, CST, AST), lowering with made-up answers
about base images, emission of LLB and image config, lint, format. Each file counts with the best of N rounds, so that other work on
the machine does not count; garbage collection is on. Caches were warmed by one compilation of everything.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dockc.commands.discover import find
from dockc.compiler.compile import Compiled, Front, compiling, read
from dockc.compiler.format import format_file
from dockc.compiler.imagine import PLATFORM, made_up
from dockc.compiler.options import CompileOptions
from dockc.compiler.questions import converse
from dockc.errors import DockcError
from dockc.grammar.source import Source
from dockc.linter.runner import lint_source
from dockc.oci.platform import normalize, parse

OPTIONS = CompileOptions(build_platforms=(normalize(parse(PLATFORM)),))


def lowered(front: Front) -> Compiled | None:
    """The file compiled with made-up answers; None where it is wrong."""
    try:
        return converse(compiling(front, OPTIONS), made_up)
    except DockcError:
        return None


def whole(source: Source) -> bool:
    """Text to the bytes of LLB and image config, as `dockc compile` does it."""
    compiled = lowered(read(source))
    if compiled is None:
        return False
    return bool(compiled.definition.to_bytes()) and bool(compiled.image_json)


def _best(work: Callable[[Any], object], items: Sequence[Any], rounds: int) -> tuple[float, float]:
    """CPU seconds over all items, each at its best of all rounds; and of the first round."""
    best = [float("inf")] * len(items)
    first = 0.0
    for number in range(rounds):
        for at, item in enumerate(items):
            began = time.process_time()
            work(item)
            spent = time.process_time() - began
            best[at] = min(best[at], spent)
            first += spent if number == 0 else 0.0
    return sum(best), first


def _emitted(compiled: Compiled) -> object:
    return compiled.with_module(compiled.module).definition.to_bytes(), compiled.image.marshal()


def main() -> None:
    """Measure and print one line a stage."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directories", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    sources = [Source(path, Path(path).read_bytes()) for path in find(arguments.directories)]
    fronts = [read(source) for source in sources]
    for front in fronts:
        front.parsed, front.result  # noqa: B018  trees are made when first asked for
    done = [compiled for compiled in map(lowered, fronts) if compiled is not None]
    print(f"{len(sources)} files, {sum(len(s.data.splitlines()) for s in sources)} lines; {len(done)} compile")
    stages: dict[str, tuple[Callable[[Any], object], Sequence[Any]]] = {
        "compile, everything": (lambda source: whole(Source(source.name, source.data)), sources),
        "  read (CST and AST)": (lambda source: read(Source(source.name, source.data)).result, sources),
        "  lower (AST to IR)": (lowered, fronts),
        "  emit (IR to LLB, config)": (_emitted, done),
        "format": (lambda front: format_file(front.parsed.file), fronts),
        "lint": (lambda source: lint_source(Source(source.name, source.data)), sources),
    }
    for name, (work, items) in stages.items():
        best, first = _best(work, items, arguments.rounds)
        print(f"{name:28} {len(items) / best:8.0f} files/s   {best:.3f} s of CPU, first round {first:.3f} s")


if __name__ == "__main__":
    main()
