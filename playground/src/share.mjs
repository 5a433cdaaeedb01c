// The page as the fragment of a link: JSON, deflated, base64url. A fragment is never sent to a server.

const LIMIT = 1_000_000; // characters of JSON: a link cannot make the page swallow more

export async function packed(state) {
  const stream = new Blob([JSON.stringify(state)]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return "1." + btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// What a link holds; an Error that says what is wrong with it.
export async function unpacked(fragment) {
  if (!fragment.startsWith("1.")) throw new Error("the link is of another version of the playground");
  let bytes;
  try {
    bytes = Uint8Array.from(atob(fragment.slice(2).replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  } catch {
    throw new Error("the link is damaged");
  }
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).pipeThrough(new TextDecoderStream()).getReader();
  let json = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      json += value;
      if (json.length > LIMIT) {
        await reader.cancel();
        throw new RangeError();
      }
    }
  } catch (error) {
    throw new Error(error instanceof RangeError ? "the link holds too much" : "the link is damaged");
  }
  let state;
  try {
    state = JSON.parse(json);
  } catch {
    throw new Error("the link is damaged");
  }
  const texts = ["text", "ignore", "files", "args", "target", "platform"];
  if (state === null || typeof state !== "object" || texts.some((name) => name in state && typeof state[name] !== "string")) throw new Error("the link is damaged");
  return Object.fromEntries(texts.filter((name) => name in state).map((name) => [name, state[name]]));
}
