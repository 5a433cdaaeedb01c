"""Generated Dockerfiles that mostly compile: stages that build on each other, every instruction, words with substitutions."""

from __future__ import annotations

from hypothesis import strategies as st

NAMES = ("A", "B", "PATH", "VERSION", "TARGETARCH")
PLAIN = ("a", "b/c", "./d", "/e", "x.y", "é", "1")

words = st.one_of(
    st.sampled_from(PLAIN),
    st.sampled_from(NAMES).map(lambda n: f"${n}"),
    st.tuples(st.sampled_from(NAMES), st.sampled_from((":-d", ":+s", "-d", "#*/", "%.*", "/a/b", ""))).map(lambda t: f"${{{t[0]}{t[1]}}}"),
    st.sampled_from(('"q q"', "'s s'", '"a$B"', "a\\ b", "\\$A")),
)
bare = st.lists(words, min_size=1, max_size=2).map("".join)
gaps = st.sampled_from((" ", "  ", "\t", " \\\n    ", " \\\n  # note\n  "))
pairs = st.tuples(st.sampled_from(NAMES), bare).map("=".join)
sources = st.one_of(bare, st.sampled_from(("src/", "*.go", "a b")))


@st.composite
def instructions(draw: st.DrawFn, stages: int) -> str:
    """One instruction of a stage with `stages` stages before it, maybe as a trigger, maybe with space behind it."""
    text = draw(written(stages))
    if text and not text.startswith(("#", "ONBUILD")) and not draw(st.integers(0, 7)):
        text = f"ONBUILD{draw(gaps)}{text}"
    return text if "<<" in text else text + draw(st.sampled_from(("", "", "", " ", "\t ")))


@st.composite
def written(draw: st.DrawFn, stages: int) -> str:
    """The text of an instruction."""
    gap = draw(gaps)
    earlier = f"--from={draw(st.integers(0, stages - 1))}{gap}" if stages and draw(st.booleans()) else ""
    match draw(st.integers(0, 16)):
        case 0:
            return f"RUN{gap}echo {draw(bare)} && true"
        case 1:
            return f'RUN ["/bin/{draw(st.sampled_from(("a", "b")))}",{gap}"x"]'
        case 2:
            return f"RUN --mount=type=cache,target=/c{draw(st.integers(0, 2))}{gap}--mount=type=tmpfs,target=/t{gap}make"
        case 3:
            return f"RUN <<EOF\necho {draw(bare)}\nEOF"
        case 4 | 5:
            return f"COPY{gap}{earlier}{draw(sources)}{gap}/{draw(st.sampled_from(('x', 'y/')))}/"
        case 6:
            return f"ADD --chmod=0644{gap}{draw(bare)} /z/"
        case 7:
            return f"ENV{gap}{gap.join(draw(st.lists(pairs, min_size=1, max_size=3)))}"
        case 8:
            return f"ARG{gap}{draw(pairs)}"
        case 9:
            return f"WORKDIR{gap}{draw(bare)}"
        case 10:
            return f"USER {draw(st.sampled_from(('root', '1:2', '$A')))}"
        case 11:
            return f"LABEL{gap}{draw(pairs)}{gap}k=v"
        case 12:
            return f"EXPOSE {draw(st.sampled_from(('80', '53/udp 1000-1002')))}"
        case 13:
            return draw(st.sampled_from(("CMD", "ENTRYPOINT"))) + gap + draw(st.sampled_from(("run it", '["run", "it"]')))
        case 14:
            return "HEALTHCHECK --interval=5s CMD true"
        case 15:
            return f"COPY <<one /h/\n{draw(bare)}\none"
        case _:
            return draw(st.sampled_from(("VOLUME /v", "STOPSIGNAL 9", 'SHELL ["/bin/bash", "-c"]', "# a comment", "", "ONBUILD RUN true")))


@st.composite
def dockerfiles(draw: st.DrawFn) -> str:
    """A whole file."""
    lines = draw(st.lists(pairs.map(lambda pair: f"ARG {pair}"), max_size=2))
    for number in range(draw(st.integers(1, 3))):
        bases = ["alpine", "scratch", "debian:bookworm", *(f"s{n}" for n in range(number))]
        lines.append(f"FROM {draw(st.sampled_from(bases))} AS s{number}")
        lines += draw(st.lists(instructions(number), max_size=6))
    return "\n".join(lines) + draw(st.sampled_from(("\n", "")))
