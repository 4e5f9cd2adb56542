// Runs in node, without the sandbox: `npm test`. `whimbrel plugin test` runs the component.

import assert from "node:assert/strict";
import { test } from "node:test";
import { define } from "../src/my-plugin.js";

class PluginError extends Error {
  constructor(tag, message) {
    super(message);
    this.tag = tag;
  }
}

function run(config, now) {
  const lines = [], points = [], records = [];
  const log = { info: (message, fields) => lines.push([message, fields]) };
  const MyPlugin = define({ now: () => now, log, PluginError });
  const plugin = new MyPlugin({ config });
  plugin.collect({ gauge: (...point) => points.push(point), record: (record) => records.push(record) });
  return { lines, points, records };
}

test("it labels the gauge", () => {
  const { points, records } = run({ label: "tested" }, 30_000_000_000);
  assert.equal(points[0][1], 30);
  assert.deepEqual(points[0][2], { label: "tested" });
  assert.equal(records.length, 0);
});

test("it tells when the minute gets old", () => {
  assert.equal(run({ warn_above: 20 }, 30_000_000_000).records[0].severityText, "WARN");
});

test("it refuses what no minute has", () => {
  assert.throws(() => run({ warn_above: 61 }, 0), /warn_above/);
});
