// Metrics as OTLP bytes: the way for whole numbers that the contract's typed batch can't take from JavaScript, where it
// knows Numbers only. Of OTLP there is what src/whimbrel.js emits.

import { bytes, joined } from "./bytes.js";

function varint(of) {
  const parts = [];
  let rest = BigInt.asUintN(64, BigInt(of));
  for (; rest > 127n; rest >>= 7n) parts.push(Number(rest & 127n) | 128);
  return Uint8Array.of(...parts, Number(rest));
}

// Fields of a message, by their numbers and wire types.
const whole = (field, of) => joined([varint(field << 3), varint(of)]);
const held = (field, parts) => {
  const content = joined(parts);
  return joined([varint((field << 3) | 2), varint(content.length), content]);
};
const said = (field, of) => held(field, [bytes(of)]);
function eight(field, write) {
  const content = new DataView(new ArrayBuffer(8));
  write(content);
  return joined([varint((field << 3) | 1), new Uint8Array(content.buffer)]);
}
const fixed = (field, of) => eight(field, (content) => content.setBigUint64(0, BigInt.asUintN(64, BigInt(of)), true));
const double = (field, of) => eight(field, (content) => content.setFloat64(0, of, true));

function value({ tag, val }) {
  switch (tag) {
    case "text": return [said(1, val)];
    case "boolean": return [whole(2, val ? 1 : 0)];
    case "int": return [whole(3, val)];
    case "double": return [double(4, val)];
    case "bytes": return [held(7, [val])];
    default: return /^-?\d+$/.test(val) ? [whole(3, val)] : nested(JSON.parse(val));
  }
}

function nested(of) {
  if (of === null) return [];
  if (Array.isArray(of)) return [held(5, of.map((one) => held(1, nested(one))))];
  if (typeof of === "object") return [held(6, Object.entries(of).map(([key, one]) => pair(1, key, nested(one))))];
  if (typeof of === "string") return [said(1, of)];
  if (typeof of === "boolean") return [whole(2, of ? 1 : 0)];
  return [Number.isSafeInteger(of) ? whole(3, of) : double(4, of)];
}

const pair = (field, key, of) => held(field, [said(1, key), held(2, of)]);

const point = ({ attributes, startNs, timeNs, value: { tag, val } }) =>
  held(1, [
    ...attributes.map((one) => pair(7, one.key, value(one.value))),
    fixed(2, startNs),
    fixed(3, timeNs),
    tag === "int" ? fixed(6, val) : double(4, val),
  ]);

function metric({ name, unit, description, data: { tag, val } }) {
  const about = [said(1, name), said(2, description), said(3, unit)];
  if (tag === "gauge") return held(2, [...about, held(5, val.map(point))]);
  return held(2, [...about, held(7, [...val.points.map(point), whole(2, 2), whole(3, val.monotonic ? 1 : 0)])]);
}

/** An export request of metrics as src/whimbrel.js has them; the times must be there. */
export const request = ({ name, version }, metrics) =>
  held(1, [held(2, [held(1, [said(1, name), said(2, version)]), ...metrics.map(metric)])]);
