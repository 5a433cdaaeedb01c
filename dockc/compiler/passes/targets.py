"""Where file actions write: what passes need to know to prove that two of them cannot meet."""

from __future__ import annotations

import posixpath

from dockc.compiler.ir.ops import Copy, FileAction, FileOp, MergeOp, Mkdir, Op, Value


def top_level(action: FileAction) -> str:
    """The top-level name below which an action works; "" for the root itself."""
    path = action.dest if isinstance(action, Copy) else getattr(action, "path", getattr(action, "newpath", "/"))
    return posixpath.normpath(f"/{path}").lstrip("/").split("/", 1)[0]


def top_levels(value: Value | None) -> set[str] | None:
    """The top-level names of a file system made from nothing by file operations; None if they are not known."""
    found: set[str] = set()
    stack = [value]
    seen: set[Op] = set()
    while stack:
        one = stack.pop()
        if one is None or one.op in seen:
            continue
        seen.add(one.op)
        match one.op:
            case FileOp():
                names = {top_level(a) for a in one.op.actions}
                if "" in names:
                    return None
                found |= names
                stack.append(one.op.base)
            case MergeOp():
                stack += one.op.layers
            case _:
                return None
    return found


def looks_up_names(action: FileAction) -> bool:
    """Whether an action asks the file system that it changes for a user or group."""
    owner = getattr(action, "owner", None)
    return owner is not None and (isinstance(owner.user, str) or isinstance(owner.group, str))


def independent(action: FileAction) -> bool:
    """Whether an action does the same on nothing as on a file system without its top-level name.

    A copy into the root has no such name: what it writes, and over what, only its source can tell.
    """
    if not top_level(action):
        return False
    match action:
        case Copy():
            return action.create_dest and not looks_up_names(action)
        case Mkdir():
            return action.parents and not looks_up_names(action)
    return False
