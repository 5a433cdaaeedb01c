"""Names in a Dockerfile: where stages and variables are defined, and where they are used.

A stage is used by FROM, `COPY --from` and the `from` of a mount. A variable is visible from its ARG or ENV to the end
of its stage
and in stages built on that one; ARGs before the first FROM are visible in FROM lines, and in a stage from an ARG that
names them
without a value. Uses before the definition do not count.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from dockc.base.record import Record
from dockc.compiler.syntax import ast
from dockc.grammar.source import Source, Span
from dockc.linter.context import Context, Entry

#: ARGs that every build has in FROM lines; inside a stage they must be declared.
PLATFORM_ARGS = {
    "TARGETPLATFORM": "Platform of the build result, such as linux/amd64.",
    "TARGETOS": "Operating system of TARGETPLATFORM.",
    "TARGETARCH": "Architecture of TARGETPLATFORM.",
    "TARGETVARIANT": "Variant of TARGETPLATFORM, such as v7.",
    "TARGETOSVERSION": "Version of the operating system of TARGETPLATFORM.",
    "BUILDPLATFORM": "Platform of the machine that builds.",
    "BUILDOS": "Operating system of BUILDPLATFORM.",
    "BUILDARCH": "Architecture of BUILDPLATFORM.",
    "BUILDVARIANT": "Variant of BUILDPLATFORM.",
    "BUILDOSVERSION": "Version of the operating system of BUILDPLATFORM.",
    "TARGETSTAGE": "Name of the stage that is built.",
}
GLOBAL = -1

_DOLLAR = r"'|\$(?:\{([A-Za-z_][A-Za-z0-9_]*)|([A-Za-z_][A-Za-z0-9_]*))"
_USES = {"\\": re.compile(r"\\.|" + _DOLLAR, re.S), "`": re.compile(r"`.|" + _DOLLAR, re.S)}
_MOUNT_FROM = re.compile(r"(?:^|[,=\"'])from=([^,\"'\s]+)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STAGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


class Site(Record):
    """A place where a name stands.

    Attributes:
        name: the stage's name in lower case, or the variable's.
        span: the name alone.
        kind: `stage` or `variable`.
        defines: it is a definition.
        entry: index of the instruction.
        target: for stages, number of the stage that is meant; for variables, of the scope (`GLOBAL` or a stage).
        numeric: a stage that is named by number.
    """

    name: str
    span: Span
    kind: str
    defines: bool
    entry: int
    target: int
    numeric: bool = False


class Names:
    """All names of one file. Facts are worked out once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._source: Source = context.source

    @property
    def _entries(self) -> tuple[Entry, ...]:
        return self._context.entries

    # --- stages ---------------------------------------------------------------------------------------

    @cached_property
    def froms(self) -> tuple[tuple[Entry, ast.From | None], ...]:
        """FROM instructions in order; None where one cannot be read."""
        found = [e for e in self._entries if e.keyword == "FROM"]
        return tuple((e, e.instruction if isinstance(e.instruction, ast.From) else None) for e in found)

    def stage_name(self, index: int) -> str:
        """The name of a stage, or its number."""
        instruction = self.froms[index][1]
        return instruction.stage_name if instruction is not None and instruction.stage_name else str(index)

    def find_stage(self, text: str, before: int) -> int | None:
        """The stage that a name or number means for an instruction of stage `before`: the last one of that name above
        it.
        """
        if text.isdecimal():
            return int(text) if int(text) < len(self.froms) else None
        named = self._named.get(text.lower(), ()) if text else ()
        above = bisect_left(named, before)
        return named[above - 1] if above else None

    @cached_property
    def _named(self) -> dict[str, list[int]]:
        """Numbers of stages by name."""
        found: dict[str, list[int]] = {}
        for index, (_, instruction) in enumerate(self.froms):
            if instruction is not None and instruction.stage_name:
                found.setdefault(instruction.stage_name, []).append(index)
        return found

    @cached_property
    def bases(self) -> tuple[int | None, ...]:
        """For each stage, the stage that it is built on."""
        return tuple(
            self.find_stage(f.base.text, i) if f is not None and not f.base.text.isdecimal() else None
            for i, (_, f) in enumerate(self.froms)
        )

    @cached_property
    def stage_sites(self) -> tuple[Site, ...]:
        """Definitions and uses of stages."""
        sites = []
        for index, (entry, instruction) in enumerate(self.froms):
            if instruction is None:
                continue
            if instruction.stage_name_word is not None:
                word = instruction.stage_name_word
                sites.append(Site(instruction.stage_name, word.span, "stage", True, entry.index, index))
            base = self.bases[index]
            if base is not None:
                sites.append(Site(self.stage_name(base), instruction.base.span, "stage", False, entry.index, base))
        for entry in self._entries:
            sites += self._stage_uses(entry)
        return tuple(sorted(sites, key=lambda site: site.span.start))

    def _stage_uses(self, entry: Entry) -> Iterator[Site]:
        instruction = entry.instruction
        spans: list[Span] = []
        if isinstance(instruction, ast.Copy) and instruction.from_.text:
            spans.append(instruction.from_.span)
        elif isinstance(instruction, ast.Run):
            for flag in instruction.flags:
                if flag.name == "mount" and flag.value_span is not None:
                    text = self._source.slice(flag.value_span)
                    start = flag.value_span.start
                    spans += [Span(start + m.start(1), start + m.end(1)) for m in _MOUNT_FROM.finditer(text)]
        for span in spans:
            text = self._source.slice(span)
            index = self.find_stage(text, entry.stage)
            if index is not None:
                name = self.stage_name(index)
                yield Site(name, span, "stage", False, entry.index, index, text.isdecimal())

    # --- variables ------------------------------------------------------------------------------------

    @cached_property
    def definitions(self) -> tuple[Site, ...]:
        """ARG and ENV names."""
        sites = []
        for entry in self._entries:
            instruction = entry.instruction
            if isinstance(instruction, ast.Arg | ast.Env):
                for pair in instruction.pairs:
                    span = self._name_span(pair.key)
                    if span is not None:
                        name = self._source.slice(span)
                        sites.append(Site(name, span, "variable", True, entry.index, entry.stage))
        return tuple(sites)

    def _name_span(self, word: ast.Word) -> Span | None:
        """Where the name itself stands; None for one that is put together of quotes or variables."""
        text = self._source.slice(word.span)
        match = _NAME.match(text)
        return Span(word.span.start, word.span.start + match.end()) if match and match[0] == word.text else None

    def scopes(self, stage: int) -> Iterator[int]:
        """A stage and those it is built on, nearest first; for the part before the first FROM, that alone."""
        at: int | None = stage
        while at is not None:
            yield at
            at = self.bases[at] if at >= 0 else None  # a base stands above, so this ends

    def defined(self, name: str, entry: int) -> tuple[Site, ...]:
        """Where the value of a variable comes from for an instruction: the nearest definition, and the ARG behind
        it.
        """
        for site in self._visible(entry, self._by_name.get(name, {})):
            return (site, *self._behind(site))
        return ()

    def visible(self, entry: int) -> tuple[Site, ...]:
        """Definitions that an instruction sees, nearest first."""
        return tuple(self._visible(entry, self._by_scope))

    def _visible(self, entry: int, sites: Mapping[int, Sequence[Site]]) -> Iterator[Site]:
        here = self._entries[entry]
        own = GLOBAL if here.keyword == "FROM" else here.stage
        for scope in self.scopes(own):
            found = sites.get(scope, ())
            count = bisect_left(found, entry, key=lambda site: site.entry) if scope == own else len(found)
            yield from (found[i] for i in range(count - 1, -1, -1))

    @cached_property
    def _by_scope(self) -> dict[int, list[Site]]:
        found: dict[int, list[Site]] = {}
        for site in self.definitions:
            found.setdefault(site.target, []).append(site)
        return found

    @cached_property
    def _by_name(self) -> dict[str, dict[int, list[Site]]]:
        found: dict[str, dict[int, list[Site]]] = {}
        for site in self.definitions:
            found.setdefault(site.name, {}).setdefault(site.target, []).append(site)
        return found

    def _behind(self, site: Site) -> tuple[Site, ...]:
        """For `ARG NAME` in a stage, the ARG before the first FROM."""
        if site.target == GLOBAL or not self._takes_over(site):
            return ()
        return tuple(self._by_name[site.name].get(GLOBAL, ())[-1:])

    def _takes_over(self, site: Site) -> bool:
        instruction = self._entries[site.entry].instruction
        return isinstance(instruction, ast.Arg) and any(
            p.key.text == site.name and p.value is None for p in instruction.pairs
        )

    @cached_property
    def uses(self) -> tuple[Site, ...]:
        """`$NAME` and `${NAME...}`; those of names that nothing has set are left out."""
        sites = []
        for entry in self._entries:
            for name, span in self._written(entry):
                found = self.defined(name, entry.index)
                if found:
                    sites.append(Site(name, span, "variable", False, entry.index, found[0].target))
        return tuple(sites)

    @cached_property
    def variable_sites(self) -> tuple[Site, ...]:
        """Definitions and uses of variables, in order."""
        return tuple(sorted((*self.definitions, *self.uses), key=lambda site: site.span.start))

    def _written(self, entry: Entry) -> Iterator[tuple[str, Span]]:
        """Every variable in the text of an instruction, its heredocs included."""
        logical = entry.node.logical
        shell = entry.keyword in {"RUN", "CMD", "ENTRYPOINT", "HEALTHCHECK", "SHELL"}
        for name, start, end in variables(logical.text, self._context.file.escape, quotes=not shell):
            yield name, logical.span(start, end)
        for document in entry.node.heredocs:
            if shell or document.expand:
                text = self._source.slice(document.body)
                for name, start, end in variables(text, "\\", quotes=False):
                    yield name, Span(document.body.start + start, document.body.start + end)

    # --- what belongs together ------------------------------------------------------------------------

    def at(self, offset: int) -> Site | None:
        """The name at a place."""
        for site in (*self.stage_sites, *self.definitions, *self.uses):
            if site.span.start <= offset <= site.span.end:
                return site
        return None

    def same(self, site: Site) -> tuple[Site, ...]:
        """All sites of the same stage or variable, in order."""
        if site.kind == "stage":
            return tuple(s for s in self.stage_sites if s.target == site.target)
        scopes = self._joined(site)
        found = [s for s in (*self.definitions, *self.uses) if s.name == site.name and self._root(s.target) in scopes]
        return tuple(sorted(found, key=lambda s: s.span.start))

    def _root(self, stage: int) -> int:
        return stage if stage == GLOBAL else self._roots[stage]

    @cached_property
    def _roots(self) -> list[int]:
        """For each stage, the lowest one that it is built on."""
        roots: list[int] = []
        for stage, base in enumerate(self.bases):
            roots.append(stage if base is None else roots[base])
        return roots

    def _joined(self, site: Site) -> set[int]:
        """Scopes that share a variable: all that take over the ARG before the first FROM are one."""
        own = self._root(site.target)
        mine = [s for s in self.definitions if s.name == site.name]
        if not any(s.target == GLOBAL for s in mine):
            return {own}
        joined = {GLOBAL, *(self._root(s.target) for s in mine if s.target != GLOBAL and self._takes_over(s))}
        return joined if own in joined else {own}


def variables(text: str, escape: str, *, quotes: bool) -> Iterator[tuple[str, int, int]]:
    """Names of variables in a text, with the place of the name.

    Args:
        text: the text.
        escape: an escaped `$` is none.
        quotes: in single quotes there are none.
    """
    quoted = False
    for match in _USES[escape].finditer(text):
        if match[0] == "'":
            quoted = quotes and not quoted
        elif match[0].startswith("$") and not quoted:
            group = 1 if match[1] else 2
            yield match[group], match.start(group), match.end(group)


def is_stage_name(text: str) -> bool:
    """Whether a stage may be called so."""
    return _STAGE_NAME.fullmatch(text) is not None and text.lower() not in {"scratch", "context"}


def is_variable_name(text: str) -> bool:
    """Whether a variable may be called so."""
    return _NAME.fullmatch(text) is not None
