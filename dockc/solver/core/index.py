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

    def place(
        self,
        edge: EdgeState,
        digests: Sequence[str],
        inputs: Sequence[Collection[Atom]],
        news: Collection[int] | None = None,
    ) -> EdgeState | None:
        """Give `edge` its tokens and return the edge that holds one of them already, if there is another.

        Args:
            edge: an edge whose cache map is known.
            digests: the operation's names; several only for an operation without inputs.
            inputs: the alternatives of each input, none empty; they only ever become more.
            news: inputs with alternatives that they had not at the last call for this edge; None for all.
        """
        own = edge.ignores_cache
        changed = range(len(inputs)) if news is None or not edge.tokens else news
        if not inputs:
            tokens = [
                f"{digest}@{edge.index}{'!' if fresh else ''}"
                for fresh in ((True,) if own else (True, False))
                for digest in digests
            ]
        else:
            shared = [*edge.rivals, *edge.tokens, *self._common(edge, digests[0], inputs, changed)]
            tokens = sorted(shared, key=lambda token: not token.endswith("!"))
        holder = next((h for t in tokens if (h := self._holder.get(t)) is not None and h is not edge), None)
        mine = [t for t in tokens if t.endswith("!") == own]
        edge.rivals.update(dict.fromkeys(t for t in tokens if inputs and t.endswith("!") != own))
        if not mine:
            self._count += 1
            mine = [f"#{self._count}{'!' if own else ''}"]
        for token in mine:
            known = token in edge.tokens and token in self._holder
            edge.tokens.add(token)
            self._holder.setdefault(token, edge)
            made = self._made.setdefault(token, set())
            for i in changed if known else range(len(inputs)):
                for atom in inputs[i]:
                    link: _Link = (i, digests[0], edge.index, own, atom)
                    self._links.setdefault(link, {})[token] = None
                    made.add(link)
        return holder

    def _common(
        self, edge: EdgeState, digest: str, inputs: Sequence[Collection[Atom]], news: Collection[int]
    ) -> list[str]:
        """Tokens of other edges that every input leads to, and did not at the last call.

        Through at least one of its new alternatives, or of the other edge's, which looks for this one then.
        """
        found = []
        for fresh in (True,) if edge.ignores_cache else (True, False):
            candidates: dict[str, None] = {}
            if len(news) < len(inputs):
                for i in news:
                    for atom in inputs[i]:
                        tokens = self._links.get((i, digest, edge.index, fresh, atom), {})
                        if not any(token in tokens for token in edge.tokens):  # else it is no new alternative
                            candidates.update(tokens)
            if len(news) == len(inputs) or len(candidates) > len(inputs):
                candidates = self._fewest(edge, digest, fresh, inputs)
            for token in candidates:
                if token in edge.tokens or token in edge.rivals:
                    continue
                # What was equal remains equal: each input is compared once with each other edge.
                at = edge.witness.get(token, 0)
                while at < len(inputs) and self._leads(edge, digest, fresh, at, inputs[at], token):
                    at += 1
                if at == len(inputs):
                    found.append(token)
                elif at:
                    edge.witness[token] = at
        return found

    def _leads(self, edge: EdgeState, digest: str, fresh: bool, i: int, atoms: Collection[Atom], token: str) -> bool:
        return any(token in self._links.get((i, digest, edge.index, fresh, atom), ()) for atom in atoms)

    def _fewest(self, edge: EdgeState, digest: str, fresh: bool, inputs: Sequence[Collection[Atom]]) -> dict[str, None]:
        """The tokens that the input leads to which leads to the fewest."""
        best, least = 0, -1
        for i, atoms in enumerate(inputs):
            count = sum(len(self._links.get((i, digest, edge.index, fresh, atom), ())) for atom in atoms)
            if least < 0 or count < least:
                best, least = i, count
            if not count:
                break
        return {t: None for atom in inputs[best] for t in self._links.get((best, digest, edge.index, fresh, atom), ())}

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
