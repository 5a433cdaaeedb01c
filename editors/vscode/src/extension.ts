// Starts `dockc lsp` for Dockerfiles and restarts it when its settings change. All else the server does.

import * as vscode from "vscode";
import { LanguageClient } from "vscode-languageclient/node";

let client: LanguageClient | undefined;

/** Leaves it to us to say that the server does not start: the library knows no more than that there is no connection. */
class Client extends LanguageClient {
  starting = true;

  override error(message: string, data?: unknown, show?: boolean | "force"): void {
    super.error(message, data, this.starting ? false : show);
  }
}

async function start(): Promise<void> {
  const settings = vscode.workspace.getConfiguration("dockc");
  const command = settings.get<string>("path") || "dockc";
  const started = new Client(
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
    started.starting = false;
  } catch (error) {
    if (client === started) client = undefined;
    const reason = error instanceof Error ? error.message : String(error);
    const help = "Install dockc with its extra `lsp`, or say in dockc.path where it is.";
    void complain(`dockc: \`${command} lsp\` does not start (${reason}). ${help}`); // until somebody reads it
  }
}

/** Shows an error with a button that leads to the settings; one without any is gone after seconds. */
async function complain(message: string): Promise<void> {
  const settings = "Open Settings";
  if ((await vscode.window.showErrorMessage(message, settings)) === settings) {
    const where = vscode.env.remoteName ? "openRemoteSettings" : "openSettings"; // the path is one on the machine of the server
    await vscode.commands.executeCommand(`workbench.action.${where}`, { query: "dockc.path" });
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
