// A line diff for people: what left, what came, three lines around it.

import { diff } from "@codemirror/merge";

const AROUND = 3;

// Rows ["same" | "gone" | "new" | "gap", text] of two texts.
export function rows(before, after) {
  const [a, b] = [before.split("\n"), after.split("\n")];
  // Each distinct line becomes one character, so that the differ compares lines.
  const known = new Map();
  const coded = (lines) => lines.map((line) => String.fromCharCode(known.get(line) ?? known.set(line, known.size + 0x100).size + 0xff)).join("");
  const [x, y] = [coded(a), coded(b)];
  if (known.size > 0xd700 - 0x100) return b.map((line) => ["new", line]);
  const out = [];
  let [i, j] = [0, 0];
  for (const change of diff(x, y)) {
    while (i < change.fromA) out.push(["same", a[i++]]), j++;
    while (i < change.toA) out.push(["gone", a[i++]]);
    while (j < change.toB) out.push(["new", b[j++]]);
  }
  while (i < a.length) out.push(["same", a[i++]]);
  return shortened(out);
}

function shortened(all) {
  const near = new Uint8Array(all.length);
  all.forEach(([kind], at) => {
    if (kind !== "same") near.fill(1, Math.max(0, at - AROUND), at + AROUND + 1);
  });
  const out = [];
  let hidden = 0;
  const gap = () => hidden && out.push(["gap", `… ${hidden} line${hidden > 1 ? "s" : ""} alike …`]);
  all.forEach((row, at) => {
    if (near[at]) {
      gap();
      hidden = 0;
      out.push(row);
    } else hidden++;
  });
  gap();
  return out;
}

export function element(before, after) {
  const box = document.createElement("div");
  box.className = "diff";
  const tags = { same: "span", gone: "del", new: "ins", gap: "span" };
  for (const [kind, text] of rows(before, after)) {
    const row = document.createElement(tags[kind]);
    if (kind === "gap") row.className = "gap";
    row.textContent = text === "" ? " " : text;
    box.append(row);
  }
  return box;
}
