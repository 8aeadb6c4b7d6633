// Builds the package into dist, the compiled TypeScript, and the package fovea-nano beside it. The WebAssembly module in
// dist/wasm is made by `./x web`, from the crate beside this package.
//
// --release: also insist that all that a published package needs is there, and bring the licences along.

import { spawnSync } from 'node:child_process';
import { copyFile, readdir, rm, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('..', import.meta.url));
const root = join(here, '../..');
const release = process.argv.includes('--release');

// What an earlier build left must not be packed. Modules stay while they are written anew: another process may use them.
const dist = join(here, 'dist');
const sources = new Set((await readdir(join(here, 'src'))).map((name) => name.replace(/\.ts$/, '')));
for (const name of await readdir(dist).catch(() => [])) {
  if (name !== 'wasm' && !sources.has(name.split('.')[0])) await rm(join(dist, name), { recursive: true });
}

const run = (...args) => {
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
};
const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
run(tsc, '--project', here);
run(join(here, 'scripts/nano.js'), ...(release ? ['--release'] : []));

if (release) {
  for (const file of ['fovea_web.js', 'fovea_web_bg.wasm']) {
    const path = join(dist, 'wasm', file);
    if (!(await stat(path).catch(() => undefined))) throw new Error(`${path} is missing: run ./x web first`);
  }
  for (const file of ['LICENSE-MIT', 'LICENSE-APACHE']) await copyFile(join(root, file), join(here, file));
}
