// Builds the package into dist: the compiled TypeScript, and nano's files with their manifest. The WebAssembly module in
// dist/wasm is made by `./x web`, from the crate beside this package.
//
// --release: also insist that all that a published package needs is there, and bring the licences along.

import { spawnSync } from 'node:child_process';
import { copyFile, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { manifest } from '../bin/fovea-manifest.js';

const here = fileURLToPath(new URL('..', import.meta.url));
const root = join(here, '../..');
const release = process.argv.includes('--release');

const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
const compiled = spawnSync(process.execPath, [tsc, '--project', here], { stdio: 'inherit' });
if (compiled.status !== 0) process.exit(compiled.status ?? 1);

// nano, as its manifest lists it.
const from = join(root, 'models/nano');
const to = join(here, 'dist/models/nano');
const made = await manifest(from);
await mkdir(to, { recursive: true });
const names = made.files.map(({ name }) => name);
for (const stale of await readdir(to)) if (!names.includes(stale)) await rm(join(to, stale));
for (const name of names) await copyFile(join(from, name), join(to, name));
await writeFile(join(to, 'manifest.json'), `${JSON.stringify(made)}\n`);

// The package names each of nano's files, for bundlers to find them.
const { NANO } = await import('../dist/location.js');
const named = Object.keys(NANO).sort().join(' ');
const expected = [...names, 'manifest.json'].sort().join(' ');
if (named !== expected) throw new Error(`src/location.ts lists nano as\n  ${named}\nbut its folder has\n  ${expected}`);

if (release) {
  for (const file of ['fovea_web.js', 'fovea_web_bg.wasm']) {
    const path = join(here, 'dist/wasm', file);
    if (!(await stat(path).catch(() => undefined))) throw new Error(`${path} is missing: run ./x web first`);
  }
  for (const file of ['LICENSE-MIT', 'LICENSE-APACHE']) await copyFile(join(root, file), join(here, file));
}
