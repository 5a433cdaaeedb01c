"""Paths inside a root, cleaned the way LLB writes them (Go's `path.Clean` and `path.Join`)."""

from __future__ import annotations


def clean(path: str) -> str:
    """The shortest equal path: no `.`, no `//`, no inner `..`, no slash at the end; "" becomes `.`."""
    if not path:
        return "."
    rooted = path.startswith("/")
    out: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            if out and out[-1] != "..":
                out.pop()
                continue
            if rooted:
                continue
        out.append(part)
    text = "/".join(out)
    return f"/{text}" if rooted else text or "."


def join(*parts: str) -> str:
    """Cleaned concatenation; empty parts are left out. "" if all are empty."""
    kept = [p for p in parts if p]
    return clean("/".join(kept)) if kept else ""


def normalize(directory: str, path: str, *, keep_slash: bool = False) -> str:
    """`path` as an absolute clean path, relative ones taken from `directory`.

    With `keep_slash`, an end of `/` or `/.` (which says "into this directory") is kept.
    """
    cleaned = clean(path)
    if not cleaned.startswith("/"):
        cleaned = join("/", directory, cleaned)
    if keep_slash:
        if path.endswith("/") and not cleaned.endswith("/"):
            cleaned += "/"
        elif path.endswith("/."):
            cleaned = "/." if cleaned == "/" else cleaned + "/."
    return cleaned
