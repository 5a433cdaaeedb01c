"""The server over standard input and output, with a real client."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pygls", reason="the extra `lsp` is not installed")
from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient

REPO = Path(__file__).resolve().parents[2]
TEXT = """\
ARG VERSION=1.2
FROM debian:12 AS Build
ARG VERSION
RUN echo "😀" $VERSION
FROM scratch
COPY --from=build /a /b
WORKDIR relative
"""


class Editor(LanguageClient):
    """An editor with one file open. Mutable: diagnostics by version, and messages shown."""

    def __init__(self) -> None:
        super().__init__("editor", "1")
        self.published: dict[int | None, list[lsp.Diagnostic]] = {}
        self.news = asyncio.Event()
        self.messages: list[str] = []

        on: Callable[[str], Callable[[Callable[[Any], None]], object]] = self.feature  # pygls says nothing of its type

        @on(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def published(params: lsp.PublishDiagnosticsParams) -> None:
            self.published[params.version] = list(params.diagnostics)
            self.news.set()

        @on(lsp.WINDOW_SHOW_MESSAGE)
        def told(params: lsp.ShowMessageParams) -> None:
            self.messages.append(params.message)

    async def diagnostics(self, version: int) -> list[lsp.Diagnostic]:
        while version not in self.published:
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 60)
        return self.published[version]


class Session:
    """Requests about one file."""

    def __init__(self, editor: Editor, uri: str) -> None:
        self.editor = editor
        self.uri = uri
        self.id = lsp.TextDocumentIdentifier(uri)

    def open(self, text: str) -> None:
        self.editor.text_document_did_open(lsp.DidOpenTextDocumentParams(lsp.TextDocumentItem(self.uri, "dockerfile", 1, text)))

    def at(self, line: int, column: int) -> dict[str, Any]:
        return {"text_document": self.id, "position": lsp.Position(line, column)}


def session(
    folder: Path,
    work: Callable[[Session, lsp.InitializeResult], Awaitable[None]],
    capabilities: lsp.ClientCapabilities | None = None,
    path: Path = REPO,
) -> None:
    """Start a server, shake hands, do some work, say goodbye; the server must end with status 0."""

    async def run() -> None:
        editor = Editor()
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), str(REPO)]), "DOCKC_STORE": str(folder / "store")}
        await editor.start_io(sys.executable, "-m", "dockc", "lsp", "--stdio", env=environ, cwd=str(folder))
        done = await asyncio.wait_for(
            editor.initialize_async(
                lsp.InitializeParams(capabilities=capabilities or lsp.ClientCapabilities(), initialization_options={"buildArgs": {"GIVEN": "7"}})
            ),
            60,
        )
        editor.initialized(lsp.InitializedParams())
        await asyncio.wait_for(work(Session(editor, (folder / "Dockerfile").as_uri()), done), 200)
        await editor.shutdown_async(None)
        editor.exit(None)
        server = editor._server
        assert server is not None
        assert await asyncio.wait_for(server.wait(), 30) == 0
        await editor.stop()  # type: ignore[no-untyped-call]  # pygls says nothing of its type

    asyncio.run(run())


def places(locations: Any) -> list[tuple[int, int, int]]:
    return [(r.range.start.line, r.range.start.character, r.range.end.character) for r in locations or ()]


def test_a_whole_session(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(TEXT)

    async def work(editing: Session, done: lsp.InitializeResult) -> None:
        editor = editing.editor
        assert done.server_info is not None
        assert done.server_info.name == "dockc"
        editing.open(TEXT)
        found = await editor.diagnostics(1)
        by_code = {d.code: d for d in found}
        casing = by_code["StageNameCasing"]
        assert casing.source == "dockc"
        assert casing.range.start.line == 1
        assert "WorkdirRelativePath" in by_code or "DL3000" in by_code

        hover = await editor.text_document_hover_async(lsp.HoverParams(**editing.at(3, 16)))
        assert hover is not None
        assert isinstance(hover.contents, lsp.MarkupContent)
        assert '`VERSION` = `"1.2"`' in hover.contents.value
        assert hover.range is not None
        assert (hover.range.start.character, hover.range.end.character) == (15, 22), "UTF-16 units before it"

        listed = await editor.text_document_completion_async(lsp.CompletionParams(**editing.at(5, 12)))
        assert isinstance(listed, lsp.CompletionList)
        assert "Build" in [item.label for item in listed.items]

        defined = await editor.text_document_definition_async(lsp.DefinitionParams(**editing.at(5, 14)))
        assert places(defined) == [(1, 18, 23)]
        defined = await editor.text_document_definition_async(lsp.DefinitionParams(**editing.at(3, 17)))
        assert places(defined) == [(2, 4, 11), (0, 4, 11)]

        used = await editor.text_document_references_async(
            lsp.ReferenceParams(context=lsp.ReferenceContext(include_declaration=True), **editing.at(0, 5))
        )
        assert places(used) == [(0, 4, 11), (2, 4, 11), (3, 15, 22)]

        ready = await editor.text_document_prepare_rename_async(lsp.PrepareRenameParams(**editing.at(1, 20)))
        assert isinstance(ready, lsp.Range)
        renamed = await editor.text_document_rename_async(lsp.RenameParams(new_name="compile", **editing.at(1, 20)))
        assert renamed is not None
        assert renamed.changes is not None
        assert [(e.range.start.line, e.new_text) for e in renamed.changes[editing.uri]] == [(1, "compile"), (5, "compile")]
        with pytest.raises(JsonRpcException, match="cannot be the name"):
            await editor.text_document_rename_async(lsp.RenameParams(new_name="a b", **editing.at(1, 20)))

        actions = await editor.text_document_code_action_async(
            lsp.CodeActionParams(editing.id, casing.range, lsp.CodeActionContext(diagnostics=[casing]))
        )
        titles = [a.title for a in actions or () if isinstance(a, lsp.CodeAction)]
        assert any("StageNameCasing" in title for title in titles)
        assert "Suppress StageNameCasing for this instruction" in titles
        fixing = next(a for a in actions or () if isinstance(a, lsp.CodeAction) and a.is_preferred)
        assert fixing.edit is not None

        symbols = await editor.text_document_document_symbol_async(lsp.DocumentSymbolParams(editing.id))
        assert [s.name for s in symbols or ()] == ["ARG VERSION", "Build", "stage 1"]
        folds = await editor.text_document_folding_range_async(lsp.FoldingRangeParams(editing.id))
        assert [(f.start_line, f.end_line) for f in folds or ()] == [(1, 3), (4, 6)]

        whole = lsp.CodeActionContext(diagnostics=[], only=[lsp.CodeActionKind.SourceFixAll])
        everything = await editor.text_document_code_action_async(
            lsp.CodeActionParams(editing.id, lsp.Range(lsp.Position(0, 0), lsp.Position(7, 0)), whole)
        )
        assert [a.kind for a in everything or () if isinstance(a, lsp.CodeAction)] == ["source.fixAll"]

    session(tmp_path, work)


def test_diagnostics_follow_what_is_typed(tmp_path: Path) -> None:
    async def work(editing: Session, done: lsp.InitializeResult) -> None:
        editor = editing.editor
        editing.open("FROM scratch\nCOPY a /a\n")
        assert [d for d in await editor.diagnostics(1) if d.severity == lsp.DiagnosticSeverity.Error] == []
        change = lsp.TextDocumentContentChangePartial(
            range=lsp.Range(lsp.Position(1, 0), lsp.Position(1, 4)), text="CPOY"
        )
        versioned = lsp.VersionedTextDocumentIdentifier(version=2, uri=editing.uri)
        editor.text_document_did_change(lsp.DidChangeTextDocumentParams(versioned, [change]))
        worst = [d for d in await editor.diagnostics(2) if d.severity == lsp.DiagnosticSeverity.Error]
        assert [(d.range.start.line, d.range.start.character, d.range.end.character) for d in worst] == [(1, 0, 4)]
        assert "unknown instruction" in worst[0].message

    session(tmp_path, work)


def test_configuration_and_pragmas_count(tmp_path: Path) -> None:
    (tmp_path / "dockc.toml").write_text('[lint]\nignore = ["StageNameCasing"]\n')
    text = "FROM debian:12 AS Build\nCOPY a /a\n"
    (tmp_path / "Dockerfile").write_text(text)

    async def work(editing: Session, done: lsp.InitializeResult) -> None:
        editing.open(text)
        assert "StageNameCasing" not in [d.code for d in await editing.editor.diagnostics(1)]

    session(tmp_path, work)


def test_a_file_that_is_not_saved_has_the_configuration_of_its_place_and_keeps_its_line_ends(tmp_path: Path) -> None:
    (tmp_path / "dockc.toml").write_text('[lint]\nignore = ["StageNameCasing"]\nshellcheck = false\n')

    async def work(editing: Session, done: lsp.InitializeResult) -> None:
        editing.open("FROM debian:12 AS Build\r\nADD a /a\r\n")
        found = await editing.editor.diagnostics(1)
        assert [d.code for d in found] == ["DL3020"]
        context = lsp.CodeActionContext(diagnostics=found)
        actions = await editing.editor.text_document_code_action_async(lsp.CodeActionParams(editing.id, found[0].range, context))
        texts = [edit.new_text for a in actions or () if isinstance(a, lsp.CodeAction) and a.edit for edit in (a.edit.changes or {})[editing.uri]]
        assert texts == ["COPY", "# dockc ignore=DL3020\r\n"]

    session(tmp_path, work)


def test_a_shellcheck_that_fails_is_told_once_and_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "shellcheck").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "shellcheck").chmod(0o755)
    (tmp_path / "sitecustomize.py").write_text(
        f"import dockc.commands.lint.shellcheck as r\nr.find = lambda: {str(tmp_path / 'shellcheck')!r}\n"
    )

    async def work(editing: Session, done: lsp.InitializeResult) -> None:
        editing.open("FROM debian:12\nADD a /a\nRUN ls\n")
        assert [d.code for d in await editing.editor.diagnostics(1)] == ["DL3020"]
        assert len(editing.editor.messages) == 1
        assert "ShellCheck failed" in editing.editor.messages[0]

    session(tmp_path, work, path=tmp_path)


def test_formatting_and_images_of_the_store(tmp_path: Path) -> None:
    names = tmp_path / "store" / "content" / "images"
    names.mkdir(parents=True)
    (names / "one").write_text('{"name": "docker.io/library/mine:latest", "target": {}}')
    (names / "two").write_text("not JSON")

    async def work(editing: Session, done: lsp.InitializeResult) -> None:
        editor = editing.editor
        editing.open("from scratch\ncopy   a    /a\n\n\n\nFROM \n")
        listed = await editor.text_document_completion_async(lsp.CompletionParams(**editing.at(5, 5)))
        assert isinstance(listed, lsp.CompletionList)
        assert "mine:latest" in [item.label for item in listed.items]
        versioned = lsp.VersionedTextDocumentIdentifier(version=2, uri=editing.uri)
        whole = lsp.TextDocumentContentChangeWholeDocument(text="from scratch\ncopy   a    /a\n")
        editor.text_document_did_change(lsp.DidChangeTextDocumentParams(versioned, [whole]))
        options = lsp.FormattingOptions(tab_size=4, insert_spaces=True)
        edits = await editor.text_document_formatting_async(lsp.DocumentFormattingParams(editing.id, options))
        assert [e.new_text for e in edits or ()] == ["FROM scratch\nCOPY a /a\n"]
        versioned = lsp.VersionedTextDocumentIdentifier(version=3, uri=editing.uri)
        whole = lsp.TextDocumentContentChangeWholeDocument(text="from scratch\nLABEL a=b\ncopy   a    /a\n")
        editor.text_document_did_change(lsp.DidChangeTextDocumentParams(versioned, [whole]))
        part = await editor.text_document_range_formatting_async(
            lsp.DocumentRangeFormattingParams(editing.id, lsp.Range(lsp.Position(2, 0), lsp.Position(2, 4)), options)
        )
        assert [(e.range.start.line, e.new_text) for e in part or ()] == [(2, "COPY a /a\n")]

    session(tmp_path, work)


def test_what_a_file_consists_of(tmp_path: Path) -> None:
    async def work(editing: Session, done: lsp.InitializeResult) -> None:
        editor = editing.editor
        legend = done.capabilities.semantic_tokens_provider
        assert legend is not None
        editing.open("ARG V=3\nFROM alpine:$V\n# é\nCOPY a /b\n")
        found = await editor.text_document_semantic_tokens_full_async(lsp.SemanticTokensParams(editing.id))
        assert found is not None
        assert [list(found.data[i : i + 5]) for i in range(0, 20, 5)] == [[0, 0, 3, 0, 0], [0, 4, 1, 3, 1], [1, 0, 4, 0, 0], [0, 13, 1, 3, 0]]
        shown = await editor.text_document_document_link_async(lsp.DocumentLinkParams(editing.id))
        assert [link.target for link in shown or ()] == ["https://hub.docker.com/_/alpine"]
        hints = await editor.text_document_inlay_hint_async(lsp.InlayHintParams(editing.id, lsp.Range(lsp.Position(0, 0), lsp.Position(9, 0))))
        assert [(h.position.line, h.position.character, h.label) for h in hints or ()] == [(1, 14, "=3")]
        help_ = await editor.text_document_signature_help_async(lsp.SignatureHelpParams(**editing.at(3, 7)))
        assert help_ is not None
        assert (help_.signatures[0].label, help_.active_parameter) == ("COPY [OPTIONS] SRC... DEST", 2)

    session(tmp_path, work)


def test_columns_count_what_was_agreed_on_and_given_arguments_have_values(tmp_path: Path) -> None:
    async def work(editing: Session, done: lsp.InitializeResult) -> None:
        assert done.capabilities.position_encoding == lsp.PositionEncodingKind.Utf8
        editing.open('FROM scratch\nARG GIVEN\nRUN echo "😀" $GIVEN\n')
        hover = await editing.editor.text_document_hover_async(lsp.HoverParams(**editing.at(2, 18)))
        assert hover is not None
        assert isinstance(hover.contents, lsp.MarkupContent)
        assert '`GIVEN` = `"7"`' in hover.contents.value
        assert hover.range is not None
        assert (hover.range.start.character, hover.range.end.character) == (17, 22), "bytes before it"

    general = lsp.GeneralClientCapabilities(position_encodings=[lsp.PositionEncodingKind.Utf8])
    session(tmp_path, work, lsp.ClientCapabilities(general=general))


def test_without_pygls_the_command_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "pygls.py").write_text("raise ImportError('not here')\n")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPO)])}
    result = subprocess.run([sys.executable, "-m", "dockc", "lsp"], env=environ, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == (
        "error: the language server needs pygls, which is not installed\n  help: pip install 'dockc[lsp]'\n"
    )


def test_other_commands_do_not_load_it() -> None:
    code = "import sys; from dockc.line.main import run; run(['explain', 'COPY']); sys.exit(any(m.startswith(('pygls', 'lsprotocol')) for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, check=False).returncode == 0


def test_a_document_that_was_never_opened(tmp_path: Path) -> None:
    """One that can be read is; for another the error says so, and no trace of the program."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY a /b\n")

    async def work(editing: Session, done: lsp.InitializeResult) -> None:
        ask = editing.editor.text_document_document_symbol_async
        assert await asyncio.wait_for(ask(lsp.DocumentSymbolParams(editing.id)), 60)
        (tmp_path / "binary").write_bytes(b"\xff\xfe\xfa")
        for name in ("none", "binary", "a/b"):
            with pytest.raises(JsonRpcException, match="is not open and cannot be read") as told:
                await asyncio.wait_for(ask(lsp.DocumentSymbolParams(lsp.TextDocumentIdentifier((tmp_path / name).as_uri()))), 60)
            assert told.value.code == -32602
            assert "Traceback" not in str(told.value.data)

    session(tmp_path, work)
