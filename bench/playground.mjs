// How fast the playground is: `node bench/playground.mjs` after `node playground/build.mjs`, on a quiet machine.
// Prints milliseconds from the page's start to its first answer (cold and from the service worker's cache) and per answer while typing;
// requests and bytes of bodies that a first visit takes until its first answer, and then with what the service worker keeps for later.
// Wanted: at most 3,000 to the first answer, at most 8,000,000 bytes.

import { answered, answers, browser, counter, server, type } from "../playground/test/served.mjs";

const RUNS = 5;
const median = (numbers) => numbers.sort((a, b) => a - b)[numbers.length >> 1];

const served = await server();
const counted = await counter(served.address);
const chrome = await browser();
const cold = [];
const warm = [];
const keys = [];
for (let run = 0; run < RUNS; run++) {
  const context = await chrome.newContext();
  const page = await context.newPage();
  const first = async (into, go) => {
    const begun = performance.now();
    await go();
    await answers(page, 1);
    into.push(performance.now() - begun);
  };
  await first(cold, () => page.goto(served.address));
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  await first(warm, () => page.reload());
  const text = await page.evaluate(() => window.playground.whole().text);
  for (let n = 0; n < 10; n++) {
    const before = await answered(page);
    await type(page, `${text}RUN echo ${"x".repeat(n)}\n`);
    await answers(page, before + 1);
    keys.push(Number((await page.textContent("#status")).match(/(\d+) ms/)[1]));
  }
  await context.close();
}
const context = await chrome.newContext();
const page = await context.newPage();
await page.goto(counted.address);
await answers(page, 1);
const first = { ...counted.seen };
await page.evaluate(() => navigator.serviceWorker.ready);
await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
const kept = { ...counted.seen };
await page.reload();
await answers(page, 1);
const again = { requests: counted.seen.requests - kept.requests, bytes: counted.seen.bytes - kept.bytes };
console.log(
  JSON.stringify({
    "first answer": Math.round(median(cold)),
    "from the cache": Math.round(median(warm)),
    "while typing": median(keys),
    "first visit": first,
    "with what is kept": kept,
    "next visit": again,
  }),
);
await chrome.close();
counted.end();
served.end();
