// A browser and a server for the tests. The server is `dockc playground` where DOCKC names the program.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
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

// Waits until the page has answered at least so many times in all.
export const answers = (page, count) => page.waitForFunction((n) => Number(document.documentElement.dataset.answers ?? 0) >= n, count, { timeout: 60_000 });
export const answered = (page) => page.evaluate(() => Number(document.documentElement.dataset.answers ?? 0));

// Does something and waits for an answer that knows of it.
export async function after(page, action) {
  const before = await answered(page);
  await action();
  await answers(page, before + 1);
  await page.waitForTimeout(300);
  await page.waitForFunction(() => true);
}

export const text = (page) => page.evaluate(() => window.playground.whole().text);
export const type = (page, value) =>
  page.evaluate((insert) => {
    const { view } = window.playground;
    view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert } });
  }, value);
