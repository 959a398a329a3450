// A browser that keeps account of what must not happen: errors in the console, requests to other
// sites.

import assert from "node:assert/strict";

export const WIDE = { width: 1280, height: 900 };
export const PHONE = { width: 360, height: 740 };

/** A window onto a fleet. What is refused on purpose logs an error too: then `isStrict` is false. */
export async function open(browser, viewport, isStrict = true, more = {}) {
  const context = await browser.newContext({ viewport, ignoreHTTPSErrors: true, ...more });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const faults = [];
  page.on("pageerror", (error) => faults.push(`script: ${error}`));
  page.on("console", (message) => {
    if (isStrict && ["error", "warning"].includes(message.type())) faults.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    const [asked, here] = [new URL(request.url()), page.url()];
    if (here.startsWith("http") && asked.protocol !== "data:" && asked.origin !== new URL(here).origin) {
      faults.push(`request to ${asked.origin}`);
    }
  });
  return { context, page, faults };
}

export async function fitsItsWidth(page) {
  const wider = await page.evaluate(() => {
    const most = document.documentElement.clientWidth;
    const out = [...document.querySelectorAll("body *")].filter((one) => {
      const { right, width } = one.getBoundingClientRect();
      return width > 1 && right > most + 1;
    });
    return { scrolls: document.documentElement.scrollWidth > most, out: out.slice(0, 5).map((one) => one.outerHTML.slice(0, 120)) };
  });
  assert.deepEqual(wider, { scrolls: false, out: [] }, "nothing is wider than the screen");
}

/** Rounds through a page, of which each can meet an update that replaces a part of it. */
const ROUNDS = 5;

/** Every control that is to be seen is reached by Tab, and is seen to be reached. Answers how many there are. */
export async function isReachedByTab(page) {
  for (let round = 1; ; round++) {
    const { reached, count } = await tabThrough(page);
    const left = await page.evaluate(() => document.querySelectorAll("[data-control]").length);
    if (reached === count || left === count || round === ROUNDS) {
      assert.equal(reached, count, "controls reached by Tab");
      return count;
    }
  }
}

async function tabThrough(page) {
  const count = await page.evaluate(() => {
    const all = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, summary")];
    const seen = all.filter((one) => one.checkVisibility({ visibilityProperty: true }));
    all.forEach((one) => delete one.dataset.control);
    seen.forEach((one, at) => (one.dataset.control = at));
    document.activeElement?.blur();
    document.body.focus();
    return seen.length;
  });
  const reached = new Set();
  for (let press = 0; press < count + 5 && reached.size < count; press++) {
    await page.keyboard.press("Tab");
    const { control, outline, name } = await page.evaluate(() => {
      const one = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(one);
      const outline = outlineStyle === "none" ? 0 : parseFloat(outlineWidth);
      return { control: one.dataset.control, outline, name: one.outerHTML.slice(0, 100) };
    });
    if (control === undefined) continue;
    reached.add(control);
    assert.ok(outline >= 2, `focus is not to be seen on ${name}`);
  }
  return { reached: reached.size, count };
}

/** Tab until the element with this id has the focus. */
export async function tabTo(page, id) {
  for (let press = 0; press < 200; press++) {
    if (await page.evaluate((id) => document.activeElement?.id === id, id)) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`${id} is not reached by Tab`);
}
