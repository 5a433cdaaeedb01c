"""Real files a CPU second, in one process: `python bench/corpus.py DIR... [--rounds N]`.

Reads all Dockerfiles below the directories, then times each stage over all of them: reading (text, CST, AST), lowering with made-up answers
about base images, emission of LLB and image config, lint, format. The time of a stage is that of the best of N rounds; garbage
collection is on, caches are warm after the first round, which is reported too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dockc.compiler.compile import Compiled, Front, compile, read
from dockc.compiler.format import format_file
from dockc.compiler.lint.compiled import PLATFORM, made_up
from dockc.compiler.lint.runner import lint_source
from dockc.compiler.options import CompileOptions
from dockc.compiler.resolve import Answers, Unanswered
from dockc.discover import find
from dockc.errors import DockcError
from dockc.grammar.source import Source
from dockc.oci.platform import normalize, parse

OPTIONS = CompileOptions(build_platforms=(normalize(parse(PLATFORM)),))


def lowered(front: Front) -> Compiled | None:
    """The file compiled with made-up answers; None where it is wrong."""
    answers = Answers()
    while True:
        try:
            return compile(front, OPTIONS, answers)
        except Unanswered as error:
            answers = answers.merged(made_up(error.requests))
        except DockcError:
            return None


def whole(source: Source) -> bool:
    """Text to the bytes of LLB and image config, as `dockc compile` does it."""
    compiled = lowered(read(source))
    if compiled is None:
        return False
    return bool(compiled.definition.to_bytes()) and bool(compiled.image_json)


def _cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _report(name: str, count: int, seconds: Sequence[float]) -> None:
    print(f"{name:32} {count / min(seconds):8.0f} files/s   best {min(seconds):.3f} s, first {seconds[0]:.3f} s of CPU")


def main() -> None:
    """Measure and print one line a stage."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directories", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    sources = [Source(path, Path(path).read_bytes()) for path in find(arguments.directories)]
    print(f"{len(sources)} files, {sum(len(s.data) for s in sources)} bytes, {sum(len(s.data.splitlines()) for s in sources)} lines")
    fronts: list[Front] = []
    done: list[Compiled] = []

    def reading() -> None:
        fronts[:] = [read(Source(s.name, s.data)) for s in sources]

    def lowering() -> None:
        done[:] = [c for c in map(lowered, fronts) if c is not None]

    def emitting() -> None:
        for compiled in done:
            compiled.with_module(compiled.module).definition.to_bytes()
            compiled.image.marshal()

    stages: dict[str, Callable[[], object]] = {
        "compile, everything": lambda: [whole(Source(s.name, s.data)) for s in sources],
        "  read (CST and AST)": reading,
        "  lower (AST to IR)": lowering,
        "  emit (IR to LLB, config)": emitting,
        "format": lambda: [format_file(front.parsed.file) for front in fronts],
        "lint": lambda: [lint_source(Source(s.name, s.data)) for s in sources],
    }
    for name, work in stages.items():
        _report(name, len(sources), [_cpu(work) for _ in range(arguments.rounds)])
    print(f"{len(done)} of {len(sources)} files compile")


if __name__ == "__main__":
    main()
