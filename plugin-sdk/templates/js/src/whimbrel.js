// What a Whimbrel plugin in JavaScript is written with: between a class of yours and the contract.

import { push } from "whimbrel:plugin/emit@0.1.0";
import { nowNs, monotonicNs, random } from "whimbrel:plugin/clock@0.1.0";
import { write } from "whimbrel:plugin/log@0.1.0";
import { reveal } from "whimbrel:plugin/secrets@0.1.0";
import { NAME, VERSION } from "../build/identity.js";
import { request } from "./otlp.js";

export { text, bytes, joined, exact } from "./bytes.js";

// Whole numbers of 64 bits cross as Numbers in both directions: exact up to 2^53, which nanoseconds since 1970 are not.
// The contract's own functions take no BigInts, and end the instance if they get one; what is below takes them.
/** Nanoseconds since 1970, in steps of 256. */
export const now = () => nowNs();
/** Nanoseconds that never go back. */
export const monotonic = () => monotonicNs();
/** Unpredictable bytes, at most 65536; `Math.random` is predictable here. */
export const randomBytes = (length) => random(length);

/**
 * What use(resource) gives, with a resource of the host's, which is given back then. Whoever keeps resources must give
 * them back, too: the garbage collector does so in any order, and what came from another has to go before it.
 */
export function within(resource, use) {
  try {
    return use(resource);
  } finally {
    resource[Symbol.dispose]();
  }
}

/** A secret of the configuration, which `grants: {secrets: [NAME]}` allows. */
export const secret = (name) => reveal(name);

const line = (level) => (message, fields = {}) =>
  write(level, String(message), Object.entries(fields).map(([key, value]) => [key, String(value)]));

/** Lines of the agent's own log: log.info("started", {port: 80}). */
export const log = { trace: line("trace"), debug: line("debug"), info: line("info"), warn: line("warn"), error: line("error") };

/** An error of the contract; throw one to say more than that something failed. */
export class PluginError extends Error {
  /** tag: config, denied, unavailable, invalid, transient, permanent; too-large, with the limit. */
  constructor(tag, message) {
    super(String(message));
    this.tag = tag;
    this.val = message;
  }
}

const LEAST = -(2n ** 63n);
const MOST = 2n ** 63n - 1n;

// Whole numbers are ints. A double that happens to be whole is an int too: say {tag: "double", val: 1} where it matters.
// An int is a Number as far as Numbers are exact, and a BigInt beyond.
function number(of) {
  const tag = of?.tag ?? (typeof of === "bigint" || Number.isInteger(of) ? "int" : "double");
  const val = of?.val ?? of;
  if (tag === "double") return { tag, val: Number(val) };
  if (typeof val !== "bigint" && !Number.isInteger(val)) throw new PluginError("invalid", `${val} is no whole number`);
  if (val < LEAST || val > MOST) {
    // A Number is a double to begin with; from a BigInt the last digits are expected.
    if (typeof val === "number") return { tag: "double", val };
    throw new PluginError("invalid", `${val} has more than 64 bits`);
  }
  return { tag, val: Number.isSafeInteger(Number(val)) ? Number(val) : BigInt(val) };
}

// Numbers beyond 2^53 that were told.
const rounded = new Set();

function reading(metric, of) {
  const it = number(of);
  if (typeof it.val === "bigint" && typeof (of?.val ?? of) === "number" && !rounded.has(metric)) {
    rounded.add(metric);
    log.warn("beyond 2^53 a Number misses whole numbers: count with a BigInt", { metric, value: it.val });
  }
  return it;
}

// An attribute's, or a body's: what no Number holds goes as JSON, which the agent reads digit by digit.
function plain(of) {
  const it = number(of);
  return typeof it.val === "bigint" ? { tag: "json", val: String(it.val) } : it;
}

function value(of) {
  switch (typeof of) {
    case "string": return { tag: "text", val: of };
    case "boolean": return { tag: "boolean", val: of };
    case "number": case "bigint": return plain(of);
    default: return of instanceof Uint8Array ? { tag: "bytes", val: of } : { tag: "json", val: JSON.stringify(of) };
  }
}

const attributes = (of = {}) => Object.entries(of).map(([key, one]) => ({ key, value: value(one) }));
const scope = () => ({ name: NAME, version: VERSION, attributes: [] });

/** What collect is given: takes points and records, and pushes them when collect returns. */
export class Emit {
  #metrics = new Map();
  #records = [];

  #point({ name, unit = "", description = "" }, kind, of, labels, startNs) {
    let metric = this.#metrics.get(name);
    if (!metric) {
      const points = [];
      const data = kind === "gauge"
        ? { tag: "gauge", val: points }
        : { tag: "sum", val: { temporality: "cumulative", monotonic: kind === "counter", points } };
      metric = { points, record: { name, unit, description, data } };
      this.#metrics.set(name, metric);
    }
    const it = reading(name, of);
    if (typeof it.val === "bigint") metric.exact = true;
    metric.points.push({ attributes: attributes(labels), startNs: Number(startNs), timeNs: 0, value: it });
  }

  /** A point of a gauge: metric is {name, unit, description}. */
  gauge(metric, reading, labels) { this.#point(metric, "gauge", reading, labels, 0); }
  /** A point of a counter, which began at startNs. */
  counter(metric, reading, labels, startNs) { this.#point(metric, "counter", reading, labels, startNs); }
  /** A point of a sum that also falls. */
  upDownCounter(metric, reading, labels, startNs = 0) { this.#point(metric, "up-down", reading, labels, startNs); }

  /** A log record: {severity: 13, severityText: "WARN", body, attributes, timeNs}. */
  record({ severity = 9, severityText = "", eventName = "", body = "", attributes: labels, timeNs = 0 }) {
    this.#records.push({
      timeNs: Number(timeNs), observedNs: 0, severity, severityText, eventName, body: value(body), attributes: attributes(labels),
      flags: 0, traceId: new Uint8Array(), spanId: new Uint8Array(),
    });
  }

  /** Makes what was emitted durable, with a checkpoint (Uint8Array) if there is one. At most about 1000 items at once. */
  push(checkpoint) {
    const all = [...this.#metrics.values()];
    const metrics = all.filter((metric) => !metric.exact).map((metric) => metric.record);
    const exact = all.filter((metric) => metric.exact);
    const records = this.#records;
    this.#metrics = new Map();
    this.#records = [];
    const batches = [];
    if (metrics.length > 0) batches.push({ tag: "metrics", val: [{ resource: [], scope: scope(), metrics }] });
    if (exact.length > 0) {
      const timeNs = now();
      for (const { points } of exact) for (const point of points) point.timeNs = timeNs;
      batches.push({ tag: "otlp", val: ["metrics", request(scope(), exact.map((metric) => metric.record))] });
    }
    if (records.length > 0) batches.push({ tag: "logs", val: [{ resource: [], scope: scope(), records }] });
    if (batches.length === 0 && checkpoint !== undefined) batches.push({ tag: "logs", val: [] });
    // The checkpoint goes with the last: until then nothing is done.
    batches.forEach((batch, at) => push(batch, at === batches.length - 1 ? checkpoint : undefined));
  }
}

// What was thrown, as the contract's error; a traceback goes to the agent's log, where there is one worth reading.
function refused(error) {
  if (error instanceof PluginError) return { tag: error.tag, val: error.val };
  const inner = error?.payload ?? error;
  if (inner && typeof inner.tag === "string" && "val" in inner) return inner;
  log.error(`${error}`, { stack: error?.stack ?? "" });
  return { tag: "transient", val: String(error) };
}

function guarded(what) {
  try {
    return what();
  } catch (error) {
    throw refused(error);
  }
}

/**
 * The contract's exports for a class with `constructor({instance, config, checkpoint, intervalMs})`, `collect(emit,
 * deadlineMs)`, which returns true where there is more, and `shutdown()` if need be.
 */
export function collector(Plugin) {
  let plugin;
  return {
    lifecycle: {
      init: (context) => guarded(() => {
        plugin = new Plugin({ ...context, config: JSON.parse(context.config) });
      }),
      shutdown: () => plugin?.shutdown?.(),
    },
    collect: {
      collect: (deadlineMs) => guarded(() => {
        const emit = new Emit();
        const more = plugin.collect(emit, deadlineMs) === true;
        emit.push();
        return more;
      }),
    },
  };
}
