// A real browser on the demo's page: the three buttons are pressed one after the other, by mouse and by keyboard, the
// counters must be as promised, and pictures are taken at 360 and at 1600 pixels, in light and dark.
//
//   npm install --no-save playwright-core        (in any folder; Debian: apt install chromium)
//   cargo demo                                   (in another terminal: it prints the address)
//   node tests/interop/page.mjs http://127.0.0.1:PORT FOLDER-FOR-PICTURES
//
// CHROMIUM names another browser than /usr/bin/chromium. Exit code 0: everything was as promised.

import { createRequire } from "node:module";
import { join, resolve } from "node:path";

// From the folder where it is called: the repository has no packages of its own.
const { chromium } = createRequire(resolve("package.json"))("playwright-core");
const [url, folder = "."] = process.argv.slice(2);
const PATIENCE = 60_000;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
const complaints = [];
page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(error.message));

const text = async (id) => (await page.innerText(`#${id}`)).replace(/\s+/g, " ");
const count = async (name) => Number(await page.getAttribute(`#count-${name}`, "data-value"));
const counts = async () => {
  const names = ["appended", "delivered", "pending", "lost", "repeated"];
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await count(name)])));
};

function check(holds, what, seen) {
  if (!holds) throw new Error(`${what}: ${JSON.stringify(seen)}`);
}

async function until(what, holds) {
  const end = Date.now() + PATIENCE;
  while (!(await holds())) {
    check(Date.now() < end, `not in time: ${what}`, { counts: await counts(), state: await text("demo-state") });
    await page.waitForTimeout(200);
  }
  const now = await counts();
  check(now.lost === 0 && now.repeated === 0, `${what}: lost or repeated`, now);
  console.log(what.padEnd(28), JSON.stringify(now));
}

async function picture(name, width, colorScheme) {
  await page.emulateMedia({ colorScheme });
  await page.setViewportSize({ width, height: 900 });
  await page.waitForTimeout(1500);
  const [wide, seen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  check(wide <= seen, `${name}: the page is wider than the screen`, { wide, seen });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}

try {
  await page.goto(url);
  await until("live", async () => (await text("link")) === "live" && (await count("delivered")) > 10);

  await page.focus("#do-backend");
  await page.keyboard.press("Enter");
  await until("the backend is stopped", async () => (await text("demo-state")).includes("backend is stopped"));
  await until("the backlog fills", async () => (await count("pending")) > 12);
  check((await page.evaluate(() => document.activeElement.id)) === "do-backend", "the focus is kept", null);
  await until("it drains", async () =>
    (await text("demo-state")).includes("backend up") && (await text("demo-events")).includes("drained"));

  const starts = async () => Number((await text("demo-state")).match(/start (\d+)/)?.[1] ?? 0);
  const before = await starts();
  await page.click("#do-kill");
  await until("the agent is killed", async () => (await text("demo-state")).includes("the agent is dead"));
  await until("it is started again", async () => (await starts()) > before);
  const delivered = await count("delivered");
  await until("it delivers on", async () => (await count("delivered")) > delivered + 4);

  await page.click("#do-hostile");
  await until("the hostile plugin is named", async () => (await text("demo-hostile")).includes("hostile"));
  await until("it is set aside", async () => (await text("demo-events")).includes("contained for good"));
  check(/host running \d+ 0 0/.test(await text("demo-hostile")), "the host collector missed nothing", await text("demo-hostile"));

  await page.click("#do-record");
  await until("a record is shown", async () => (await text("demo-record")).includes("The same, decoded"));
  for (const scheme of ["light", "dark"]) {
    await picture(`page-1600-${scheme}`, 1600, scheme);
    await picture(`page-360-${scheme}`, 360, scheme);
  }
  check(complaints.length === 0, "the browser complained", complaints);
  console.log("as promised");
} finally {
  await browser.close();
}
