"""Finds active edges that have equal keys, so that they can be merged. Pure.

Every active edge whose cache map is known gets tokens: names such that two edges share one exactly if their keys
are equal as far as is known by now. A token follows from the operation's digest, the output index, and for
each input the alternatives it is known by (a selector with a token of the input edge, or a content key). Two
edges are equal when, for every input, they have one alternative in common.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dockc.solver.core.edge import EdgeState

Atom = tuple[str, str]
"""(selector, token of the input edge), or ("=", content digest)."""

_Link = tuple[int, str, int, bool, Hashable]


class EdgeIndex:
    """Tokens of the active edges.

    Mutable state: `_holder` (token to the edge that others with this token merge into), `_links` (from one
    alternative of one input to tokens) and `_made` (the links to remove with a token).
    """

    def __init__(self) -> None:
        self._holder: dict[str, EdgeState] = {}
        self._links: dict[_Link, dict[str, None]] = {}
        self._made: dict[str, set[_Link]] = {}
        self._count = 0

    def place(self, edge: EdgeState, digests: Sequence[str], inputs: Sequence[Collection[Atom]]) -> EdgeState | None:
        """Give `edge` its tokens and return the edge that holds one of them already, if there is another.

        Args:
            edge: an edge whose cache map is known.
            digests: the operation's names; several only for an operation without inputs.
            inputs: the alternatives of each input, none empty.
        """
        tokens: list[str] = []
        for fresh in (True,) if edge.ignores_cache else (True, False):
            for digest in digests:
                if inputs:
                    tokens += self._common(edge, digest, fresh, inputs)
                else:
                    tokens.append(f"{digest}@{edge.index}{'!' if fresh else ''}")
        holder = next((h for t in tokens if (h := self._holder.get(t)) is not None and h is not edge), None)
        own = edge.ignores_cache
        mine = [t for t in tokens if t.endswith("!") == own]
        if not mine:
            self._count += 1
            mine = [f"#{self._count}{'!' if own else ''}"]
        for token in mine:
            edge.tokens.add(token)
            self._holder.setdefault(token, edge)
            made = self._made.setdefault(token, set())
            for i, atoms in enumerate(inputs):
                for atom in atoms:
                    link: _Link = (i, digests[0], edge.index, own, atom)
                    self._links.setdefault(link, {})[token] = None
                    made.add(link)
        return holder

    def _common(self, edge: EdgeState, digest: str, fresh: bool, inputs: Sequence[Collection[Atom]]) -> list[str]:
        """Tokens that every input leads to."""
        common: dict[str, None] | None = None
        for i, atoms in enumerate(inputs):
            here: dict[str, None] = {}
            for atom in atoms:
                here.update(self._links.get((i, digest, edge.index, fresh, atom), {}))
            common = here if common is None else {t: None for t in common if t in here}
            if not common:
                return []
        return list(common or {})

    def transfer(self, source: EdgeState, target: EdgeState) -> None:
        """`source` becomes `target`: its tokens name `target` from now on."""
        for token in source.tokens:
            if self._holder.get(token) is source:
                self._holder[token] = target
        target.tokens |= source.tokens

    def remove(self, edge: EdgeState) -> None:
        """Forget the tokens that `edge` holds."""
        for token in edge.tokens:
            if self._holder.get(token) is not edge:
                continue
            del self._holder[token]
            for link in self._made.pop(token, ()):
                tokens = self._links.get(link)
                if tokens is not None:
                    tokens.pop(token, None)
                    if not tokens:
                        del self._links[link]

    def __len__(self) -> int:
        return len(self._holder)
