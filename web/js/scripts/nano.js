// Puts nano's files with their manifest into the package fovea-nano, web/nano/model.
//
// --release: also bring the licences along.

import { copyFile, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { manifest } from '../bin/fovea-manifest.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const from = join(root, 'models/nano');
const packed = join(root, 'web/nano');
const to = join(packed, 'model');

const made = await manifest(from);
const names = made.files.map(({ name }) => name);
await mkdir(to, { recursive: true });
for (const stale of await readdir(to)) if (!names.includes(stale)) await rm(join(to, stale));
for (const name of names) await copyFile(join(from, name), join(to, name));
await writeFile(join(to, 'manifest.json'), `${JSON.stringify(made)}\n`);

const { default: nano } = await import('../../nano/index.js');
const named = Object.keys(nano.files).sort().join(' ');
const expected = [...names, 'manifest.json'].sort().join(' ');
if (named !== expected) throw new Error(`web/nano/index.js lists\n  ${named}\nbut models/nano has\n  ${expected}`);

if (process.argv.includes('--release')) {
  for (const file of ['LICENSE-MIT', 'LICENSE-APACHE']) await copyFile(join(root, file), join(packed, file));
}
