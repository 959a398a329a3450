// scripts/check-page runs this. Each check says what holds; the first that does not ends it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { createServer } from "node:http";
import { chromium } from "playwright-core";
import { PHONE, WIDE, fitsItsWidth, isReachedByTab, open, tabTo } from "./browser.mjs";
import { startFleet } from "./fleet.mjs";

const SHOTS = "target/page";
const CUSTOMERS = 90;
// So slow that a migration can be looked at and paused.
const SLOW = ["--max-bytes-per-sec", "1500", "--max-concurrent", "1"];

const began = Date.now();
const done = (what) => console.log(`${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s  ${what}`);
const text = (page, selector) => page.locator(selector).innerText();
/** Where the picture of the page in README.md is put, if it is to be taken. */
const PICTURE = process.env.WALLET_PICTURE;
const shoot = (page, name) => page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true });

async function shootBoth(wide, phone, name) {
  await Promise.all([shoot(wide.page, `${name}-1280`), shoot(phone.page, `${name}-360`)]);
  await fitsItsWidth(phone.page);
  await fitsItsWidth(wide.page);
}

async function idle(fleet, wide, phone) {
  for (const { page } of [wide, phone]) {
    await page.goto(fleet.page.replace("/page/", "/"));
    assert.equal(page.url(), fleet.page, "the root leads to the page");
    await page.locator("#link.live").waitFor();
  }
  await wide.page.locator("#fleet", { hasText: "of 5\u202f000 writes/s" }).waitFor();
  const fleetText = await text(wide.page, "#fleet");
  for (const part of ["cell-1", "cell-2", "cell-3", "active", "ready", "room for", "47.6 %", "Deploy wave", "zone az-1"]) {
    assert.ok(fleetText.includes(part), `${part} is missing in the fleet`);
  }
  const order = await wide.page.locator("main > section").evaluateAll((all) => all.map((one) => one.id));
  assert.deepEqual(order, ["summary", "fleet", "moves", "look-up", "evacuations", "deploys", "zones", "changes", "audit"]);
  assert.ok((await text(wide.page, ".banner")).includes("Open fleet"));
  assert.ok(!(await text(wide.page, "body")).includes("1234.56"), "no money");
  await shootBoth(wide, phone, "idle");
  done("an idle fleet: its cells, in the right order, without anything wider than a phone");
  const count = [await isReachedByTab(wide.page), await isReachedByTab(phone.page)];
  done(`${count[0]} controls are reached by Tab at 1280 pixels, ${count[1]} at 360, each with its focus to be seen`);
}

async function migration(fleet, wide, phone) {
  for (const { page } of [wide, phone]) await page.evaluate(() => (window.sameDocument = true));
  await fleet.ctl("migrate", "--bucket", "0000..5554", "--to", "cell-2", ...SLOW, "--yes", "--detach", "--reason", "room");
  const steps = /(\d+) of 3\d\d steps/;
  for (const { page } of [wide, phone]) await page.locator("#op-1 > .head .badge", { hasText: "running" }).waitFor();
  const before = Number((await text(wide.page, "#op-1")).match(steps)[1]);
  // A visitor types while it goes on.
  await wide.page.locator("#do-operation-op-1-abort-open").click();
  await wide.page.locator("#do-operation-op-1-abort-reason").fill("half a rea");
  await wide.page.waitForFunction((before) => {
    const found = document.getElementById("op-1").innerText.match(/(\d+) of 3\d\d steps/);
    return found && Number(found[1]) > before;
  }, before);
  await shootBoth(wide, phone, "migration");
  if (PICTURE) await wide.page.screenshot({ path: PICTURE, fullPage: true, clip: { ...WIDE, x: 0, y: 0, height: 1160 } });
  const kept = await wide.page.evaluate(() => [document.activeElement.id, document.activeElement.value, window.sameDocument]);
  assert.deepEqual(kept, ["do-operation-op-1-abort-reason", "half a rea", true], "focus and text outlive an update");
  assert.ok((await text(wide.page, "#do-operation-op-1-abort-command")).startsWith("ctl migrate abort op-1 --reason"));
  done("a migration appears and goes on without a reload, and a visitor that types is not disturbed");

  await wide.page.evaluate(() => document.activeElement.blur());
  await tabTo(wide.page, "do-operation-op-1-pause-open");
  await wide.page.keyboard.press("Enter");
  await tabTo(wide.page, "do-operation-op-1-pause-actor");
  await wide.page.keyboard.type("night");
  await tabTo(wide.page, "do-operation-op-1-pause-reason");
  await wide.page.keyboard.type("customers complain");
  await tabTo(wide.page, "do-operation-op-1-pause-go");
  await wide.page.keyboard.press("Enter");
  await wide.page.locator(".done", { hasText: "Done: pause op-1" }).waitFor();
  await phone.page.locator("#op-1 > .head .badge", { hasText: "paused" }).waitFor();
  assert.equal(await phone.page.evaluate(() => window.sameDocument), true);
  assert.match(await text(phone.page, "#news"), /op-1 is paus/);
  const audit = JSON.parse(await fleet.ctl("audit", "-o", "json", "--operation", "op-1"));
  const paused = audit.find((entry) => entry.what.startsWith("pause:"));
  assert.deepEqual([paused?.actor, paused?.reason], ["night", "customers complain"]);
  await phone.page.locator("#audit", { hasText: "customers complain" }).waitFor();
  done("it is paused by keyboard alone, with a reason, and the other window learns of it");

  await fleet.ctl("migrate", "abort", "op-1", "--reason", "enough");
  await phone.page.locator("#op-1 > .head .badge", { hasText: "aborted" }).waitFor();
}

async function deploy(fleet, wide, phone) {
  const version = ["--version", "2.0.0-page", "--binary", "target/debug/cell", "--baseline-seconds", "1", "--bake-seconds", "600"];
  await fleet.ctl("deploy", "start", ...version, "--yes", "--detach", "--reason", "the new journal");
  for (const { page } of [wide, phone]) await page.locator("#deploy-1 > .head .badge", { hasText: "baking" }).waitFor();
  const shown = await text(wide.page, "#deploy-1");
  for (const part of ["version 2.0.0-page", "Wave 1: cell-1", "now", "2 of 2 instances", "“the new journal”"]) {
    assert.ok(shown.includes(part), `${part} is missing in the deploy`);
  }
  await wide.page.locator("#cell-cell-1", { hasText: "2.0.0-page" }).waitFor();
  await shootBoth(wide, phone, "deploy");
  await phone.page.locator("#do-deploy-deploy-1-rollback-open").click();
  assert.ok((await text(phone.page, "#do-deploy-deploy-1-rollback-command")).startsWith("ctl deploy rollback deploy-1"));
  await phone.page.locator("#do-deploy-deploy-1-rollback-actor").fill("night");
  await phone.page.locator("#do-deploy-deploy-1-rollback-reason").fill("not tonight");
  await phone.page.locator("#do-deploy-deploy-1-rollback-go").click();
  for (const { page } of [wide, phone]) await page.locator("#deploy-1 > .head .badge", { hasText: "rolled back" }).waitFor();
  await wide.page.locator("#cell-cell-1", { hasNotText: "2.0.0-page" }).waitFor();
  done("a deploy is watched wave by wave, and taken back from a phone");
}

async function evacuation(fleet, wide, phone) {
  const { page } = wide;
  await page.locator("#do-cell-cell-3-evacuate-open").click();
  await page.locator("#do-cell-cell-3-evacuate-actor").fill("night");
  await page.locator("#do-cell-cell-3-evacuate-reason").fill("its disk is failing");
  await page.locator("#do-cell-cell-3-evacuate-confirm").fill("cell-3");
  await page.locator("#do-cell-cell-3-evacuate-go").click();
  await page.locator(".done", { hasText: "evacuate cell-3" }).waitFor();
  await page.locator("#op-2", { hasText: "evacuate cell-3" }).waitFor();
  await page.locator("#op-2 > .head .badge", { hasText: "done" }).waitFor({ timeout: 40_000 });
  for (const one of [page, phone.page]) await one.locator("#cell-cell-3 .head", { hasText: "empty" }).waitFor();
  await shootBoth(wide, phone, "evacuated");
  const cells = JSON.parse(await fleet.ctl("cell", "list", "-o", "json"));
  assert.equal(cells.find((cell) => cell.id === "cell-3").buckets, 0);
  done("a cell is evacuated from the page, and is empty");
}

async function zones({ page }) {
  await page.locator("#do-zone-az-1-evacuate-open").click();
  await page.locator("#do-zone-az-1-evacuate-actor").fill("night");
  await page.locator("#do-zone-az-1-evacuate-reason").fill("power is unsteady");
  await page.locator("#do-zone-az-1-evacuate-minutes").fill("5");
  await page.locator("#do-zone-az-1-evacuate-go").click();
  await page.locator("#zone-az-1", { hasText: "Requests go elsewhere until" }).waitFor();
  await page.locator("#summary", { hasText: "zone az-1 is left" }).waitFor();
  done("a zone is left, and the page says until when");
}

async function lookUp(fleet, wallets, wide, phone) {
  const expected = JSON.parse(await fleet.ctl("where", "customer-7", "-o", "json"));
  await wide.page.locator("#where-id").fill("customer-7");
  await wide.page.keyboard.press("Enter");
  await wide.page.locator("#found").waitFor();
  const found = await text(wide.page, "#found");
  for (const part of [expected.walletId, expected.bucket, expected.cell, `${expected.placementVersion}`, "bootstrap"]) {
    assert.ok(found.includes(part), `${part} is missing in what was found`);
  }
  assert.ok(!found.includes("7407"), "no balance");
  await isReachedByTab(wide.page);
  await phone.page.goto(`${fleet.page}where?id=${wallets[7]}`);
  assert.ok((await text(phone.page, "#found")).includes(expected.cell));
  await shootBoth(wide, phone, "where");
  done("a customer's place is found, by user and by wallet, with how it came there");
}

/** A page of another site, which posts a form to ours. */
async function crossSite(browser, target) {
  const body = `<form method=post action="${target}"><input name=reason value=x></form><script>document.forms[0].submit()</script>`;
  const server = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(body));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const { context, page } = await open(browser, WIDE, false);
    const answered = page.waitForResponse((response) => response.url() === target);
    await page.goto(`http://localhost:${server.address().port}/`);
    const answer = await answered;
    assert.equal(answer.status(), 403);
    assert.ok((await answer.text()).includes("cross_site"));
    await context.close();
  } finally {
    server.close();
  }
}

async function openFleet(browser) {
  const fleet = await startFleet(3);
  try {
    const wallets = await fleet.customers(CUSTOMERS);
    done(`an open fleet runs, with ${CUSTOMERS} customers`);
    const [wide, phone] = [await open(browser, WIDE), await open(browser, PHONE, true, { hasTouch: true, isMobile: true })];
    await idle(fleet, wide, phone);
    await migration(fleet, wide, phone);
    await deploy(fleet, wide, phone);
    await evacuation(fleet, wide, phone);
    await zones(wide);
    const dark = await open(browser, PHONE, true, { colorScheme: "dark" });
    await dark.page.goto(fleet.page);
    await dark.page.locator("#link.live").waitFor();
    await shoot(dark.page, "evacuated-dark-360");
    await lookUp(fleet, wallets, wide, phone);
    await crossSite(browser, `${fleet.page}do/cell/cell-1/drain`);
    assert.equal(JSON.parse(await fleet.ctl("cell", "show", "cell-1", "-o", "json")).state, "active");
    for (const { context, faults } of [wide, phone, dark]) {
      assert.deepEqual(faults, [], "errors, and requests to others");
      await context.close();
    }
    done("a form of another site is refused; no error in any console, and no request to another site");
  } finally {
    await fleet.stop();
  }
}

async function signIn(page, fleet, token) {
  await page.goto(fleet.page);
  assert.equal(page.url(), `${fleet.page}login`);
  await page.locator("#token").fill(token);
  await page.keyboard.press("Enter");
}

async function secureFleet(browser) {
  const fleet = await startFleet(2, ["--secure"]);
  try {
    const token = (role) => fleet.ctl("token", "--operator", "vic", "--role", role);
    const [viewer, admin] = await Promise.all([token("viewer"), token("admin")]);
    const looking = await open(browser, PHONE, false);
    await signIn(looking.page, fleet, "not.a.token");
    await looking.page.locator(".problem", { hasText: "token_invalid" }).waitFor();
    await shoot(looking.page, "login-360");
    await fitsItsWidth(looking.page);
    await isReachedByTab(looking.page);
    await looking.page.locator("#token").fill(viewer);
    await looking.page.keyboard.press("Enter");
    await looking.page.locator("#link.live").waitFor();
    assert.ok((await text(looking.page, ".who")).includes("operator:vic (viewer)"));
    assert.equal(await looking.page.locator("details.action, form[action^='/page/do/']").count(), 0, "a viewer's buttons");
    const [cookie] = await looking.context.cookies();
    assert.deepEqual([cookie.httpOnly, cookie.secure, cookie.sameSite, cookie.path], [true, true, "Strict", "/page"]);
    const seal = createHash("sha256").update("wallet page form\n").update(viewer).digest("hex").slice(0, 32);
    const forge = (path, seal) =>
      looking.page.evaluate(async ([path, seal]) => {
        const answer = await fetch(path, { method: "POST", body: new URLSearchParams({ seal, reason: "forged", confirm: "cell-1" }) });
        return [answer.status, (await answer.text()).match(/code <code>([a-z_]+)/)?.[1]];
      }, [path, seal]);
    for (const action of ["cell/cell-1/evacuate", "cell/cell-1/drain", "fleet/all/rebalance"]) {
      assert.deepEqual(await forge(`/page/do/${action}`, seal), [403, "forbidden"]);
      assert.deepEqual(await forge(`/page/do/${action}`, "0".repeat(32)), [403, "form_expired"]);
    }
    done("a secure fleet asks for a token; a viewer has no buttons, and a forged form is refused by the policy");

    const acting = await open(browser, WIDE, false);
    await signIn(acting.page, fleet, admin);
    await acting.page.locator("#do-cell-cell-1-drain-open").click();
    assert.equal(await acting.page.locator("#do-cell-cell-1-drain-actor").count(), 0, "the token names the actor");
    await acting.page.locator("#do-cell-cell-1-drain-reason").fill("to look at it");
    await acting.page.locator("#do-cell-cell-1-drain-go").click();
    await acting.page.locator("#cell-cell-1 .head", { hasText: "draining" }).waitFor();
    await looking.page.locator("#cell-cell-1 .head", { hasText: "draining" }).waitFor();
    await acting.page.locator("#changes", { hasText: "operator:vic" }).waitFor();
    await shoot(acting.page, "secure-1280");
    await crossSite(browser, `${fleet.page}do/cell/cell-2/drain`);
    await acting.page.locator(".who button").click();
    await acting.page.locator("#token").waitFor();
    await acting.page.goto(fleet.page);
    assert.equal(acting.page.url(), `${fleet.page}login`, "signed out");
    assert.deepEqual([...looking.faults, ...acting.faults], []);
    await Promise.all([looking.context.close(), acting.context.close()]);
    done("an admin acts under the name of the token, the viewer sees it, another site's form is refused, and signing out ends it");
  } finally {
    await fleet.stop();
  }
}

await mkdir(SHOTS, { recursive: true });
const flags = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });
try {
  await openFleet(browser);
  await secureFleet(browser);
  done(`done; screenshots are in ${SHOTS}`);
} finally {
  await browser.close();
}
