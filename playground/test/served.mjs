// A browser and a server for the tests. The server is `dockc playground` where DOCKC names the program.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer, request } from "node:http";
import { createInterface } from "node:readline";

import { chromium } from "playwright-core";

const PLACES = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export async function browser() {
  const executablePath = PLACES.find((place) => place && existsSync(place));
  if (!executablePath) throw new Error("no Chromium; name one in CHROMIUM");
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
}

// Starts the server; gives its address and a function that ends it.
export async function server() {
  const [program, ...words] = JSON.parse(process.env.DOCKC ?? '["dockc"]');
  const child = spawn(program, [...words, "playground", "--port=0"], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout })) {
    const found = /http:\/\/\S+/.exec(line);
    if (found) return { address: found[0], end: () => child.kill("SIGINT"), ended: new Promise((resolve) => child.on("exit", resolve)) };
  }
  throw new Error("the server ended before it said where it is");
}

// Passes requests on to the playground's server and counts them, and the bytes of the bodies that came back.
export async function counter(target) {
  const seen = { requests: 0, bytes: 0 };
  const between = createServer((asked, reply) => {
    seen.requests++;
    const on = request(new URL(asked.url, target), { method: asked.method, headers: asked.headers }, (got) => {
      reply.writeHead(got.statusCode, got.rawHeaders);
      got.on("data", (data) => (seen.bytes += data.length));
      got.pipe(reply);
    });
    asked.pipe(on);
  });
  await new Promise((resolve) => between.listen(0, "127.0.0.1", resolve));
  return { address: `http://127.0.0.1:${between.address().port}/`, seen, end: () => (between.closeAllConnections(), between.close()) };
}

// Waits until the page has answered at least so many times in all.
export const answers = (page, count) => page.waitForFunction((n) => Number(document.documentElement.dataset.answers ?? 0) >= n, count, { timeout: 60_000 });
export const answered = (page) => page.evaluate(() => Number(document.documentElement.dataset.answers ?? 0));

// Does something and waits until the page shows the answer to what it then holds.
export async function after(page, action) {
  await action();
  await page.waitForFunction(() => window.playground.settled(), undefined, { timeout: 60_000 });
}

export const text = (page) => page.evaluate(() => window.playground.whole().text);
export const type = (page, value) =>
  page.evaluate((insert) => {
    const { view } = window.playground;
    view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert } });
  }, value);
