"""What does as BuildKit does and surprises people is said in the build's progress."""

from __future__ import annotations

from tests.e2e.conftest import Dockc, MakeContext

SAID = {
    "COPY *.txt /dest": "2 files match *.txt, and each was written over the one before: /dest is b.txt. "
    "A slash at the end makes the destination a directory: /dest/",
    "COPY --link --chown=1000:7 a.txt /var/lib/app/": "/var and /var/lib will belong to 1000:7 in the image, also where the base "
    "image has them: COPY --link makes the way to its destination itself. Without --link what is there stays as it is.",
    "COPY --chmod=640 a.txt /new/dir/f": "/new and /new/dir were made with --chmod=640 as well: without the right to search nobody "
    "but root gets in. Make directories first, or say --chmod=u=rwX,go=rX or the like.",
    "USER 1000\nRUN --mount=type=cache,target=/cache id": "the cache at /cache belongs to root and the step runs as 1000: it cannot "
    "write there. Say whose it is in the mount: uid=..., gid=..., or mode=0777",
}
MEANT = """
    COPY *.txt /there/
    RUN mkdir /made
    COPY *.txt /made
    COPY a.txt /one
    COPY --link --chown=1000:7 a.txt /app/x/
    COPY --link --chown=0:0 a.txt /var/lib/app/
    COPY --chown=1000:7 a.txt /usr/x/
    COPY --chmod=755 a.txt /new/dir/f
    COPY --chmod=u=rwX,go=rX a.txt /newer/dir/f
    COPY --chmod=640 a.txt /f
    RUN --mount=type=cache,target=/cache touch /cache/x
    USER 1000
    RUN --mount=type=cache,target=/cache,uid=1000 touch /cache/x
    RUN --mount=type=cache,target=/cache,mode=0777 touch /cache/x
"""


def test_surprises_are_said(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    folder = context("FROM base\n" + "\n".join(SAID) + "\n", **{"a.txt": "1", "b.txt": "2"})
    shown = root.build(folder, *with_base)
    assert [line.partition("WARN: ")[2] for line in shown.splitlines() if "WARN: " in line] == list(SAID.values())


def test_what_is_meant_is_left_alone(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    folder = context(f"FROM base\n{MEANT}\n", **{"a.txt": "1", "b.txt": "2"})
    assert "WARN" not in root.build(folder, *with_base)


def test_a_link_in_the_way_is_named(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    folder = context("FROM base\nRUN ln -s usr/bin /link\nCOPY tree/ /\n", tree__link__f="1")
    shown = root.build(folder, *with_base, status=1)
    assert "error: failed to solve: cannot copy to non-directory: /link\n" in shown
    assert "help: /link is a symbolic link to usr/bin. Copy into what it points to, or remove it first.\n" in shown


def test_an_image_that_gets_no_name_is_told(root: Dockc, context: MakeContext) -> None:
    folder = context("FROM scratch\nCOPY f /\n", f="")
    note = "the image has no name: `-t NAME` gives it one, for `dockc images` and `dockc run`"
    assert f"{note}\n1 step run, 0 cached\n" in root.build(folder)
    for more in (["-t", "app"], ["-o", "out"], ["-q"]):
        assert note not in root.build(folder, *more)
