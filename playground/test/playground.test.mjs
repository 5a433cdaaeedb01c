// The playground in a real browser. `npm test` here, or tests/playground of the project, which makes and serves it first.

import assert from "node:assert/strict";
import { after as afterAll, before, test } from "node:test";

import { after, answers, browser, counter, server, text, type } from "./served.mjs";

let served;
let chrome;

before(async () => {
  [served, chrome] = await Promise.all([server(), browser()]);
});

afterAll(async () => {
  await chrome?.close();
  served?.end();
});

// A page of its own with what went wrong on it, and everything it asked the network for.
async function visit(t, fragment = "", options = {}) {
  const context = await chrome.newContext({ viewport: { width: 1300, height: 850 }, ...options });
  const page = await context.newPage();
  const troubles = [];
  const asked = [];
  page.on("pageerror", (error) => troubles.push(error.message));
  page.on("console", (message) => message.type() === "error" && troubles.push(message.text()));
  context.on("request", (request) => asked.push(request.url()));
  t.after(() => context.close());
  await page.goto(served.address + fragment);
  await answers(page, 1);
  return { context, page, troubles, asked };
}

const codes = (page) => page.$$eval(".findings li b", (all) => all.map((one) => one.textContent));
const open = async (page, name) => {
  await after(page, () => page.click(`#tab-${name}`));
  assert.equal(await page.getAttribute(`#tab-${name}`, "aria-selected"), "true");
};

test("the first answer finds the faults of the example, and asks nobody else", async (t) => {
  const { page, troubles, asked } = await visit(t);
  const found = await codes(page);
  for (const code of ["StageNameCasing", "DL3006", "context"]) assert.ok(found.includes(code), code);
  assert.match(await page.textContent("#status"), /^8 findings/);
  assert.deepEqual(troubles, []);
  const elsewhere = asked.filter((url) => !url.startsWith(served.address) && !url.startsWith(`blob:${served.address}`) && !url.startsWith("data:"));
  assert.deepEqual(elsewhere, []);
});

test("the worker has loaded dockc, the standard library and Pyodide's own, and no package of others", async (t) => {
  const { page } = await visit(t);
  for (const pane of ["formatted", "graph", "explain", "ir", "llb", "image"]) await open(page, pane);
  await page.click("#tab-findings");
  await after(page, () => page.click("#fix-all"));
  const { modules } = await page.evaluate(() => window.playground.modules());
  const known = ["__main__", "_hiwire", "_pyodide", "_pyodide_core", "dockc", "js", "playground_answers", "pyodide", "pyodide_js"];
  assert.deepEqual(modules.filter((name) => !known.includes(name) && !name.startsWith("_sysconfigdata")), []);
});

test("the policy forbids to send anything anywhere, to the page and to the worker", async (t) => {
  const { page } = await visit(t);
  const refused = await page.evaluate(() => fetch("http://127.0.0.2:1/").then(() => "sent", (error) => error.name));
  assert.equal(refused, "TypeError");
  const violation = await page.evaluate(
    () =>
      new Promise((resolve) => {
        document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
        new Image().src = "http://127.0.0.2:1/x.png";
      }),
  );
  assert.match(violation, /^img-src/);
  const policy = await page.evaluate(() => fetch("./").then((response) => response.headers.get("content-security-policy")));
  assert.match(policy, /connect-src 'self' blob:/);
  // The worker was begun by a blob of the page, so that the page's policy holds for it too.
  const told = await page.evaluate(
    () =>
      new Promise((resolve) => {
        const code = "fetch('http://127.0.0.2:1/').then(() => postMessage('sent'), () => postMessage('refused')); addEventListener('securitypolicyviolation', e => postMessage(e.effectiveDirective));";
        const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
        worker.onmessage = (event) => resolve(event.data);
      }),
  );
  assert.notEqual(told, "sent");
});

test("one fix, all fixes", async (t) => {
  const { page, troubles } = await visit(t);
  await after(page, () => page.click(".findings li:has-text('StageNameCasing') > button"));
  assert.match(await text(page), /AS deps\n/);
  assert.ok(!(await codes(page)).includes("StageNameCasing"));
  await after(page, () => page.click("#fix-all"));
  await page.waitForFunction(() => window.playground.whole().text.includes("ENV NODE_ENV=production"));
  assert.match(await text(page), /\nCOPY \. \.\n/);
  assert.deepEqual(troubles, []);
});

test("a fix is right behind characters outside the basic plane", async (t) => {
  const { page } = await visit(t);
  await after(page, () => type(page, "# 🐳🐳🐳\nFROM alpine:3 AS Ship\nRUN true\n"));
  await after(page, () => page.click(".findings li:has-text('StageNameCasing') > button"));
  assert.equal(await text(page), "# 🐳🐳🐳\nFROM alpine:3 AS ship\nRUN true\n");
});

test("a link carries everything, and a bad link says so", async (t) => {
  const { page } = await visit(t);
  await after(page, () => type(page, "# größer\nFROM alpine:3\nARG WHO\nRUN echo $WHO\n"));
  await page.fill("#args", "WHO=me");
  await page.selectOption("#platform", "linux/arm64");
  await page.click("#share");
  await page.waitForFunction(() => location.hash.length > 20);
  const hash = await page.evaluate(() => location.hash);
  const { page: other } = await visit(t, hash);
  const state = await other.evaluate(() => window.playground.whole());
  assert.equal(state.text, "# größer\nFROM alpine:3\nARG WHO\nRUN echo $WHO\n");
  assert.deepEqual([state.args, state.platform], ["WHO=me", "linux/arm64"]);
  await open(other, "image");
  await other.waitForSelector("#pane pre");
  assert.match(await other.textContent("#pane"), /"architecture": "arm64"/);
  for (const bad of ["#1.AAAA", "#1.%%%", "#9.x"]) {
    const { page: wrong, troubles } = await visit(t, bad);
    assert.ok((await text(wrong)).startsWith("# syntax"), bad);
    assert.deepEqual(troubles, []);
  }
});

test("what was typed outlives a reload, in its tab and at its address alone", async (t) => {
  const { page, context } = await visit(t);
  await after(page, () => type(page, "FROM alpine:3 AS mine\n"));
  await page.fill("#args", "A=1,2, B=3");
  await after(page, () => page.selectOption("#target", "mine"));
  await page.reload();
  await answers(page, 1);
  const state = await page.evaluate(() => window.playground.whole());
  assert.deepEqual([state.text, state.args, state.target], ["FROM alpine:3 AS mine\n", "A=1,2, B=3", "mine"]);
  const other = await context.newPage();
  await other.goto(served.address);
  await answers(other, 1);
  assert.ok((await text(other)).startsWith("# syntax"));
  await page.click("#share");
  await page.waitForFunction(() => location.hash.length > 20);
  await after(page, () => type(page, "FROM alpine:3\n"));
  await page.reload();
  await answers(page, 1);
  assert.equal(await text(page), "FROM alpine:3\n");
});

test("build arguments: commas in values, and what is none is marked", async (t) => {
  const { page } = await visit(t);
  await after(page, () => type(page, "FROM scratch\nARG A\nARG B\nENV X=$A Y=$B\n"));
  await after(page, () => page.fill("#args", "A=1,2, B=3"));
  await open(page, "image");
  assert.match(await page.textContent("#pane"), /"X=1,2"[^]*"Y=3"/);
  assert.equal(await page.getAttribute("#args", "aria-invalid"), "false");
  await after(page, () => page.fill("#args", "A"));
  assert.equal(await page.getAttribute("#args", "aria-invalid"), "true");
});

test("a link cannot hold a bomb", async (t) => {
  const { page } = await visit(t);
  const bomb = await page.evaluate(async () => {
    const stream = new Blob(['{"text":"', "x".repeat(30_000_000), '"}']).stream().pipeThrough(new CompressionStream("deflate-raw"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    let out = "";
    for (const byte of bytes) out += String.fromCharCode(byte);
    return "#1." + btoa(out).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  });
  await page.evaluate((hash) => (location.hash = hash), bomb);
  await page.waitForFunction(() => document.querySelector("#status").textContent.includes("holds too much"));
});

test("an error in the middle of typing is said, and goes away again", async (t) => {
  const { page, troubles } = await visit(t);
  await after(page, () => type(page, "FROM alpine:3\nRUNN make\n"));
  assert.match(await page.textContent("#pane"), /unknown instruction: RUNN/);
  for (const pane of ["formatted", "graph", "explain", "ir", "llb", "image"]) {
    await open(page, pane);
    assert.match(await page.textContent("#pane .trouble"), /unknown instruction: RUNN/, pane);
  }
  await after(page, () => type(page, "FROM alpine:3\nRUN make\n"));
  assert.equal(await page.$("#pane .trouble"), null);
  for (const broken of ["", "FROM", "FROM a\nCOPY <<X", "\u0000", 'FROM a\nENV A="', "FROM ${", "FROM a\nCOPY --from= a b", "\ud800"]) {
    await after(page, () => type(page, broken));
    assert.doesNotMatch(await page.textContent("#status"), /failed/, JSON.stringify(broken));
  }
  assert.deepEqual(troubles, []);
});

test("what is too long for the interpreter's stack ends it, and the next answer is right again", async (t) => {
  const { page } = await visit(t);
  await type(page, "FROM alpine:3\n" + "RUN true\n".repeat(30_000));
  await page.waitForFunction(() => document.querySelector("#status").textContent.includes("too long"), undefined, { timeout: 120_000 });
  await after(page, () => type(page, "FROM alpine:3\nRUN true\n"));
  assert.equal((await page.textContent("#status")).split(";")[0], "No findings");
});

test("a file of a thousand lines, typed into", async (t) => {
  const { page, troubles } = await visit(t);
  const long = "FROM alpine:3\n" + Array.from({ length: 999 }, (_, n) => (n % 3 ? `RUN echo ${n} > /f${n}` : `COPY f${n} /d/`)).join("\n") + "\n";
  await after(page, () => type(page, long));
  await page.evaluate(() => {
    const { view } = window.playground;
    for (const letter of "# hello") view.dispatch({ changes: { from: view.state.doc.length, insert: letter } });
  });
  await page.waitForFunction(() => window.playground.whole().text.endsWith("# hello"));
  await open(page, "llb");
  await page.waitForSelector("#pane pre");
  assert.match(await page.textContent("#pane pre"), /f998/);
  assert.deepEqual(troubles, []);
});

test("every pane shows its own", async (t) => {
  const { page, troubles } = await visit(t);
  const shown = { formatted: /^Use this/, graph: /build: FROM deps/, explain: /Dockerfile:10-11 /, ir: /After the passes of/, llb: /RUN npm run build/, image: /"architecture": "amd64"/ };
  await page.evaluate(() => window.playground.view.dispatch({ selection: { anchor: window.playground.whole().text.indexOf("RUN npm run") } }));
  for (const [pane, words] of Object.entries(shown)) {
    await open(page, pane);
    assert.match(await page.textContent("#pane"), words, pane);
  }
  await open(page, "formatted");
  await page.waitForSelector("#take");
  await after(page, () => page.click("#take"));
  assert.match(await page.textContent("#pane"), /formatted already/);
  await open(page, "graph");
  await page.click("#graph .node[data-first='14']");
  assert.equal(await page.evaluate(() => window.playground.view.state.doc.lineAt(window.playground.view.state.selection.main.head).number), 14);
  assert.deepEqual(troubles, []);
});

test("a line without an instruction leads to the next one", async (t) => {
  const { page } = await visit(t);
  await open(page, "explain");
  assert.match(await page.textContent("#pane"), /^Line 1 holds no instruction\. The next one:\s+Dockerfile:2 /);
});

test("the graph opens where the result is, and stays where it was scrolled to", async (t) => {
  const { page } = await visit(t);
  await page.setViewportSize({ width: 700, height: 700 });
  const stages = Array.from({ length: 12 }, (_, n) => `FROM ${n ? `s${n - 1}` : "debian:12"} AS s${n}\nRUN make ${n}\nRUN test ${n}\n`);
  await after(page, () => type(page, stages.join("")));
  await open(page, "graph");
  const inside = () =>
    page.evaluate(() => {
      const [box, node] = ["#pane", "#graph .output"].map((one) => document.querySelector(one).getBoundingClientRect());
      return node.top >= box.top - 1 && node.bottom <= box.bottom + 1 && node.left >= box.left - 1 && node.right <= box.right + 1;
    });
  assert.ok(await inside());
  await page.evaluate(() => document.querySelector("#pane").scrollTo(0, 40));
  await after(page, () => type(page, stages.join("") + "RUN more\n"));
  assert.equal(await page.evaluate(() => document.querySelector("#pane").scrollTop), 40);
  await open(page, "llb");
  assert.equal(await page.evaluate(() => document.querySelector("#pane").scrollTop), 0);
});

test("words have colours by what they are", async (t) => {
  const { page } = await visit(t);
  const text = [
    "FROM --platform=$BUILDPLATFORM debian:12 AS base",
    "RUN --mount=type=cache,target=/c echo \"$A ${B}\" \\",
    "# between",
    "  from as --not",
    "COPY <<EOF /etc/as",
    "FROM x AS y",
    "EOF",
    "HEALTHCHECK --interval=1s CMD as",
    "onbuild run x",
    "",
  ].join("\n");
  await after(page, () => type(page, text));
  await page.click("#editor .cm-content");
  const found = await page.$$eval("#editor .cm-line", (lines) => {
    const colour = Object.fromEntries(["accent", "dim", "warning", "flag", "variable"].map((name) => {
      const probe = document.body.appendChild(document.createElement("i"));
      probe.style.color = `var(--${name})`;
      const value = getComputedStyle(probe).color;
      probe.remove();
      return [value, name];
    }));
    return lines.map((line) => [...line.querySelectorAll("span[class^=ͼ]")].map((one) => `${colour[getComputedStyle(one).color]} ${one.textContent}`));
  });
  assert.deepEqual(found.slice(0, 9), [
    ["accent FROM", "flag --platform", "variable $BUILDPLATFORM", "accent AS"],
    ["accent RUN", "flag --mount", 'warning "$A ${B}"'],
    ["dim # between"],
    [],
    ["accent COPY", "warning <<EOF"],
    ["warning FROM x AS y"],
    ["warning EOF"],
    ["accent HEALTHCHECK", "flag --interval", "accent CMD"],
    ["accent onbuild", "accent run"],
  ]);
});

test("a large graph stays readable, and its pane scrolls", async (t) => {
  const { page } = await visit(t);
  await open(page, "graph");
  const stages = Array.from({ length: 9 }, (_, n) => `FROM debian:12 AS s${n}\nRUN echo ${n}\n`).join("");
  await after(page, () => type(page, `${stages}FROM scratch\n${Array.from({ length: 9 }, (_, n) => `COPY --from=s${n} / /${n}\n`).join("")}`));
  await page.waitForSelector("#graph .node[data-first='18']");
  const seen = await page.evaluate(() => ({
    scale: Math.min(...[...document.querySelectorAll("#graph .node rect")].map((one) => one.getBoundingClientRect().width / one.width.baseVal.value)),
    scrolls: document.querySelector("#pane").scrollWidth > document.querySelector("#pane").clientWidth,
    page: document.documentElement.scrollWidth <= innerWidth,
  }));
  assert.ok(seen.scale >= 0.74 && seen.scrolls && seen.page, JSON.stringify(seen));
});

test("target, arguments and the context's files count", async (t) => {
  const { page } = await visit(t);
  await after(page, () => page.selectOption("#target", "deps"));
  assert.ok(!(await codes(page)).includes("context"), "settings.json is of another stage");
  await open(page, "image");
  assert.doesNotMatch(await page.textContent("#pane"), /8080/);
  await page.click("#tab-findings");
  await page.click("#document-ignore");
  await after(page, () => type(page, "package.json\n"));
  const found = await page.$$eval(".findings li.error", (all) => all.map((one) => one.textContent));
  assert.ok(found.some((one) => one.includes("no file of the context is /package.json")), found.join());
});

test("a file pasted over the example is not judged by the example's files", async (t) => {
  const { page } = await visit(t);
  const paste = (value) =>
    after(page, () =>
      page.evaluate((words) => {
        const { view } = window.playground;
        const clipboardData = new DataTransfer();
        clipboardData.setData("text/plain", words);
        view.dispatch({ selection: { anchor: 0, head: view.state.doc.length } });
        view.contentDOM.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
      }, value),
    );
  const files = () => page.evaluate(() => window.playground.whole().files);
  await paste("FROM scratch\nCOPY mine /mine\n");
  assert.equal(await files(), "");
  assert.ok(!(await codes(page)).includes("context"));
  await page.click("#document-files");
  await after(page, () => type(page, "other\n"));
  await page.click("#document-text");
  await paste("FROM scratch\nCOPY yours /yours\n");
  assert.equal(await files(), "other\n", "what was typed stays");
  assert.ok((await codes(page)).includes("context"));
});

test("a diff has the lines that differ and no others", async (t) => {
  const { page } = await visit(t);
  await after(page, () => type(page, "FROM debian:12\nENTRYPOINT [ \"a\" ]\n\nWORKDIR /data\nENV A=b\n"));
  await open(page, "formatted");
  await page.waitForSelector("#take");
  const lines = await page.$$eval("#pane .diff del, #pane .diff ins", (all) => all.map((one) => one.textContent));
  assert.deepEqual(lines, ['ENTRYPOINT [ "a" ]', 'ENTRYPOINT ["a"]']);
});

test("the keyboard is enough", async (t) => {
  const { page } = await visit(t);
  await page.focus("#tab-findings");
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.evaluate(() => document.activeElement.id), "tab-formatted");
  await page.keyboard.press("End");
  assert.equal(await page.evaluate(() => document.activeElement.id), "tab-image");
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.evaluate(() => document.activeElement.id), "tab-findings");
  const told = await page.getAttribute("#editor .cm-content", "aria-describedby");
  assert.match(await page.textContent(`#${told}`), /Escape, then Tab leaves it/);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.classList.contains("cm-content")), true, "a place leads into the editor");
  // Out of the editor again: Escape, then Tab.
  await page.keyboard.press("Escape");
  await page.keyboard.press("Tab");
  assert.notEqual(await page.evaluate(() => document.activeElement.classList.contains("cm-content")), true);
});

test("names and roles for screen readers", async (t) => {
  const { page } = await visit(t);
  const nameless = await page.$$eval("button, input, select, [role=tab], [role=textbox]", (all) =>
    all.filter((one) => !(one.textContent.trim() || one.ariaLabel || one.labels?.length || one.title)).map((one) => one.outerHTML.slice(0, 100)),
  );
  assert.deepEqual(nameless, []);
  assert.equal(await page.getAttribute("#pane", "aria-labelledby"), "tab-findings");
  assert.equal(await page.getAttribute("#status", "aria-live"), "polite");
});

test("narrow screens, dark and light", async (t) => {
  for (const [width, colorScheme] of [[360, "dark"], [600, "light"], [2000, "dark"]]) {
    const { page } = await visit(t, "", { viewport: { width, height: 800 }, colorScheme });
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, `${width} wide scrolls sideways`);
    const boxes = await page.$$eval(".left, .right", (all) => all.map((one) => one.getBoundingClientRect().toJSON()));
    assert.ok(width < 800 ? boxes[1].top >= boxes[0].bottom - 1 : boxes[1].left >= boxes[0].right - 1);
    const back = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.equal(back === "rgb(255, 255, 255)", colorScheme === "light");
    await page.click("#theme");
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "light");
    assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(255, 255, 255)");
  }
});

test("without a network it works after the first visit", async (t) => {
  const { page, context } = await visit(t);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  await context.setOffline(true);
  await page.reload();
  await answers(page, 1);
  assert.match(await page.textContent("#status"), /findings/);
});

test("a first visit takes every file once, with what is kept for times without a network", async (t) => {
  const counted = await counter(served.address);
  const context = await chrome.newContext();
  t.after(() => context.close().then(counted.end));
  const page = await context.newPage();
  await page.goto(counted.address);
  await answers(page, 1);
  assert.ok(counted.seen.bytes < 8_000_000, JSON.stringify(counted.seen));
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  assert.ok(counted.seen.bytes < 8_000_000, `with what is kept: ${JSON.stringify(counted.seen)}`);
  const { requests } = counted.seen;
  await page.reload();
  await answers(page, 1);
  assert.ok(counted.seen.requests <= requests + 1, "only whether there is a newer version is asked");
});
