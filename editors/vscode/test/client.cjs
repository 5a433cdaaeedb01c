// client.cjs EXTENSION COMMAND ARG...: runs the packaged extension with vscode-languageclient and a stand-in for the editor's own module,
// opens a Dockerfile and prints what the server published and answered, as JSON. The protocol and the client are real; the editor is not.

const Module = require("node:module");
const path = require("node:path");

const [extension, command, folder] = process.argv.slice(2);
const vscode = require(path.join(__dirname, "editor.cjs"))(command, folder);
const load = Module._load;
Module._load = (name, ...rest) => (name === "vscode" ? vscode.module : load(name, ...rest));

async function main() {
  const { activate, deactivate } = require(path.resolve(extension));
  await activate({ subscriptions: [] });
  let published = [];
  if (!vscode.errors.length) {
    await vscode.open("FROM debian\nADD a /a\n");
    published = await vscode.published();
  }
  await deactivate();
  process.stdout.write(JSON.stringify({ published, errors: vscode.errors }) + "\n");
  process.exit(0);
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
