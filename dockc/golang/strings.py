"""Text as Go's standard library sees it: its notion of space, its quoting, its names.

The reference is written in Go, and a few of its answers show through: what counts as space, how a text is quoted
in a message (`%q`), which characters make a name. Text here is `str` whose lone surrogates stand for bytes that are
not UTF-8.
"""

from __future__ import annotations

from dockc.base.pattern import pattern

#: Inside of a character class: what Go's unicode.IsSpace accepts.
SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
SPACES = "".join(
    map(chr, [*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000])
)

#: Inside of a character class: what Python's \w accepts and is neither letter nor decimal digit (Unicode No, Nl).
NUMBER_LIKE = (
    r"\xb2-\xb3\xb9\xbc-\xbe\u09f4-\u09f9\u0b72-\u0b77\u0bf0-\u0bf2\u0c78-\u0c7e\u0d58-\u0d5e\u0d70-\u0d78\u0f2a-\u0f33"
    r"\u1369-\u137c\u16ee-\u16f0\u17f0-\u17f9\u19da\u2070\u2074-\u2079\u2080-\u2089\u2150-\u2182\u2185-\u2189\u2460-\u249b"
    r"\u24ea-\u24ff\u2776-\u2793\u2cfd\u3007\u3021-\u3029\u3038-\u303a\u3192-\u3195\u3220-\u3229\u3248-\u324f\u3251-\u325f"
    r"\u3280-\u3289\u32b1-\u32bf\ua6e6-\ua6ef\ua830-\ua835\U00010107-\U00010133\U00010140-\U00010178\U0001018a-\U0001018b"
    r"\U000102e1-\U000102fb\U00010320-\U00010323\U00010341\U0001034a\U000103d1-\U000103d5\U00010858-\U0001085f"
    r"\U00010879-\U0001087f\U000108a7-\U000108af\U000108fb-\U000108ff\U00010916-\U0001091b\U000109bc-\U000109bd"
    r"\U000109c0-\U000109cf\U000109d2-\U000109ff\U00010a40-\U00010a48\U00010a7d-\U00010a7e\U00010a9d-\U00010a9f"
    r"\U00010aeb-\U00010aef\U00010b58-\U00010b5f\U00010b78-\U00010b7f\U00010ba9-\U00010baf\U00010cfa-\U00010cff"
    r"\U00010e60-\U00010e7e\U00010f1d-\U00010f26\U00010f51-\U00010f54\U00010fc5-\U00010fcb\U00011052-\U00011065"
    r"\U000111e1-\U000111f4\U0001173a-\U0001173b\U000118ea-\U000118f2\U00011c5a-\U00011c6c\U00011fc0-\U00011fd4"
    r"\U00012400-\U0001246e\U00016b5b-\U00016b61\U00016e80-\U00016e96\U0001d2e0-\U0001d2f3\U0001d360-\U0001d378"
    r"\U0001e8c7-\U0001e8cf\U0001ec71-\U0001ecab\U0001ecad-\U0001ecaf\U0001ecb1-\U0001ecb4\U0001ed01-\U0001ed2d"
    r"\U0001ed2f-\U0001ed3d\U0001f100-\U0001f10c"
)

_PLAIN = pattern(r"[ !#-\[\]-~]*\Z")
_SHORT = {
    "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v",
    '"': r"\"", "\\": r"\\",
}  # fmt: skip
_ASCII_FOLDS = {"\u017f": "s", "\u212a": "k"}
_SURROGATE = pattern("[\ud800-\udfff]")


def trim(text: str) -> str:
    """Without space at both ends."""
    return text.strip(SPACES)


def runes(text: str) -> str:
    """Bytes that are not UTF-8 become U+FFFD, as when Go reads a string rune by rune."""
    if text.isascii():
        return text
    return _SURROGATE.sub("\ufffd", text)


def lower(text: str) -> str:
    """Lower case, character by character (strings.ToLower)."""
    if text.isascii():
        return text.lower()
    return "".join("i" if char == "\u0130" else char.lower() for char in runes(text))


def fold(text: str) -> str:
    """A text whose comparison with an ASCII one ignores case (strings.EqualFold): two letters beyond ASCII are in
    it.
    """
    if text.isascii():
        return text.lower()
    return "".join(_ASCII_FOLDS.get(char) or (char.lower() if char.isascii() else char) for char in text)


def upper(text: str) -> str:
    """Upper case, character by character (strings.ToUpper)."""
    if text.isascii():
        return text.upper()
    return "".join(_upper(char) for char in runes(text))


def _upper(char: str) -> str:
    """The simple mapping: where Python knows only one to several characters, one or none."""
    for changed in (char.upper(), char.title()):
        if len(changed) == 1:
            return changed
    return char


def quote(text: str) -> str:
    """`text` in double quotes with Go's escapes (strconv.Quote, `%q`)."""
    if _PLAIN.match(text):
        return f'"{text}"'
    out = []
    for char in text:
        code = ord(char)
        if short := _SHORT.get(char):
            out.append(short)
        elif char.isprintable():
            out.append(char)
        elif 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        elif code < 0x20 or code == 0x7F:
            out.append(f"\\x{code:02x}")
        elif code < 0x10000:
            out.append(f"\\u{code:04x}")
        else:
            out.append(f"\\U{code:08x}")
    return '"' + "".join(out) + '"'


def quote_all(texts: list[str] | tuple[str, ...]) -> str:
    """A list of strings as Go's `%q` prints it."""
    return "[" + " ".join(map(quote, texts)) + "]"
