// A stand-in for the module "vscode", which only the editor itself has: as much of it as the client uses for one open document.

const { pathToFileURL } = require("node:url");
const path = require("node:path");

class Disposable {
  constructor(done = () => {}) {
    this.done = done;
  }
  dispose() {
    this.done();
  }
  static from(...all) {
    return new Disposable(() => all.forEach((one) => one.dispose()));
  }
}

class EventEmitter {
  constructor() {
    this.listeners = new Set();
    this.event = (listener, that, disposables) => {
      const bound = that ? listener.bind(that) : listener;
      this.listeners.add(bound);
      const end = new Disposable(() => this.listeners.delete(bound));
      disposables?.push(end);
      return end;
    };
  }
  fire(value) {
    return Promise.all([...this.listeners].map((listener) => listener(value)));
  }
  dispose() {}
}

class Position {
  constructor(line, character) {
    Object.assign(this, { line, character });
  }
}

class Range {
  constructor(start, end, endLine, endCharacter) {
    this.start = endLine === undefined ? start : new Position(start, end);
    this.end = endLine === undefined ? end : new Position(endLine, endCharacter);
  }
}

class Diagnostic {
  constructor(range, message, severity) {
    Object.assign(this, { range, message, severity });
  }
}

class CancellationTokenSource {
  constructor() {
    this.token = { isCancellationRequested: false, onCancellationRequested: () => new Disposable() };
  }
  cancel() {}
  dispose() {}
}

function uriOf(text) {
  const url = new URL(text);
  return {
    scheme: url.protocol.slice(0, -1),
    authority: url.host,
    path: url.pathname,
    query: "",
    fragment: "",
    fsPath: decodeURIComponent(url.pathname),
    toString: () => text,
    with: () => uriOf(text),
    toJSON: () => text,
  };
}

// Anything that is only registered or subscribed to, and enumerations by their names.
const nothing = () => new Disposable();
const registry = (own = {}) => new Proxy(own, { get: (target, name) => (name in target ? target[name] : nothing) });
const names = new Proxy({}, { get: (_, name) => name });

module.exports = (command, folder) => {
  const opened = new EventEmitter();
  const errors = [];
  const documents = [];
  let arrived;
  const diagnostics = new Promise((resolve) => (arrived = resolve));
  const collection = {
    set: (uri, found) => found && arrived(found.map((one) => ({ line: one.range.start.line, code: one.code?.value ?? one.code, message: one.message }))),
    delete: () => {},
    clear: () => {},
    dispose: () => {},
  };
  const settings = { path: command, buildArgs: {} };
  const vscode = {
    version: "1.90.0",
    env: { appName: "test", language: "en", clipboard: {} },
    workspace: registry({
      isTrusted: true,
      textDocuments: documents,
      notebookDocuments: [],
      workspaceFolders: undefined,
      workspaceFile: undefined,
      getConfiguration: (section) => ({ get: (key, other) => (section === "dockc" ? (settings[key] ?? other) : other) }),
      onDidOpenTextDocument: opened.event,
      getWorkspaceFolder: () => undefined,
      createFileSystemWatcher: () => ({ onDidChange: nothing, onDidCreate: nothing, onDidDelete: nothing, dispose() {} }),
      fs: {},
    }),
    window: registry({
      visibleTextEditors: [],
      activeTextEditor: undefined,
      tabGroups: { all: [], onDidChangeTabs: nothing, onDidChangeTabGroups: nothing },
      createOutputChannel: () => ({ append: () => {}, appendLine: (text) => void errors.push(text), show: () => {}, replace: () => {}, clear: () => {}, dispose: () => {}, info: () => {}, error: (text) => void errors.push(text), warn: () => {}, debug: () => {}, trace: () => {}, onDidChangeLogLevel: nothing, logLevel: 3 }),
      showErrorMessage: async (message, ...buttons) => void errors.push([message, ...buttons].join(" | ")),
      showWarningMessage: async (message) => void errors.push(message),
      showInformationMessage: async () => undefined,
    }),
    languages: registry({
      createDiagnosticCollection: () => collection,
      match: (selector, document) => ([selector].flat().some((one) => one.language === document.languageId) ? 10 : 0),
    }),
    commands: registry({ registerCommand: nothing, executeCommand: async () => undefined }),
    extensions: { all: [], getExtension: () => undefined, onDidChange: nothing },
    Uri: { parse: uriOf, file: (name) => uriOf(pathToFileURL(name).toString()) },
    l10n: { t: (text) => text },
    Disposable, EventEmitter, Position, Range, Diagnostic, CancellationTokenSource,
    Location: class { constructor(uri, range) { Object.assign(this, { uri, range }); } },
    DiagnosticRelatedInformation: class {},
    CancellationError: class extends Error {},
    RelativePattern: class {},
    MarkdownString: class { constructor(value) { this.value = value; } },
    SnippetString: class {},
    Hover: class {}, Command: class {},
  };
  for (const base of ["CompletionItem", "CodeLens", "CodeAction", "DocumentLink", "SymbolInformation", "InlayHint", "CallHierarchyItem", "TypeHierarchyItem", "WorkspaceSymbol"]) {
    vscode[base] = class {};
  }
  const kinds = { Invoke: 0, Automatic: 1 };
  for (const kind of ["DiagnosticSeverity", "DiagnosticTag", "CompletionItemKind", "CompletionItemTag", "CompletionTriggerKind", "SignatureHelpTriggerKind", "CodeActionKind", "CodeActionTriggerKind", "SymbolKind", "SymbolTag", "DocumentHighlightKind", "FoldingRangeKind", "TextDocumentSaveReason", "InlayHintKind", "StatusBarAlignment", "ProgressLocation", "LogLevel", "ExtensionMode", "NotebookCellKind", "InlineCompletionTriggerKind", "FileType", "EndOfLine", "ViewColumn", "LanguageStatusSeverity", "TextDocumentChangeReason"]) {
    vscode[kind] = names;
  }
  vscode.CompletionTriggerKind = vscode.SignatureHelpTriggerKind = kinds;
  const kindOf = (value) => ({ value, append: (part) => kindOf(value ? `${value}.${part}` : part) });
  vscode.CodeActionKind = { Empty: kindOf(""), QuickFix: kindOf("quickfix"), Refactor: kindOf("refactor"), Source: kindOf("source"), SourceFixAll: kindOf("source.fixAll") };
  vscode.DiagnosticSeverity = { Error: 0, Warning: 1, Information: 2, Hint: 3 };
  return {
    module: new Proxy(vscode, { get: (target, name) => target[name] }),
    errors,
    open: async (text) => {
      const uri = uriOf(pathToFileURL(path.join(folder, "Dockerfile")).toString());
      const document = { uri, fileName: uri.fsPath, languageId: "dockerfile", version: 1, isClosed: false, isDirty: false, lineCount: text.split("\n").length, getText: () => text };
      documents.push(document);
      await opened.fire(document);
    },
    published: () => Promise.race([diagnostics, new Promise((_, fail) => setTimeout(() => fail(new Error("nothing was published")), 60000))]),
  };
};
