// Bytes, text, and JSON with large numbers.

/** UTF-8, as text: QuickJS has no TextDecoder. What is no UTF-8 is taken for Latin-1. */
export function text(bytes) {
  let letters = "";
  for (let at = 0; at < bytes.length; at += 4096) letters += String.fromCharCode(...bytes.subarray(at, at + 4096));
  try {
    return letters.replace(/[\x80-\xff]+/g, (beyond) => decodeURIComponent(escape(beyond)));
  } catch {
    return letters;
  }
}

/** Text, as UTF-8. */
export const bytes = (text) => Uint8Array.from(unescape(encodeURIComponent(text)), (letter) => letter.charCodeAt(0));

/** Uint8Arrays, one behind the other. */
export function joined(parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}

/** For JSON.parse(text, exact): whole numbers that a Number would round are BigInts. */
export const exact = (key, value, { source } = {}) =>
  typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(source) ? BigInt(source) : value;
