// The worker: Pyodide with dockc. One request in, one reply out; everything it reads lies beside the page.

import { loadPyodide } from "pyodide";

// The folder of the page comes in the name: this module may have been imported by a blob, so that the page's policy holds here too.
const base = self.name;
const started = performance.now();
const SWITCHES = "Suspending" in WebAssembly;

// Packed files are unpacked on the way in, whatever the file server can do.
async function unpacked(name, type) {
  const response = await plainFetch(new URL(name + ".gz", base));
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  return new Response(response.body.pipeThrough(new DecompressionStream("gzip")), { headers: { "Content-Type": type } });
}

const plainFetch = self.fetch.bind(self);
self.fetch = (resource, options) =>
  String(resource.url ?? resource).endsWith("pyodide.asm.wasm") ? unpacked("pyodide.asm.wasm", "application/wasm") : plainFetch(resource, options);

async function start() {
  const library = unpacked("python.zip", "application/zip").then((response) => response.blob());
  const url = URL.createObjectURL(await library);
  const python = await loadPyodide({ indexURL: base, stdLibURL: url, lockFileContents: LOCKFILE, packageBaseUrl: base, env: { HOME: "/", TZ: "UTC" } });
  URL.revokeObjectURL(url);
  python.runPython("import playground_answers");
  return python;
}

const ready = start();
ready.then(
  (python) => postMessage({ ready: true, milliseconds: performance.now() - started, python: python.version ?? "" }),
  (error) => postMessage({ broken: String(error?.message ?? error) }),
);

onmessage = async ({ data }) => {
  const python = await ready;
  const { kind, ...request } = data;
  const begun = performance.now();
  try {
    if (kind === "modules") {
      const names = python.runPython("import json, sys; json.dumps(sorted({m.split('.')[0] for m in sys.modules} - sys.stdlib_module_names))");
      postMessage({ id: request.id, modules: JSON.parse(names) });
      return;
    }
    const call = python.pyimport("playground_answers")[kind === "fix" ? "fix" : "answer"];
    // Where the browser can, on a stack of its own: a worker's has half the size, too little for a file of a thousand steps.
    const reply = JSON.parse(await (SWITCHES ? call.callPromising(JSON.stringify(request)) : call(JSON.stringify(request))));
    call.destroy();
    postMessage({ ...reply, milliseconds: performance.now() - begun });
  } catch (error) {
    // What ended the interpreter itself (its stack was too small) ends this worker; the page begins another.
    const fatal = error?.pyodide_fatal_error || error instanceof RangeError || error instanceof WebAssembly.RuntimeError;
    postMessage({ id: request.id, failed: String(error?.message ?? error), fatal: Boolean(fatal) });
  }
};
