// Makes the playground: `node playground/build.mjs` installs what it needs from npm and writes the static folder `playground/dist`.
//
//   python.zip.gz          dockc's pure part and the standard library that it needs, compiled by the very Pyodide that will run them
//   pyodide.asm.*          the interpreter; the WebAssembly is packed here, so that any file server will do
//   app.js, worker.js      bundled by esbuild
//   sw.js                  a service worker that keeps all of the above: the page works offline after the first visit

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = dirname(HERE);
const TARGET = join(HERE, "dist");
const FRESH = join(HERE, `dist.${process.pid}`);
const BUDGET = 8_000_000; // bytes of download

// Rooms of dockc that run builds, talk to networks or to editors: no use in a browser.
const LEFT_OUT = new Set(["runtime", "solver", "engine", "daemon", "client", "commands", "lsp", "line", "rpc", "pb", "generated", "formats"]);

// Of the standard library, what nothing here imports; a test holds that the rest is enough.
const NO_LIBRARY = [
  "_pyrepl", "curses", "dbm", "doctest", "ensurepip", "http", "idlelib", "imaplib", "ftplib", "lib2to3", "logging/handlers", "mailbox",
  "multiprocessing", "nntplib", "optparse", "pdb", "poplib", "profiling", "pydoc", "pydoc_data", "smtplib", "sqlite3", "test", "tkinter", "turtle",
  "turtledemo", "unittest", "venv", "wsgiref", "xmlrpc", "zipapp", "antigravity", "this", "cProfile", "profile", "pstats",
  "pickletools", "statistics", "trace", "tracemalloc", "xml", "_pydecimal", "webbrowser", "ipaddress", "_pyio", "urllib/request",
  "urllib/robotparser", "ssl", "plistlib", "bdb", "cmd", "compileall", "configparser", "fileinput", "filecmp", "getopt", "getpass",
  "gettext", "mimetypes", "netrc", "pickle", "pty", "py_compile", "rlcompleter", "sched", "shelve", "socketserver", "symtable", "tabnanny", "tty",
  "uuid", "wave", "argparse", "calendar", "colorsys", "ctypes", "concurrent/futures/process", "_aix_support", "_osx_support",
  "modulefinder", "pyclbr", "stringprep", "nturl2path", "asyncio/windows_events", "asyncio/windows_utils", 
  "turtle", "telnetlib", "cgi", "crypt", "optparse", "xdrlib",
];
// Codecs of alphabets: the text of a page is Unicode.
const CODECS = new Set(["__init__", "aliases", "ascii", "latin_1", "utf_8", "utf_16", "utf_16_le", "utf_16_be", "utf_8_sig", "cp437", "unicode_escape", "raw_unicode_escape", "idna", "punycode"]);

function install() {
  const wanted = Object.keys({ ...JSON.parse(readFileSync(join(HERE, "package.json"), "utf8")).dependencies, esbuild: 1, "playwright-core": 1 });
  if (wanted.every((name) => existsSync(join(HERE, "node_modules", name, "package.json")))) return;
  const done = spawnSync("npm", ["install", "--no-package-lock", "--no-fund", "--no-audit"], { cwd: HERE, stdio: ["ignore", "inherit", "inherit"] });
  if (done.error) throw new Error(`npm cannot be run: ${done.error.message}`);
  if (done.status !== 0) throw new Error(`npm install ended with status ${done.status}`);
}

function* files(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (entry.name !== "__pycache__" && !LEFT_OUT.has(entry.name)) yield* files(path);
    } else if (entry.name.endsWith(".py")) yield path;
  }
}

// Compiles as the interpreter of the page will: same version, same magic number. Stored, not deflated: the whole archive is
// packed once for the way, and the interpreter then reads it without unpacking every module.
const PACK = `
import importlib._bootstrap_external as external, io, marshal, zipfile
def pack(names, library, dropped, codecs):
    sources = []
    for number, name in enumerate(names):
        with open(f"/in/{number}", "rb") as stream:
            sources.append((name, stream.read()))
    with zipfile.ZipFile(library) as given:
        for name in given.namelist():
            home, _, stem = name.removesuffix(".py").rpartition("/")
            if home == "encodings" and stem not in codecs:
                continue
            if name.endswith(".py") and not any(name == d + ".py" or name.startswith(d + "/") for d in dropped):
                sources.append((name, given.read(name)))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as out:
        for name, data in sorted(sources):
            code = compile(data, name, "exec", dont_inherit=True, optimize=1 if name.startswith("dockc/") else 2)
            head = external.MAGIC_NUMBER + (0).to_bytes(4, "little") + bytes(8)
            out.writestr(zipfile.ZipInfo(name + "c", (2020, 1, 1, 0, 0, 0)), head + marshal.dumps(code))
    return target.getvalue()
`;

async function python() {
  const { loadPyodide } = await import("pyodide");
  const folder = join(HERE, "node_modules", "pyodide");
  const py = await loadPyodide({ indexURL: folder + "/", args: ["-X", "no_debug_ranges"] }); // no columns in tracebacks: a fifth smaller;
  py.FS.writeFile("/library.zip", readFileSync(join(folder, "python_stdlib.zip")));
  py.FS.mkdirTree("/in");
  const names = [];
  const add = (name, path) => py.FS.writeFile(`/in/${names.push(name) - 1}`, readFileSync(path));
  for (const path of files(join(ROOT, "dockc"))) add(relative(ROOT, path).replaceAll("\\", "/"), path);
  add("playground_answers.py", join(HERE, "src", "answers.py"));
  py.runPython(PACK);
  const zipped = py.globals.get("pack")(py.toPy(names), "/library.zip", py.toPy(NO_LIBRARY), py.toPy([...CODECS]));
  return Buffer.from(zipped.toJs());
}

async function main() {
  const [major] = process.versions.node.split(".").map(Number);
  if (major < 20) throw new Error(`needs Node 20 or newer, this is ${process.version}`);
  install();
  const esbuild = await import("esbuild");
  rmSync(FRESH, { recursive: true, force: true });
  mkdirSync(FRESH, { recursive: true });
  const pyodide = join(HERE, "node_modules", "pyodide");
  const { info } = JSON.parse(readFileSync(join(pyodide, "pyodide-lock.json"), "utf8"));
  await esbuild.build({
    entryPoints: { app: join(HERE, "src/app.mjs"), worker: join(HERE, "src/worker.mjs") },
    bundle: true,
    format: "esm",
    minify: true,
    target: "es2022",
    outdir: FRESH,
    external: ["node:*", "ws"],
    legalComments: "none",
    define: { LOCKFILE: JSON.stringify(JSON.stringify({ info, packages: {} })) },
    logLevel: "warning",
  });
  const zipped = await python();
  writeFileSync(join(FRESH, "python.zip.gz"), gzipSync(zipped, { level: 9 }));
  writeFileSync(join(FRESH, "pyodide.asm.wasm.gz"), gzipSync(readFileSync(join(pyodide, "pyodide.asm.wasm")), { level: 9 }));
  cpSync(join(pyodide, "pyodide.asm.mjs"), join(FRESH, "pyodide.asm.mjs"));
  for (const name of ["index.html", "app.css", "icon.svg"]) cpSync(join(HERE, "src", name), join(FRESH, name));
  writeFileSync(join(FRESH, "licences.txt"), licences());
  const names = readdirSync(FRESH).filter((name) => name !== "licences.txt").sort();
  const hash = createHash("sha256");
  for (const name of names) hash.update(name).update(readFileSync(join(FRESH, name)));
  const version = hash.digest("hex").slice(0, 16);
  writeFileSync(
    join(FRESH, "sw.js"),
    readFileSync(join(HERE, "src/sw.js"), "utf8").replace("__VERSION__", version).replace("__FILES__", JSON.stringify(["./", ...names])),
  );
  const total = names.reduce((sum, name) => sum + statSync(join(FRESH, name)).size, 0);
  if (total > BUDGET) throw new Error(`${total} bytes to download, more than ${BUDGET}`);
  rmSync(TARGET, { recursive: true, force: true });
  renameSync(FRESH, TARGET);
  for (const name of readdirSync(TARGET).sort()) console.log(`${String(statSync(join(TARGET, name)).size).padStart(9)}  ${name}`);
  console.log(`${String(total).padStart(9)}  bytes to download`);
}

// Whose work is in the bundle, and under what terms.
function licences() {
  const parts = ["The playground contains, besides dockc (Apache-2.0):\n"];
  const modules = join(HERE, "node_modules");
  const folders = readdirSync(modules).flatMap((name) => (name.startsWith("@") ? readdirSync(join(modules, name)).map((n) => `${name}/${n}`) : [name]));
  for (const name of folders.filter((n) => !n.startsWith(".") && !/^(@?esbuild|playwright|@types|ws$)/.test(n)).sort()) {
    const about = JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8"));
    const file = readdirSync(join(modules, name)).find((n) => /^licen[cs]e/i.test(n));
    parts.push(`${"-".repeat(80)}\n${name} ${about.version} (${about.license})\n\n${file ? readFileSync(join(modules, name, file), "utf8") : ""}`);
  }
  parts.push(`${"-".repeat(80)}\nPython's standard library (PSF-2.0): https://docs.python.org/3/license.html\n`);
  return parts.join("\n");
}

try {
  await main();
} catch (error) {
  rmSync(FRESH, { recursive: true, force: true });
  console.error(process.env.DEBUG ? error : `error: ${error.message}`);
  process.exit(1);
}
