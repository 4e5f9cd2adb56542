// Runs in node, without the sandbox: `npm test`. `whimbrel plugin test` runs the component.

import assert from "node:assert/strict";
import { test } from "node:test";
import { at, define } from "../src/status-page.js";

class PluginError extends Error {
  constructor(tag, message) {
    super(message);
    this.tag = tag;
  }
}

function run(answer) {
  const points = [];
  const StatusPage = define({ log: { warn() {} }, PluginError, httpGet: () => answer });
  const config = { url: "http://a/", figures: { one: { path: "a.0.b" }, two: { path: "c" } } };
  new StatusPage({ config }).collect({ gauge: (...point) => points.push(point) });
  return points;
}

test("figures are found by their path, and what is missing is left out", () => {
  const points = run({ status: 200, json: () => ({ a: [{ b: 7 }] }) });
  assert.deepEqual(points, [[{ name: "one", unit: "" }, 7]]);
  assert.equal(at({}, "a.b.c"), undefined);
});

test("an answer that is no page is an error", () => {
  assert.throws(() => run({ status: 503 }), /503/);
});
