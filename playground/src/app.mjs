// The page: editor and fields on one side, answers on the other. All thinking is the worker's.

import { autocompletion, completeFromList } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { HighlightStyle, StreamLanguage, bracketMatching, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, lintKeymap, setDiagnostics } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { EditorState } from "@codemirror/state";
import { EditorView, drawSelection, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

import { element as diff } from "./diff.mjs";
import { EXAMPLE } from "./example.mjs";
import { dockerfile } from "./language.mjs";
import { packed, unpacked } from "./share.mjs";

const $ = (id) => document.getElementById(id);
const WAIT = 120; // milliseconds of quiet before the worker is asked

// --- state -----------------------------------------------------------------------------------------------

const DOCUMENTS = [
  ["text", "Dockerfile"],
  ["ignore", ".dockerignore"],
  ["files", "Context files"],
];
const PANES = [
  ["findings", "Findings"],
  ["formatted", "Formatted"],
  ["graph", "Graph"],
  ["explain", "Explain"],
  ["ir", "IR"],
  ["llb", "LLB"],
  ["image", "Image"],
];
let document_ = "text";
let pane = "findings";
let reply = null; // the last answer
let level = 2;
let drawn = ""; // what the pane shows, to know when it changes
let standing = ""; // the tab whose answer it is

const highlighting = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--accent)", fontWeight: "600" },
  { tag: tags.comment, color: "var(--dim)", fontStyle: "italic" },
  { tag: tags.string, color: "var(--warning)" },
  { tag: tags.attributeName, color: "var(--flag)" },
  { tag: tags.variableName, color: "var(--variable)" },
]);
const theme = EditorView.theme({
  ".cm-gutters": { background: "var(--panel)", color: "var(--dim)", borderRight: "1px solid var(--line)" },
  ".cm-activeLine, .cm-activeLineGutter": { background: "var(--mark)" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-selectionBackground, &.cm-focused .cm-selectionBackground": { background: "color-mix(in srgb, var(--accent) 30%, transparent) !important" },
  ".cm-tooltip, .cm-panels": { background: "var(--panel)", color: "var(--text)", border: "1px solid var(--line)" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { background: "var(--accent)", color: "var(--on)" },
});
const KEYWORDS = "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR";

function fresh(name, text) {
  const common = [
    lineNumbers(),
    history(),
    drawSelection(),
    highlightActiveLine(),
    highlightActiveLineGutter(),
    highlightSelectionMatches(),
    theme,
    EditorView.lineWrapping,
    EditorView.contentAttributes.of({ "aria-label": DOCUMENTS.find(([id]) => id === name)[1], "aria-describedby": "leave" }),
    EditorState.tabSize.of(4),
    // Escape, then Tab leaves the editor, as CodeMirror has it; a Tab inside indents.
    keymap.of([...defaultKeymap, ...historyKeymap, ...searchKeymap, ...lintKeymap, indentWithTab]),
    EditorView.updateListener.of((update) => {
      if (update.docChanged) {
        if (document_ === "text" && replaced(update)) leaveExample();
        changed();
      }
      else if (update.selectionSet && pane === "explain" && document_ === "text") changed();
    }),
  ];
  const language = [
    StreamLanguage.define(dockerfile),
    syntaxHighlighting(highlighting),
    bracketMatching(),
    lintGutter(),
    autocompletion({ override: [lineStart] }),
  ];
  return EditorState.create({ doc: text, extensions: name === "text" ? [...common, ...language] : common });
}

const words = completeFromList(KEYWORDS.split(" ").map((label) => ({ label, type: "keyword" })));
function lineStart(context) {
  const line = context.state.doc.lineAt(context.pos);
  return /^\s*[A-Za-z]*$/.test(line.text.slice(0, context.pos - line.from)) ? words(context) : null;
}

const states = Object.fromEntries(DOCUMENTS.map(([name]) => [name, fresh(name, "")]));
const view = new EditorView({ state: states.text, parent: $("editor") });

const textOf = (name) => (name === document_ ? view.state : states[name]).doc.toString();

function setText(name, text) {
  if (name !== document_) {
    states[name] = fresh(name, text);
    return;
  }
  view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
}

// Whether a file was pasted over all that there was.
function replaced({ transactions, startState }) {
  return transactions.some((one) => {
    let all = false;
    one.changes.iterChangedRanges((from, to) => (all ||= from === 0 && to === startState.doc.length && to > 0));
    return all && one.isUserEvent("input.paste");
  });
}

// The example's files are none of another Dockerfile's, whose COPYs would all be wrong.
function leaveExample() {
  for (const name of ["ignore", "files"]) if (textOf(name) !== EXAMPLE[name]) return;
  for (const name of ["ignore", "files"]) setText(name, "");
}

function fill(state) {
  for (const [name] of DOCUMENTS) setText(name, state[name] ?? "");
  $("args").value = state.args ?? "";
  choose($("platform"), state.platform ?? "linux/amd64");
  choose($("target"), state.target ?? "");
}

// A select keeps a value that is not (or not yet) among its options.
function choose(select, value) {
  if (![...select.options].some((option) => option.value === value)) select.add(new Option(value, value));
  select.value = value;
}

const whole = () => ({
  ...Object.fromEntries(DOCUMENTS.map(([name]) => [name, textOf(name)])),
  args: $("args").value,
  target: $("target").value,
  platform: $("platform").value,
});

// --- the worker ------------------------------------------------------------------------------------------

const base = new URL("./", location.href).href.split("#")[0];
// Begun by a blob of the page, the worker stands under the page's content security policy wherever the files are served from.
const begin = URL.createObjectURL(new Blob([`import ${JSON.stringify(base + "worker.js")};`], { type: "text/javascript" }));
const waiting = new Map();
let worker;
let number = 0;
let busy = false;
let again = false;
let timer = 0; // of the next question, 0 where none is due

// Whether the page shows the answer to what it holds: no question is due, none is open.
const settled = () => timer === 0 && !busy && !again && waiting.size === 0;

function employ() {
  worker = new Worker(begin, { type: "module", name: base });
  worker.onerror = (event) => broken(event.message || "the worker cannot start");
  worker.onmessage = ({ data }) => {
    if (data.broken) broken(data.broken);
    if (data.ready || data.broken) return;
    if (data.fatal) {
      worker.terminate();
      employ();
    }
    const answered = waiting.get(data.id);
    waiting.delete(data.id);
    answered?.(data);
  };
}
employ();

function ask(message) {
  const id = ++number;
  return new Promise((resolve) => {
    waiting.set(id, resolve);
    worker.postMessage({ ...message, id });
  });
}

// Build arguments; a comma before another NAME= is between two, any other one is part of a value.
const args = () => $("args").value.split(/[,\n]\s*(?=[A-Za-z_]\w*=)/);

const request = () => ({
  ...whole(),
  args: args().join("\n"),
  pane: pane === "findings" ? "" : pane,
  line: document_ === "text" ? view.state.doc.lineAt(view.state.selection.main.head).number : 1,
  level,
});

function changed() {
  keep();
  clearTimeout(timer);
  timer = setTimeout(refresh, WAIT);
}

// One question at a time; what changed meanwhile is asked once, with the newest text.
async function refresh() {
  clearTimeout(timer);
  timer = 0;
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  const asked = request();
  const answer = await ask({ kind: "answer", ...asked });
  busy = false;
  if (answer.fatal) status("This file is too long for Python in a browser; the command line has no such limit.", true);
  else if (answer.failed) status(`The worker failed: ${answer.failed.trim().split("\n").at(-1)}`, true);
  else show(answer, asked);
  if (again) {
    again = false;
    changed();
  }
}

function broken(why) {
  status(`Python cannot run here: ${why}`, true);
}

function status(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("broken", bad);
}

// --- answers ---------------------------------------------------------------------------------------------

function show(answer, asked) {
  reply = { ...answer, pane_: asked.pane || "findings" };
  const count = answer.findings.length;
  status(`${count === 0 ? "No findings" : count === 1 ? "1 finding" : `${count} findings`}; ${Math.round(answer.milliseconds)} ms`);
  document.documentElement.dataset.answers = String(Number(document.documentElement.dataset.answers ?? 0) + 1);
  if (document_ === "text" && textOf("text") === asked.text) view.dispatch(setDiagnostics(view.state, answer.findings.map(diagnostic)));
  stages(answer.stages);
  counts(count);
  draw();
}

const SEVERITY = { error: "error", warning: "warning", info: "info", style: "hint" };

function diagnostic(finding) {
  const limit = view.state.doc.length;
  const from = Math.min(finding.from, limit);
  return {
    from,
    to: Math.max(from, Math.min(finding.to, limit)),
    severity: SEVERITY[finding.severity] ?? "warning",
    source: finding.code,
    message: finding.message,
    actions: finding.fix ? [{ name: finding.fix.title, apply: () => apply(finding) }] : [],
  };
}

function apply(finding) {
  open("text");
  view.dispatch({ changes: finding.fix.edits, userEvent: "input.fix" });
  status(`Applied: ${finding.fix.title}`);
}

function stages(found) {
  const select = $("target");
  const wanted = select.value;
  const names = found.map((stage, index) => stage.name || String(index));
  if (!names.length && !select.dataset.stages) return;
  if (select.dataset.stages === names.join("\n")) return;
  select.dataset.stages = names.join("\n");
  select.replaceChildren(new Option("last stage", ""), ...names.map((name) => new Option(name, name)));
  choose(select, wanted);
}

function counts(count) {
  const tab = $("tab-findings");
  tab.querySelector(".count")?.remove();
  if (count) tab.append(make("span", { className: "count" }, String(count)));
}

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function draw() {
  const box = $("pane");
  if (!reply) {
    box.replaceChildren(make("p", { className: "quiet" }, "The first answer takes a few seconds: Python is being loaded."));
    return;
  }
  // What is the same stays as it is, with the focus in it.
  const shown = JSON.stringify([pane, reply.error, pane === "findings" ? reply.findings : reply.pane_ === pane ? reply.pane : "…", level]);
  if (shown === drawn) return;
  drawn = shown;
  const parts = [];
  if (reply.error && !(pane === "findings" && reply.findings.length)) parts.push(trouble(reply.error));
  if (pane === "findings") parts.push(...findings());
  else if (reply.pane_ === pane && reply.pane) parts.push(...BODIES[pane](reply.pane));
  else if (reply.pane_ !== pane) parts.push(make("p", { className: "quiet" }, "…"));
  const { scrollTop, scrollLeft } = box;
  box.replaceChildren(...parts);
  if (standing === pane) box.scrollTo(scrollLeft, scrollTop);
  else {
    box.scrollTo(0, 0);
    show_(box.querySelector("#graph .output"), box);
  }
  standing = reply.pane_ === pane ? pane : "";
}

// What a picture is looked at for is in the middle of its pane, as far as the pane scrolls.
function show_(node, box) {
  if (!node) return;
  const [inner, outer] = [node.getBoundingClientRect(), box.getBoundingClientRect()];
  box.scrollBy((inner.left + inner.right - outer.left - outer.right) / 2, (inner.top + inner.bottom - outer.top - outer.bottom) / 2);
}

function trouble(error) {
  const box = make("div", { className: "trouble" }, make("b", {}, "error: "), error.message);
  if (error.line) box.append(" (", go(error.line, 1, `line ${error.line}`), ")");
  if (error.hint) box.append(make("div", { className: "quiet" }, error.hint));
  return box;
}

function go(line, column, text) {
  const link = make("button", { type: "button", className: "go" }, text);
  link.addEventListener("click", () => jump(line, column));
  return link;
}

function jump(line, column = 1) {
  open("text");
  const at = view.state.doc.line(Math.min(Math.max(line, 1), view.state.doc.lines));
  const anchor = Math.min(at.from + column - 1, at.to);
  view.dispatch({ selection: { anchor }, effects: EditorView.scrollIntoView(anchor, { y: "center" }) });
  view.focus();
}

function findings() {
  if (!reply.findings.length) return reply.error ? [] : [make("p", { className: "quiet" }, "Nothing to find fault with.")];
  const parts = [];
  const fixable = reply.findings.filter((finding) => finding.fix?.safe).length;
  if (fixable) {
    const all = make("button", { type: "button", id: "fix-all" }, `Fix ${fixable === 1 ? "1 finding" : `${fixable} findings`}`);
    all.addEventListener("click", fixAll);
    parts.push(make("div", { className: "row" }, all, make("span", { className: "quiet" }, "Each fix is proven to leave the image as it is.")));
  }
  const list = make("ul", { className: "findings" });
  for (const finding of reply.findings) {
    const row = make("li", { className: finding.severity });
    row.append(make("div", {}, go(finding.line, finding.column, `${finding.line}:${finding.column}`), " ", make("b", {}, finding.code), ` ${finding.message}`));
    if (finding.fix) {
      const button = make("button", { type: "button", title: finding.fix.safe ? "" : "May change what is built" }, finding.fix.title);
      button.addEventListener("click", () => apply(finding));
      row.append(button);
    }
    const more = finding.help || finding.about;
    if (more) row.append(make("div", { className: "help" }, more));
    list.append(row);
  }
  return [...parts, list];
}

async function fixAll() {
  const asked = request();
  const fixed = await ask({ kind: "fix", ...asked });
  if (fixed.failed) return status(`The worker failed: ${fixed.failed}`, true);
  if (textOf("text") !== asked.text) return status("The text changed meanwhile; nothing was fixed.");
  setText("text", fixed.text);
  changed();
  return status(`Fixed ${fixed.applied.join(", ") || "nothing"}`);
}

const pre = (text) => make("pre", {}, text);

// The least size of a graph's picture: smaller, nobody reads its words, and the pane scrolls.
const READABLE = 0.75;

const BODIES = {
  formatted(body) {
    if (body.before === body.after) return [make("p", { className: "quiet" }, "It is formatted already.")];
    const take = make("button", { type: "button", id: "take" }, "Use this");
    take.addEventListener("click", () => setText("text", body.after));
    return [make("div", { className: "row" }, take), diff(body.before, body.after)];
  },
  graph(body) {
    const box = make("div", { id: "graph" });
    const parsed = new DOMParser().parseFromString(body.svg, "image/svg+xml");
    box.append(document.importNode(parsed.documentElement, true));
    box.querySelector("style")?.remove(); // the page's own colours follow the choice of theme
    const picture = box.querySelector("svg");
    picture.style.minWidth = `${READABLE * picture.width.baseVal.value}px`;
    for (const node of box.querySelectorAll(".node[data-first]")) {
      node.setAttribute("role", "button");
      node.addEventListener("click", () => jump(+node.dataset.first));
      node.addEventListener("keydown", (event) => event.key === "Enter" && jump(+node.dataset.first));
    }
    return [box];
  },
  explain: (body) => [pre(body.text)],
  ir(body) {
    const select = make("select", { id: "level", ariaLabel: "Passes" });
    for (const value of [0, 1, 2]) select.add(new Option(`-O${value}`, value, false, value === level));
    select.addEventListener("change", () => {
      level = +select.value;
      refresh();
    });
    const row = make("div", { className: "row" }, make("label", {}, "After the passes of ", select), make("span", { className: "quiet" }, "− before, + after"));
    return body.before === body.after
      ? [row, make("p", { className: "quiet" }, "These passes change nothing here."), pre(body.before)]
      : [row, diff(body.before, body.after), make("h2", {}, "After"), pre(body.after)];
  },
  llb: (body) => [pre(body.text)],
  image: (body) => [pre(body.text)],
};

// --- tabs, fields, link ----------------------------------------------------------------------------------

function tabs(list, names, prefix, controls, chosen, select) {
  for (const [id, title] of names) {
    const tab = make("button", { type: "button", id: `${prefix}-${id}` }, title);
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", controls);
    tab.addEventListener("click", () => select(id));
    list.append(tab);
  }
  list.addEventListener("keydown", (event) => {
    const ids = names.map(([id]) => id);
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -ids.indexOf(chosen()), End: ids.length - 1 - ids.indexOf(chosen()) };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = ids[(ids.indexOf(chosen()) + steps[event.key] + ids.length) % ids.length];
    select(next);
    $(`${prefix}-${next}`).focus();
  });
}

function mark(list, prefix, controls, chosen) {
  for (const tab of list.children) {
    const on = tab.id === `${prefix}-${chosen}`;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
  }
  $(controls).setAttribute("aria-labelledby", `${prefix}-${chosen}`);
}

function open(name) {
  if (name !== document_) {
    states[document_] = view.state;
    document_ = name;
    view.setState(states[name]);
  }
  mark($("documents"), "document", "editor", name);
}

function select(name) {
  pane = name;
  mark($("tabs"), "tab", "pane", name);
  draw();
  if (name !== "findings") refresh();
}

const THEMES = { "": "as the system has them", light: "light", dark: "dark" };
function colours(theme_) {
  if (theme_) document.documentElement.dataset.theme = theme_;
  else delete document.documentElement.dataset.theme;
  $("theme").setAttribute("aria-label", `Colours: ${THEMES[theme_]}`);
  $("theme").title = `Colours: ${THEMES[theme_]}`;
}

async function share() {
  const link = `${base}#${await packed(whole())}`;
  history_(link);
  try {
    await navigator.clipboard.writeText(link);
    status("The link is in the clipboard and in the address bar.");
  } catch {
    status("The link is in the address bar.");
  }
}

// What was typed outlives a reload of this tab. It stays with the address it was typed at: another link shows what is in that link.
const DRAFT = "dockc-draft";

function keep() {
  try {
    sessionStorage.setItem(DRAFT, JSON.stringify([location.hash, whole()]));
  } catch {
    // Storage may be full or closed to us: then a reload begins anew.
  }
}

function fromDraft() {
  try {
    const [hash, state] = JSON.parse(sessionStorage.getItem(DRAFT));
    if (hash !== location.hash) return false;
    fill(state);
    return true;
  } catch {
    return false;
  }
}

const history_ = (link) => window.history.replaceState(null, "", link);

async function fromLink() {
  const fragment = location.hash.slice(1);
  if (!fragment || fragment === "panes") return false;
  try {
    fill(await unpacked(fragment));
    return true;
  } catch (error) {
    status(`${error.message}; here is the example.`, true);
    return false;
  }
}

tabs($("documents"), DOCUMENTS, "document", "editor", () => document_, open);
tabs($("tabs"), PANES, "tab", "pane", () => pane, select);
open("text");
mark($("tabs"), "tab", "pane", pane);
draw();
for (const id of ["target", "platform"]) $(id).addEventListener("change", changed);
$("args").addEventListener("input", () => {
  const wrong = $("args").value.trim() !== "" && args().some((one) => !/^\s*[^=\s]+=/.test(one));
  $("args").setCustomValidity(wrong ? "Write NAME=value; several with commas between." : "");
  $("args").setAttribute("aria-invalid", String(wrong));
  changed();
});
$("fields").addEventListener("submit", (event) => event.preventDefault());
$("share").addEventListener("click", share);
$("example").addEventListener("click", () => fill(EXAMPLE));
let stored = "";
try {
  stored = localStorage.getItem("dockc-theme") ?? "";
} catch {
  // Storage may be closed to us: then the choice lasts as long as the page.
}
colours(stored in THEMES ? stored : "");
$("theme").addEventListener("click", () => {
  const next = { "": "light", light: "dark", dark: "" }[document.documentElement.dataset.theme ?? ""];
  colours(next);
  try {
    localStorage.setItem("dockc-theme", next);
  } catch {
    // as above
  }
});
window.addEventListener("hashchange", () => fromLink().then((filled) => filled && changed()));
if (!fromDraft() && !(await fromLink())) fill(EXAMPLE);
// For tests and for the curious.
Object.assign(window, { playground: { view, modules: () => ask({ kind: "modules" }), whole, settled } });
await refresh();
// Once the first answer is there: what the service worker takes must not stand in its way. Without it the page works as well, but not offline.
if ("serviceWorker" in navigator) navigator.serviceWorker.register("sw.js").catch(() => undefined);
