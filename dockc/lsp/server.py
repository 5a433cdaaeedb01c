"""The protocol: requests to `features` and `completion`, their answers to LSP types. No decision is taken here."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

from dockc.base.record import replace
from dockc.base.version import VERSION
from dockc.errors import DockcError
from dockc.grammar.diagnostic import Applicability, Edit, Severity
from dockc.grammar.edits import with_line_ends
from dockc.grammar.source import Span
from dockc.linter.finding import Finding
from dockc.linter.memory import Memory
from dockc.linter.options import LintOptions
from dockc.linter.runner import lint_source
from dockc.lsp import completion, inlays, links, minimal, tokens
from dockc.lsp.features import Document, Symbol
from dockc.lsp.images import image_facts, local_images
from dockc.lsp.item import Item
from dockc.lsp.places import UTF16, Place, Places
from dockc.lsp.signature import signatures

_DELAY = 0.15
"""Seconds without a change before a file is linted whose last run was slow."""
_QUICK = 0.05
"""A run that took no longer than so many seconds needs no waiting."""

_SEVERITIES = {
    Severity.ERROR: lsp.DiagnosticSeverity.Error,
    Severity.WARNING: lsp.DiagnosticSeverity.Warning,
    Severity.INFO: lsp.DiagnosticSeverity.Information,
    Severity.STYLE: lsp.DiagnosticSeverity.Hint,
}
_ITEMS = {
    "keyword": lsp.CompletionItemKind.Keyword,
    "flag": lsp.CompletionItemKind.Property,
    "stage": lsp.CompletionItemKind.Module,
    "variable": lsp.CompletionItemKind.Variable,
    "image": lsp.CompletionItemKind.Reference,
    "value": lsp.CompletionItemKind.Value,
    "file": lsp.CompletionItemKind.File,
}
_SYMBOLS = {"stage": lsp.SymbolKind.Module, "variable": lsp.SymbolKind.Variable, "instruction": lsp.SymbolKind.Event}
_FIX_ALL = "source.fixAll"


class File:
    """An open file at one version.

    Attributes:
        version: of the client; document: the text, read; places: positions in it.
        findings: what lint found in this version, or None while that is not known.
        memory: what the next version can take over.
    """

    def __init__(
        self,
        uri: str,
        version: int | None,
        text: str,
        units: str,
        build_args: dict[str, str],
        memory: Memory | None = None,
    ) -> None:
        path = to_fs_path(uri)
        # A lone surrogate cannot be written to a file; it takes one unit, as its replacement does.
        clean = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        self.uri = uri
        self.path = Path(path) if path else None
        self.version = version
        self.memory = memory or Memory()  # what has not changed is not judged again
        self.document = Document(clean, self.path.name if self.path else "Dockerfile", build_args, self.memory.lines)
        self.places = Places(self.document.source, units)
        self.findings: tuple[Finding, ...] | None = None

    def offset(self, position: lsp.Position) -> int:
        """The character at a position."""
        return self.places.offset(Place(position.line, position.character))

    def range(self, span: Span) -> lsp.Range:
        """A span as a range."""
        start, end = self.places.range(span)
        return lsp.Range(lsp.Position(*start), lsp.Position(*end))

    def location(self, span: Span) -> lsp.Location:
        """A span as a location."""
        return lsp.Location(self.uri, self.range(span))

    def edits(self, edits: Sequence[Edit]) -> list[lsp.TextEdit]:
        """Edits as text edits."""
        return [self.edit(edit) for edit in with_line_ends(edits, self.document.text)]

    def edit(self, edit: Edit) -> lsp.TextEdit:
        """An edit as it is."""
        return lsp.TextEdit(self.range(edit.span), edit.text)

    def exact_edit(self, edits: Sequence[Edit]) -> lsp.WorkspaceEdit:
        """Edits of this file as they are, line ends included."""
        return lsp.WorkspaceEdit(changes={self.uri: [self.edit(edit) for edit in edits]})

    def workspace_edit(self, edits: Sequence[Edit]) -> lsp.WorkspaceEdit:
        """Edits of this file."""
        return lsp.WorkspaceEdit(changes={self.uri: self.edits(edits)})


class Server(LanguageServer):
    """The server. Mutable state: open files by URI, running lint tasks by URI, and what the client configured."""

    def __init__(self) -> None:
        super().__init__("dockc", VERSION)
        self.files: dict[str, File] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.build_args: dict[str, str] = {}
        self.complained: set[str] = set()
        self.took: dict[str, float] = {}
        self.checker: Any = None
        self.settled = False

    def configure(self, options: Any) -> None:
        """Take the client's initialization options: `buildArgs`, values of ARGs by name."""
        given = options.get("buildArgs") if isinstance(options, dict) else getattr(options, "buildArgs", None)
        if given is not None and not isinstance(given, dict):
            given = getattr(given, "_asdict", dict)()
        self.build_args = {str(name): str(value) for name, value in (given or {}).items()}

    def file(self, uri: str) -> File:
        """A file as the client has it now.

        Raises:
            JsonRpcInvalidParams: the client has not opened it, and it cannot be read either.
        """
        text = self.workspace.get_text_document(uri)
        if uri not in self.workspace.text_documents:  # the client never opened it: what is on the disk counts
            try:
                text.source  # noqa: B018 - it is read here
            except (OSError, ValueError) as exc:
                raise JsonRpcInvalidParams(f"{uri} is not open and cannot be read: {exc}") from None
        known = self.files.get(uri)
        if known is None or known.version != text.version or text.version is None:
            units = str(getattr(self.workspace.position_encoding, "value", self.workspace.position_encoding) or UTF16)
            memory = known.memory if known is not None else None
            known = self.files[uri] = File(uri, text.version, text.source, units, self.build_args, memory)
        return known

    def options(self, file: File) -> LintOptions:
        """How a file is linted: configuration of its directory, saved or not; dockc's own defaults where that cannot be
        read.
        """
        from dockc.commands.lint.plan import LintRequest, make_plans

        try:
            request = LintRequest(files=("-",), stdin_name=str(file.path or ""), build_args=self.build_args)
            options = make_plans(request)[0].options
            if options.checker is not None:  # one for all runs: it remembers what ShellCheck said of a script
                if self.checker is None or getattr(self.checker, "identity", None) != getattr(
                    options.checker, "identity", None
                ):
                    self.checker = options.checker
                options = replace(options, checker=self.checker)
            return options
        except DockcError as error:
            self.complain(error)
            return LintOptions()

    def complain(self, error: DockcError) -> None:
        """Tell the user of something wrong around the files, once."""
        if error.message not in self.complained:
            self.complained.add(error.message)
            self.say(f"dockc: {error.message}")

    def say(self, message: str) -> None:
        """Show the user a warning."""
        self.window_show_message(lsp.ShowMessageParams(lsp.MessageType.Warning, message))

    def delay(self, uri: str) -> float:
        """How long to wait for a next change: not at all where the last run was quick."""
        return 0.0 if self.took.get(uri, _DELAY) <= _QUICK else _DELAY

    def changed(self, uri: str, delay: float) -> None:
        """Lint a file soon; a change before that starts the wait again."""
        old = self.tasks.pop(uri, None)
        if old is not None:
            old.cancel()
        self.tasks[uri] = asyncio.ensure_future(self._lint(uri, delay))

    async def _lint(self, uri: str, delay: float) -> None:
        await asyncio.sleep(delay)
        file = self.file(uri)
        await self.findings(file)
        if self.files.get(uri) is file:
            found = [_diagnostic(file, finding) for finding in file.findings or ()]
            self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, found, file.version))
        self.settle()

    def settle(self) -> None:
        """After the first run everything is loaded. What lives now lives on: no collection of garbage need look at it
        again, which would cost more than judging a change.
        """
        if not self.settled:
            self.settled = True
            gc.collect()
            gc.freeze()

    async def findings(self, file: File) -> tuple[Finding, ...]:
        """What lint says about a file; waits for it where it is not known yet."""
        if file.findings is None:
            options = self.options(file)
            begun = time.monotonic()
            try:
                report = await asyncio.to_thread(lint_source, file.document.front, options, memory=file.memory)
            except DockcError as error:  # ShellCheck does not run: the rest does
                self.complain(error)
                options = replace(options, checker=None, shellcheck=False)
                report = await asyncio.to_thread(lint_source, file.document.front, options, memory=file.memory)
            self.took[file.uri] = time.monotonic() - begun
            file.findings = report.findings
        return file.findings

    def closed(self, uri: str) -> None:
        """Forget a file."""
        task = self.tasks.pop(uri, None)
        if task is not None:
            task.cancel()
        self.files.pop(uri, None)
        self.took.pop(uri, None)
        self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, []))


def _diagnostic(file: File, finding: Finding) -> lsp.Diagnostic:
    span = finding.span if finding.span.end > finding.span.start else _word(file, finding.span)
    message = f"{finding.message}\n{finding.help}" if finding.help else finding.message
    return lsp.Diagnostic(
        range=file.range(span),
        message=message,
        severity=_SEVERITIES[finding.severity],
        code=finding.code,
        code_description=lsp.CodeDescription(finding.url) if finding.url else None,
        source="dockc",
    )


def _word(file: File, span: Span) -> Span:
    """Something to underline where a finding is about a gap."""
    text = file.document.text
    if span.start < len(text) and text[span.start] != "\n":
        return Span(span.start, span.start + 1)
    return Span(max(0, span.start - 1), span.start)


def _symbol(file: File, symbol: Symbol) -> lsp.DocumentSymbol:
    return lsp.DocumentSymbol(
        name=symbol.name or " ",
        kind=_SYMBOLS[symbol.kind],
        range=file.range(symbol.span),
        selection_range=file.range(symbol.name_span),
        detail=symbol.detail,
        children=[_symbol(file, child) for child in symbol.children],
    )


def _actions(
    server: Server, file: File, params: lsp.CodeActionParams, findings: Sequence[Finding]
) -> list[lsp.CodeAction]:
    start, end = file.offset(params.range.start), file.offset(params.range.end)
    wanted = [str(getattr(kind, "value", kind)) for kind in params.context.only or ()]

    def allowed(kind: str) -> bool:
        return not wanted or any(kind == one or kind.startswith(f"{one}.") for one in wanted)

    actions = []
    if allowed("quickfix"):
        for finding in findings:
            if finding.span.start <= end and start <= max(finding.span.end, finding.span.start):
                actions += _quick_fixes(file, finding)
    if wanted and allowed(_FIX_ALL):
        actions += _fix_all(server, file)
    return actions


def _quick_fixes(file: File, finding: Finding) -> list[lsp.CodeAction]:
    found = [_diagnostic(file, finding)]
    actions = []
    if finding.fix is not None and finding.fix.applicability is not Applicability.DISPLAY:
        safe = finding.fix.applicability is Applicability.SAFE
        actions.append(
            lsp.CodeAction(
                title=f"{finding.fix.title} ({finding.code})" + ("" if safe else ", may change what is built"),
                kind=lsp.CodeActionKind.QuickFix,
                diagnostics=found,
                is_preferred=safe,
                edit=file.workspace_edit(finding.fix.edits),
            )
        )
    entry = file.document.entry_at(finding.span.start)
    if entry is not None and finding.severity is not Severity.ERROR:
        at = entry.node.span.start
        comment = Edit(Span(at, at), f"# dockc ignore={finding.code}\n")
        actions.append(
            lsp.CodeAction(
                title=f"Suppress {finding.code} for this instruction",
                kind=lsp.CodeActionKind.QuickFix,
                diagnostics=found,
                edit=file.workspace_edit([comment]),
            )
        )
    return actions


def _fix_all(server: Server, file: File) -> list[lsp.CodeAction]:
    from dockc.linter.fixes import fix_source

    fixed = fix_source(file.document.source, server.options(file))
    if fixed.text == file.document.text:
        return []
    count = len(fixed.applied)
    title = f"Fix {count} finding{'s' * (count != 1)}"
    return [
        lsp.CodeAction(
            title=title,
            kind=lsp.CodeActionKind(_FIX_ALL),
            edit=file.exact_edit(minimal.edits(file.document.text, fixed.text)),
        )
    ]


def make_server() -> Server:
    """A server with all its features."""
    server = Server()
    _lifecycle(server)
    _navigation(server)
    _editing(server)
    _reading(server)
    return server


def _lifecycle(server: Server) -> None:
    @server.feature(lsp.INITIALIZE)
    def initialize(ls: Server, params: lsp.InitializeParams) -> None:
        ls.configure(params.initialization_options)

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    async def opened(ls: Server, params: lsp.DidOpenTextDocumentParams) -> None:
        ls.changed(params.text_document.uri, 0)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    async def changed(ls: Server, params: lsp.DidChangeTextDocumentParams) -> None:
        ls.changed(params.text_document.uri, ls.delay(params.text_document.uri))

    @server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    async def saved(ls: Server, params: lsp.DidSaveTextDocumentParams) -> None:
        ls.changed(params.text_document.uri, 0)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    async def closed(ls: Server, params: lsp.DidCloseTextDocumentParams) -> None:
        ls.closed(params.text_document.uri)


def _navigation(server: Server) -> None:
    @server.feature(lsp.TEXT_DOCUMENT_HOVER)
    def hover(ls: Server, params: lsp.HoverParams) -> lsp.Hover | None:
        file = ls.file(params.text_document.uri)
        found = file.document.hover(file.offset(params.position), file.findings or ())
        if found is None:
            return None
        return lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, found.text), file.range(found.span))

    @server.feature(lsp.TEXT_DOCUMENT_DEFINITION)
    def definition(ls: Server, params: lsp.DefinitionParams) -> list[lsp.Location]:
        file = ls.file(params.text_document.uri)
        return [file.location(span) for span in file.document.definition(file.offset(params.position))]

    @server.feature(lsp.TEXT_DOCUMENT_REFERENCES)
    def references(ls: Server, params: lsp.ReferenceParams) -> list[lsp.Location]:
        file = ls.file(params.text_document.uri)
        spans = file.document.references(file.offset(params.position), definitions=params.context.include_declaration)
        return [file.location(span) for span in spans]

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT)
    def highlight(ls: Server, params: lsp.DocumentHighlightParams) -> list[lsp.DocumentHighlight]:
        file = ls.file(params.text_document.uri)
        spans = file.document.references(file.offset(params.position), definitions=True)
        return [lsp.DocumentHighlight(file.range(span)) for span in spans]

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def symbols(ls: Server, params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol]:
        file = ls.file(params.text_document.uri)
        return [_symbol(file, symbol) for symbol in file.document.symbols]

    @server.feature(lsp.TEXT_DOCUMENT_FOLDING_RANGE)
    def folding(ls: Server, params: lsp.FoldingRangeParams) -> list[lsp.FoldingRange]:
        file = ls.file(params.text_document.uri)
        kinds = {True: lsp.FoldingRangeKind.Comment, False: lsp.FoldingRangeKind.Region}
        return [lsp.FoldingRange(f.first - 1, f.last - 1, kind=kinds[f.comment]) for f in file.document.folds]


def _editing(server: Server) -> None:
    triggers = lsp.CompletionOptions(trigger_characters=["$", "{", "-", "=", ",", " ", "/", "#"])

    @server.feature(lsp.TEXT_DOCUMENT_COMPLETION, triggers)
    def complete(ls: Server, params: lsp.CompletionParams) -> lsp.CompletionList:
        file = ls.file(params.text_document.uri)
        found = completion.complete(
            file.document, file.offset(params.position), _images, lambda folder: _names(file, folder)
        )
        return lsp.CompletionList(is_incomplete=False, items=[_completion(file, item) for item in found])

    @server.feature(lsp.TEXT_DOCUMENT_PREPARE_RENAME)
    def prepare(ls: Server, params: lsp.PrepareRenameParams) -> lsp.Range | None:
        file = ls.file(params.text_document.uri)
        span = file.document.renameable(file.offset(params.position))
        return file.range(span) if span is not None else None

    @server.feature(lsp.TEXT_DOCUMENT_RENAME, lsp.RenameOptions(prepare_provider=True))
    def rename(ls: Server, params: lsp.RenameParams) -> lsp.WorkspaceEdit | None:
        file = ls.file(params.text_document.uri)
        try:
            edits = file.document.rename(file.offset(params.position), params.new_name)
        except DockcError as error:
            raise JsonRpcException(error.message, int(lsp.LSPErrorCodes.RequestFailed)) from None
        return file.workspace_edit(edits)

    @server.feature(
        lsp.TEXT_DOCUMENT_CODE_ACTION,
        lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.QuickFix, lsp.CodeActionKind.SourceFixAll]),
    )
    async def actions(ls: Server, params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
        file = ls.file(params.text_document.uri)
        return _actions(ls, file, params, await ls.findings(file))

    @server.feature(lsp.TEXT_DOCUMENT_FORMATTING)
    def formatting(ls: Server, params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
        from dockc.commands.fmt import format_text

        file = ls.file(params.text_document.uri)
        text = file.document.text
        try:
            after = format_text(text, file.document.source.name)
        except DockcError as error:
            ls.say(error.message)
            return []
        return [file.edit(edit) for edit in minimal.edits(text, after)]

    @server.feature(lsp.TEXT_DOCUMENT_RANGE_FORMATTING)
    def range_formatting(ls: Server, params: lsp.DocumentRangeFormattingParams) -> list[lsp.TextEdit]:
        from dockc.commands.fmt import format_text

        file = ls.file(params.text_document.uri)
        text = file.document.text
        start, end = file.offset(params.range.start), file.offset(params.range.end)
        try:
            after = format_text(text, file.document.source.name)
        except DockcError as error:
            ls.say(error.message)
            return []
        return [
            file.edit(edit) for edit in minimal.edits(text, after) if edit.span.start <= end and start <= edit.span.end
        ]


def _reading(server: Server) -> None:
    legend = lsp.SemanticTokensLegend(token_types=list(tokens.TYPES), token_modifiers=list(tokens.MODIFIERS))

    @server.feature(lsp.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL, legend)
    def semantic(ls: Server, params: lsp.SemanticTokensParams) -> lsp.SemanticTokens:
        file = ls.file(params.text_document.uri)
        data: list[int] = []
        line = column = 0
        for token in tokens.tokens(file.document):
            start, end = file.places.range(token.span)
            if start.line != line:
                line, column, down = start.line, 0, start.line - line
            else:
                down = 0
            data += [
                down,
                start.column - column,
                end.column - start.column,
                tokens.TYPES.index(token.type),
                int(token.declares),
            ]
            column = start.column
        return lsp.SemanticTokens(data)

    @server.feature(lsp.TEXT_DOCUMENT_SIGNATURE_HELP, lsp.SignatureHelpOptions(trigger_characters=[" "]))
    def signature(ls: Server, params: lsp.SignatureHelpParams) -> lsp.SignatureHelp | None:
        file = ls.file(params.text_document.uri)
        found = signatures(file.document, file.offset(params.position))
        if found is None:
            return None
        shown = [
            lsp.SignatureInformation(
                label=form, documentation=found.doc, parameters=[lsp.ParameterInformation(part) for part in parts]
            )
            for form, parts in found.forms
        ]
        return lsp.SignatureHelp(shown, active_signature=found.form, active_parameter=found.part)

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_LINK)
    def document_links(ls: Server, params: lsp.DocumentLinkParams) -> list[lsp.DocumentLink]:
        file = ls.file(params.text_document.uri)
        return [
            lsp.DocumentLink(file.range(one.span), target=one.target, tooltip=one.tooltip)
            for one in links.links(file.document)
        ]

    @server.feature(lsp.TEXT_DOCUMENT_INLAY_HINT)
    def inlay_hints(ls: Server, params: lsp.InlayHintParams) -> list[lsp.InlayHint]:
        file = ls.file(params.text_document.uri)
        span = Span(file.offset(params.range.start), file.offset(params.range.end))
        found = inlays.hints(file.document, span, _image_facts)
        return [
            lsp.InlayHint(lsp.Position(*file.places.place(one.offset)), one.text, tooltip=one.tooltip) for one in found
        ]


def _names(file: File, folder: str) -> list[str]:
    """Names in a directory of the context, which is taken to be the file's own directory."""
    if file.path is None:
        return []
    top = file.path.parent
    place = (top / folder.lstrip("/")).resolve()
    if not place.is_relative_to(top.resolve()):
        return []
    try:
        with os.scandir(place) as entries:
            found = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in itertools.islice(entries, _MANY)]
    except OSError:
        return []
    return sorted(found)


_MANY = 2000
"""Names of a directory that are looked at."""


def _image_facts(name: str) -> inlays.ImageFacts | None:
    from dockc.runtime.store.place import default_root

    try:
        return image_facts(default_root(), name)
    except DockcError:
        return None


def _completion(file: File, item: Item) -> lsp.CompletionItem:
    return lsp.CompletionItem(
        label=item.text,
        kind=_ITEMS[item.kind],
        detail=item.detail or None,
        documentation=lsp.MarkupContent(lsp.MarkupKind.Markdown, item.doc) if item.doc else None,
        text_edit=lsp.TextEdit(file.range(item.span), item.text),
    )


def _images() -> tuple[str, ...]:
    from dockc.runtime.store.place import default_root

    try:
        return local_images(default_root())
    except DockcError:
        return ()


def serve() -> None:
    """Serve one client over standard input and output, until it says goodbye."""
    make_server().start_io()
