// Colours of a Dockerfile: what the eye looks for. What is right and what is not is the compiler's to say.

const KEYWORD = /^[A-Za-z]+/;
const FLAG = /^--[a-z][a-z-]*(?==|\s|$)/;
const VARIABLE = /^\$(?:\{[^}]*\}?|\w+)/;
const STRING = /^(?:"(?:[^"\\]|\\.)*"?|'[^']*'?)/;
const HEREDOC = /^<<(-?)(["']?)([A-Za-z_]\w*)\2/;
const WITH_HEREDOCS = new Set(["RUN", "COPY", "ADD"]);

/** For CodeMirror's StreamLanguage. State: the instruction that goes on, and the ends of here-documents that are awaited. */
export const dockerfile = {
  name: "dockerfile",
  startState: () => ({ escape: "\\", instruction: "", fresh: false, flags: false, awaited: [], inside: [], goesOn: false }),
  copyState: (state) => ({ ...state, awaited: [...state.awaited], inside: [...state.inside] }),

  token(stream, state) {
    if (stream.sol()) {
      if (state.inside.length) return heredocLine(stream, state);
      if (/^\s*#/.test(stream.string)) {
        const directive = /^#\s*escape\s*=\s*(`|\\)\s*$/i.exec(stream.string);
        if (directive && !state.instruction) state.escape = directive[1];
        stream.skipToEnd();
        return "comment";
      }
      if (!state.goesOn) Object.assign(state, { instruction: "", fresh: true, flags: false });
      state.goesOn = stream.string.trimEnd().endsWith(state.escape);
    }
    const token = part(stream, state);
    if (stream.eol() && !state.goesOn) {
      state.inside = state.awaited;
      state.awaited = [];
    }
    return token;
  },
  languageData: { commentTokens: { line: "#" } },
};

function heredocLine(stream, state) {
  const { tabs, word } = state.inside[0];
  if ((tabs ? stream.string.replace(/^\t+/, "") : stream.string) === word) state.inside = state.inside.slice(1);
  stream.skipToEnd();
  return "string";
}

function part(stream, state) {
  if (stream.eatSpace()) return null;
  if (state.fresh) {
    const word = stream.match(KEYWORD);
    const name = word ? word[0].toUpperCase() : "";
    // What an ONBUILD triggers and what a HEALTHCHECK runs are instructions again.
    Object.assign(state, { instruction: name || "?", fresh: name === "ONBUILD", flags: true });
    if (word) return "keyword";
  }
  const flag = state.flags && stream.match(FLAG);
  if (flag) return "attributeName";
  const before = stream.pos ? stream.string[stream.pos - 1] : " ";
  if (/\s/.test(before)) {
    if (state.instruction === "FROM" && stream.match(/^as(?=\s|$)/i)) return "keyword";
    if (state.instruction === "HEALTHCHECK" && stream.match(/^(?:cmd|none)(?=\s|$)/i)) {
      state.instruction = "CMD";
      return "keyword";
    }
    if (stream.peek() !== "-") state.flags = false;
  }
  const heredoc = WITH_HEREDOCS.has(state.instruction) && stream.match(HEREDOC);
  if (heredoc) {
    state.awaited = [...state.awaited, { tabs: heredoc[1] === "-", word: heredoc[3] }];
    return "string";
  }
  if (stream.match(VARIABLE)) return "variableName";
  if (stream.match(STRING)) return "string";
  if (stream.match(state.escape) && stream.next() !== undefined) return null;
  stream.match(/^[^\s"'$<\\`-]+/) || stream.next();
  return null;
}
