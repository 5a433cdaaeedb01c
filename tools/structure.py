"""How the package is built: circles of files, loose modules at its root, lines that are too long. `--check` ends with 1 where there are any.

    python tools/structure.py

Every import statement counts, also those inside functions and those for type checkers only: a type is knowledge too.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "dockc"
WIDTH = 120
#: Modules that may stand at the package's root.
LOOSE = frozenset(("__init__", "__main__", "api", "cli", "errors"))
GENERATED = ("/pb/",)


def modules() -> dict[str, Path]:
    """Every module by its dotted name; packages by theirs."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that a file names in import statements. A package that only lends its name does not count."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in known}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in known:
                    found.add(full)
                elif node.module in known:
                    found.add(node.module)
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan's algorithm, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[list[str]] = []
    for start in graph:
        if start in index:
            continue
        work = [(start, iter(sorted(graph[start])))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            name, rest = work[-1]
            for target in rest:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(sorted(graph[target]))))
                    break
                if target in on_stack:
                    low[name] = min(low[name], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    members = []
                    while True:
                        one = stack.pop()
                        on_stack.discard(one)
                        members.append(one)
                        if one == name:
                            break
                    if len(members) > 1:
                        found.append(sorted(members))
    return sorted(found, key=len, reverse=True)


def long_lines() -> list[str]:
    """Places of lines of the package that are wider than the window."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if any(part in name for part in GENERATED):
            continue
        found += [f"{name}:{at}" for at, line in enumerate(path.read_text("utf-8").splitlines(), 1) if len(line) > WIDTH]
    return found


def loose_modules() -> list[str]:
    """Modules at the root of the package that have no room."""
    return sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem not in LOOSE)


def report() -> tuple[list[list[str]], list[str], list[str]]:
    """Circles, loose modules, long lines."""
    known = modules()
    graph = {name: imports(path, known) - {name} for name, path in known.items()}
    return circles(graph), loose_modules(), long_lines()


def main(argv: list[str]) -> int:
    """Print what there is."""
    found, loose, long = report()
    out = [f"circles of files: {len(found)}"]
    out += [f"  {len(members)}: {', '.join(members)}" for members in found]
    out += [f"loose modules at the root: {len(loose)}", *(f"  {name}" for name in loose)]
    out += [f"lines over {WIDTH}: {len(long)}", *(f"  {place}" for place in long if "--lines" in argv)]
    sys.stdout.write("\n".join(out) + "\n")
    return 1 if "--check" in argv and (found or loose or long) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
