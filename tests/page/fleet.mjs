// A fleet of its own: `ctl up` as an operator would run it, and `ctl` at its side.

import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const CTL = "target/debug/ctl";
const START_MS = 30_000;
const STOP_MS = 15_000;
/** First ports, below those that the kernel hands out for outgoing connections: none of those gets in the way. */
const FIRST_PORT = 15_000;
const LAST_PORT = 31_900;
const START_ATTEMPTS = 5;
/** Customers that are created at once: a cell sheds what is more than it takes. */
const AT_ONCE = 10;
// Two instances of every cell, one in each zone.
const CELLS = `[deployment]
name = "page"
namespace = "6f1a0c52-9f35-4d0e-8a3d-3c1c6a6b1f10"
region = "us-east-1"
zones = ["az-1", "az-2"]
`;

const run = promisify(execFile);

export async function startFleet(cells, flags = []) {
  const data = await mkdtemp(join(tmpdir(), "wallet-page-"));
  const config = join(data, "cells.toml");
  // The last one is small: then it is evacuated within seconds.
  const cell = (at) => `[[cells]]\nid = "cell-${at + 1}"\nweight = ${at + 1 === cells ? 1 : 10}\n`;
  const names = Array.from({ length: cells }, (_, at) => cell(at));
  await writeFile(config, CELLS + names.join(""));
  let log = "";
  for (let attempt = 0; attempt < START_ATTEMPTS; attempt++) {
    const port = FIRST_PORT + Math.floor((Math.random() * (LAST_PORT - FIRST_PORT)) / 100) * 100;
    const words = ["--data", join(data, "fleet"), "--actor", "check", "--reason", "check", "up", "--config", config];
    const up = spawn(CTL, [...words, "--port", `${port}`, "--instances", "2", "--max-tps", "5000", ...flags]);
    log = await started(up);
    if (log.includes("try, in another terminal")) return new Fleet(up, port, data, flags.includes("--secure"));
    await stopped(up);
    if (!log.includes("is in use")) throw new Error(`the fleet did not start:\n${log}`);
  }
  throw new Error(`no free ports in ${START_ATTEMPTS} attempts:\n${log}`);
}

/** What it printed until it was ready, or ended. */
function started(up) {
  return new Promise((resolve) => {
    let log = "";
    const timer = setTimeout(() => resolve(log), START_MS);
    const end = () => (clearTimeout(timer), resolve(log));
    const read = (chunk) => {
      log += chunk;
      if (log.includes("try, in another terminal")) end();
    };
    up.stdout.on("data", read);
    up.stderr.on("data", read);
    up.on("exit", end);
    up.on("error", (error) => ((log += error), end()));
  });
}

function stopped(up) {
  if (up.exitCode !== null || up.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => up.kill("SIGKILL"), STOP_MS);
    up.on("exit", () => (clearTimeout(timer), resolve()));
    up.kill("SIGTERM");
  });
}

class Fleet {
  constructor(up, port, data, secure) {
    Object.assign(this, { up, port, data });
    this.page = `${secure ? "https" : "http"}://127.0.0.1:${port + 3}/page/`;
    this.router = `http://127.0.0.1:${port}`;
  }

  async ctl(...words) {
    const { stdout } = await run(CTL, ["--data", join(this.data, "fleet"), "--actor", "check", ...words]);
    return stdout.trim();
  }

  async customers(count) {
    const post = async (path, body) => {
      const headers = { "content-type": "application/json" };
      const answer = await fetch(this.router + path, { method: "POST", headers, body: JSON.stringify(body) });
      if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
      return answer.json();
    };
    const create = async (at) => {
      const { walletId } = await post("/api/v1/wallets", { userId: `customer-${at}` });
      for (let time = 0; time < 6; time++) await post(`/api/v1/wallets/${walletId}/deposit`, { amount: "1234.56" });
      return walletId;
    };
    const wallets = [];
    while (wallets.length < count) {
      const some = Array.from({ length: Math.min(AT_ONCE, count - wallets.length) }, (_, at) => wallets.length + at);
      wallets.push(...(await Promise.all(some.map(create))));
    }
    return wallets;
  }

  async stop() {
    await stopped(this.up);
    await rm(this.data, { recursive: true, force: true });
  }
}
