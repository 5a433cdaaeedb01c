// Starts `dockc lsp` for Dockerfiles and restarts it when its settings change. All else the server does.

import * as vscode from "vscode";
import { LanguageClient } from "vscode-languageclient/node";

let client: LanguageClient | undefined;

async function start(): Promise<void> {
  const settings = vscode.workspace.getConfiguration("dockc");
  const command = settings.get<string>("path") || "dockc";
  const started = new LanguageClient(
    "dockc",
    "dockc",
    { command, args: ["lsp"] },
    {
      documentSelector: [{ language: "dockerfile" }],
      initializationOptions: { buildArgs: settings.get("buildArgs") ?? {} },
    },
  );
  client = started;
  try {
    await started.start();
  } catch (error) {
    client = undefined;
    const reason = error instanceof Error ? error.message : String(error);
    void vscode.window.showErrorMessage(`dockc: ${command} lsp does not start (${reason}). Install it with pip install 'dockc[lsp]', or set dockc.path.`);
  }
}

async function stop(): Promise<void> {
  const running = client;
  client = undefined;
  await running?.stop();
}

async function restart(): Promise<void> {
  await stop();
  await start();
}

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  context.subscriptions.push(
    vscode.commands.registerCommand("dockc.restart", restart),
    vscode.workspace.onDidChangeConfiguration((event) => (event.affectsConfiguration("dockc") ? restart() : undefined)),
    vscode.workspace.onDidGrantWorkspaceTrust(() => restart()),
  );
  if (vscode.workspace.isTrusted) {
    await start();
  }
}

export function deactivate(): Promise<void> {
  return stop();
}
