/** Runs the scripts of cdk/scripts with programs that a test puts in place of others. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export class Sandbox {
  readonly folder = mkdtempSync(join(tmpdir(), 'wallet-cdk-'));

  /** A program in front of all others of its name; `$kept` is a folder that outlives it. */
  program(name: string, lines: string): void {
    writeFileSync(join(this.folder, name), `#!/bin/bash\nkept=${this.folder}\n${lines}\n`, { mode: 0o755 });
  }

  keep(file: string, text: string): void {
    writeFileSync(join(this.folder, file), text);
  }

  kept(file: string): string {
    return readFileSync(join(this.folder, file), 'utf8');
  }

  run(script: string, args: string[], env: Record<string, string>) {
    const path = fileURLToPath(new URL(`../scripts/${script}`, import.meta.url));
    const { status, stdout, stderr } = spawnSync(path, args, {
      encoding: 'utf8',
      env: { PATH: `${this.folder}:${process.env['PATH']}`, HOME: this.folder, ...env },
    });
    return { status, said: stdout + stderr };
  }
}
