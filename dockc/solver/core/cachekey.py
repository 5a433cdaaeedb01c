"""Ids of cache keys.

A key without inputs has an id that follows from its digest alone. A key with inputs can be reached by several
links (by definition and by content of each input), so there is no one hash of "its inputs"; the cache manager
looks for an existing id first, and only a key that is really new gets one from `derived_key`. That id is a
function of the key too, so that two processes that make the same key at the same time make the same id.
"""

from __future__ import annotations

from hashlib import sha256

from dockc.solver.core.events import KeySpec

RANDOM = "random:"
CONTENT_OUTPUT = -1


def root_key(digest: str, output: int) -> str:
    """Id of the key of an operation without inputs: sha256 of `digest@output`.

    A digest `random:...` gives a key `random:...`, which no store keeps.
    """
    if digest.startswith(RANDOM):
        return digest
    return "sha256:" + sha256(f"{digest}@{output}".encode()).hexdigest()


def content_key(digest: str) -> str:
    """Id of the key that stands for an input's content."""
    return root_key(digest, CONTENT_OUTPUT)


def is_ephemeral(key: str) -> bool:
    """Whether the key means nothing outside this process."""
    return key.startswith(RANDOM)


def derived_key(spec: KeySpec) -> str:
    """Id for a new key with inputs.

    Of each input one of its names counts: the content key if there is one, else the least.
    """
    hasher = sha256()
    hasher.update(f"{spec.digest}@{spec.output}\n".encode())
    for refs in spec.deps:
        name = min(refs, key=lambda ref: (not ref.content, is_ephemeral(ref.key), ref.key, ref.selector))
        hasher.update(f"{name.key} {name.selector}\n".encode())
    if any(all(is_ephemeral(ref.key) for ref in refs) for refs in spec.deps):
        return RANDOM + hasher.hexdigest()
    return "sha256:" + hasher.hexdigest()
