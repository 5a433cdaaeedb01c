"""Answers about positions, without the protocol."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.errors import UsageError
from dockc.grammar.edits import apply
from dockc.grammar.source import Source, Span
from dockc.lsp.completion import complete
from dockc.lsp.features import Document
from dockc.lsp.places import UTF8, UTF16, UTF32, Place, Places

TEXT = """\
ARG VERSION=1.2
ARG BASE=debian
FROM ${BASE}:12 AS Build
ARG VERSION
ENV APP=/srv/app MODE="fast"
WORKDIR $APP
COPY --chown=1:1 src "$APP/src"
RUN --mount=type=bind,from=busybox,target=/t echo $VERSION '$MODE' \\
    && echo "${MODE:-slow}"
FROM scratch AS tools
COPY tool /tool
FROM build AS final
RUN echo $APP
COPY --from=Build /srv/app /app
COPY --from=0 /x /x
LABEL v=$VERSION q='$APP' e=\\$APP
"""


def at(text: str, what: str, nth: int = 0, shift: int = 1) -> int:
    """The offset a little into the nth occurrence of a text."""
    place = -1
    for _ in range(nth + 1):
        place = text.index(what, place + 1)
    return place + shift


def shown(document: Document, spans: tuple[Span, ...]) -> list[tuple[int, str]]:
    return [(document.source.line_at(s.start), document.source.slice(s)) for s in spans]


@pytest.fixture(scope="module")
def document() -> Document:
    return Document(TEXT)


def test_stages_are_found_from_every_use(document: Document) -> None:
    assert shown(document, document.definition(at(TEXT, "FROM build", shift=6))) == [(3, "Build")]
    assert shown(document, document.definition(at(TEXT, "--from=Build", shift=8))) == [(3, "Build")]
    assert shown(document, document.definition(at(TEXT, "--from=0", shift=7))) == [(3, "Build")]
    found = document.references(at(TEXT, "AS Build", shift=4), definitions=True)
    assert shown(document, found) == [(3, "Build"), (12, "build"), (14, "Build"), (15, "0")]


def test_mounts_use_stages_above_only() -> None:
    text = "FROM a AS one\nFROM b\nRUN --mount=from=one,target=/x --mount=target=/y,from=two true\nFROM c AS two\n"
    document = Document(text)
    assert shown(document, document.definition(at(text, "from=one", shift=6))) == [(1, "one")]
    assert document.definition(at(text, "from=two", shift=6)) == ()


def test_variables_lead_to_the_nearest_definition_and_the_argument_behind_it(document: Document) -> None:
    assert shown(document, document.definition(at(TEXT, "${BASE}", shift=3))) == [(2, "BASE")]
    assert shown(document, document.definition(at(TEXT, "$VERSION", shift=2))) == [(4, "VERSION"), (1, "VERSION")]
    assert shown(document, document.definition(at(TEXT, "${MODE", shift=3))) == [(5, "MODE")]
    assert shown(document, document.definition(at(TEXT, "echo $APP", shift=7))) == [(5, "APP")], "through FROM build"


def test_references_of_variables_leave_out_what_is_no_use(document: Document) -> None:
    found = shown(document, document.references(at(TEXT, "ENV APP", shift=5), definitions=False))
    assert found == [(6, "APP"), (7, "APP"), (13, "APP")], "not in single quotes, not escaped"
    everything = shown(document, document.references(at(TEXT, "ARG VERSION", shift=5), definitions=True))
    assert everything == [(1, "VERSION"), (4, "VERSION"), (8, "VERSION"), (16, "VERSION")]


def test_renaming_changes_all_places_and_nothing_else(document: Document) -> None:
    text = apply(TEXT, document.rename(at(TEXT, "$VERSION"), "RELEASE")).text
    assert text == TEXT.replace("VERSION", "RELEASE")
    text = apply(TEXT, document.rename(at(TEXT, "AS Build", shift=4), "compile")).text
    assert text == TEXT.replace("Build", "compile").replace("FROM build", "FROM compile")


@pytest.mark.parametrize(
    ("where", "new", "message"),
    [("AS Build", "1x", "cannot be the name"), ("AS Build", "final", "already"), ("ENV APP", "a-b", "cannot be the name"),
     ("ENV APP", "MODE", "already"), ("FROM scratch", "x", "no stage or variable")],
)  # fmt: skip
def test_renaming_refuses(document: Document, where: str, new: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        document.rename(at(TEXT, where, shift=5 if where != "AS Build" else 4), new)


def test_hover_tells_values_pages_and_stages(document: Document) -> None:
    def hover(what: str, shift: int = 1) -> str:
        found = document.hover(at(TEXT, what, shift=shift))
        assert found is not None
        return found.text

    assert '`VERSION` = `"1.2"`' in hover("echo $VERSION", 8)
    assert "ARG of line 4" in hover("echo $VERSION", 8)
    assert '`APP` = `"/srv/app"`' in hover("echo $APP", 7)
    assert '`BASE` = `"debian"`' in hover("${BASE}", 3)
    assert hover("WORKDIR").startswith("```dockerfile\nWORKDIR PATH")
    assert hover("--chown").startswith("**COPY --chown**")
    assert "Stage 0 `build`" in hover("--from=Build", 8)


def test_hover_on_a_comment_that_names_a_rule() -> None:
    text = "# hadolint ignore=DL3008\nFROM a\n"
    found = Document(text).hover(text.index("DL3008") + 2)
    assert found is not None
    assert found.text.startswith("**DL3008 apt-pin**")


def test_hover_survives_a_file_that_does_not_build() -> None:
    text = "FROM a AS b\nARG X=1\nRUN echo $X\nCOPY --from=nowhere2: a\nFOO\n"
    found = Document(text).hover(text.index("$X") + 1)
    assert found is not None
    assert "ARG of line 2" in found.text


def names(text: str, images: tuple[str, ...] = ()) -> list[str]:
    """Completions at the `|` of a text."""
    offset = text.index("|")
    return [item.text for item in complete(Document(text.replace("|", "", 1)), offset, lambda: images)]


def test_completion_of_instructions() -> None:
    assert {"FROM", "RUN", "COPY"} <= set(names("FROM a\n|"))
    assert "WORKDIR" in names("FROM a\nWO|")
    assert "run" in names("from a\nrun x\nr|")
    assert "RUN" in names("FROM a\nONBUILD |")
    assert names("FROM a\n# co|") == []
    assert names("FROM a\nRUN <<EOF\n|\nEOF\n") == []


def test_completion_of_flags_and_their_values() -> None:
    assert {"--from=", "--chown=", "--link"} <= set(names("FROM a\nCOPY --|"))
    assert "--mount=" in names("FROM a\nRUN \\\n  --m|")
    assert names("FROM a\nRUN --network=|") == ["default", "none", "host"]
    assert names("FROM a\nRUN --mount=type=c|")[:2] == ["bind", "cache"]
    assert "target=" in names("FROM a\nRUN --mount=type=cache,|")
    assert "$BUILDPLATFORM" in names("FROM --platform=|")


def test_completion_of_stages_and_images() -> None:
    file = "FROM golang:1 AS build\nFROM debian\nCOPY --from=|"
    assert names(file) == ["build", "golang:1", "debian"]
    assert names("FROM golang:1 AS build\nFROM |", ("mine:latest",)) == ["build", "scratch", "golang:1", "mine:latest"]
    assert "AS" in names("FROM debian |")
    assert "build" in names("FROM a AS build\nFROM b\nRUN --mount=from=|")


def test_completion_of_variables() -> None:
    assert names("ARG A\nFROM a\nARG B\nENV C=1\nRUN echo $|") == ["B", "C"]
    assert "A" in names("ARG A\nFROM a:${|")
    assert "TARGETPLATFORM" in names("FROM --platform=$|")
    assert {"A", "TARGETARCH"} <= set(names("ARG A\nFROM a\nARG |"))
    assert names("FROM a\nARG B\nRUN <<EOF\necho $|\nEOF\n") == ["B"]
    assert names("FROM a AS x\nENV X=1\nFROM x\nRUN echo ${X|") == ["X"]


def test_symbols_and_folds() -> None:
    text = "# one\n# two\nARG A=1\nFROM a AS b\nRUN x \\\n  y\nCOPY <<EOF /z\nhello\nEOF\nFROM c\n"
    document = Document(text)
    assert [(s.name, s.kind, [c.name for c in s.children]) for s in document.symbols] == [
        ("ARG A", "variable", []), ("b", "stage", ["RUN x y", "COPY <<EOF /z"]), ("stage 1", "stage", []),
    ]  # fmt: skip
    assert [(f.first, f.last, f.comment) for f in document.folds] == [(1, 2, True), (4, 9, False), (5, 6, False), (7, 9, False)]


@given(st.text(alphabet="aé€😀\n\r\t$", max_size=40), st.sampled_from([UTF8, UTF16, UTF32]))
def test_positions_and_offsets_are_inverse(text: str, units: str) -> None:
    source = Source.from_text(text)
    places = Places(source, units)
    for offset in range(len(text) + 1):
        place = places.place(offset)
        start = sum(len(line) for line in text.split("\n")[: place.line]) + place.line
        if text[start:offset].rstrip("\r") == text[start:offset] or "\n" not in text[offset : offset + 2]:
            assert places.offset(place) == offset or text[places.offset(place) : offset].strip("\r") == ""


def test_columns_count_utf16_units() -> None:
    source = Source.from_text("A😀é=b\n")
    assert Places(source, UTF16).place(3) == Place(0, 4)
    assert Places(source, UTF8).place(3) == Place(0, 7)
    assert Places(source, UTF32).place(3) == Place(0, 3)
    assert Places(source, UTF16).offset(Place(0, 4)) == 3
    assert Places(source, UTF16).offset(Place(0, 99)) == 5
    assert Places(source, UTF16).offset(Place(9, 0)) == 6


@given(st.text(alphabet="FROM RUNCOPY--=$\\\n{}#<EOAS'\" ax1", max_size=80), st.data())
def test_nothing_breaks_on_what_is_being_typed(text: str, data: st.DataObject) -> None:
    document = Document(text)
    offset = data.draw(st.integers(0, len(text)))
    complete(document, offset, lambda: ("i",))
    document.hover(offset)
    document.definition(offset)
    document.references(offset, definitions=True)
    assert document.symbols is not None
    assert all(f.first < f.last for f in document.folds)


def test_long_files_are_no_trouble() -> None:
    count = 1500
    chain = "".join(f"FROM s{n - 1} AS s{n}\nENV A=$A{n}\nRUN echo $A\n" for n in range(1, count))
    document = Document("FROM a AS s0\nENV A=1\n" + chain + "ENV A=$A\n" * count)
    assert len(document.names.uses) > count
    assert len(document.references(len("FROM a AS s0\nENV A"), definitions=True)) > 2 * count
    assert document.symbols[-1].name == f"s{count - 1}"
