#!/usr/bin/env node
// Writes manifest.json into a model's folder: sizes and SHA-256 of its files and of their chunks.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** Bytes of a chunk; the same number as in the package's `manifest.ts`. */
const CHUNK = 4 * 1024 * 1024;

/** Files beside a model's weights, as `listing.ts` has them; others in its folder (cards, samples, training) are not listed. */
const SMALL = [
  'config.json',
  'generation_config.json',
  'preprocessor_config.json',
  'processor_config.json',
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'vocab.json',
  'merges.txt',
  'added_tokens.json',
  'special_tokens_map.json',
  'chat_template.json',
  'chat_template.jinja',
  'additional_chat_templates/tool_use.jinja',
];
const WEIGHTS = /\.safetensors(\.index\.json)?$/;

const isFile = (path) => stat(path).then((found) => found.isFile(), () => false);

/** The manifest of a folder. Files are read as streams, so their size does not matter. */
export async function manifest(folder) {
  const names = (await readdir(folder)).filter((name) => WEIGHTS.test(name));
  for (const name of SMALL) if (await isFile(join(folder, name))) names.push(name);
  names.sort();
  if (!names.includes('config.json')) throw new Error(`${folder}: no config.json in this folder`);
  const files = [];
  for (const name of names) {
    const whole = createHash('sha256');
    const chunks = [];
    let chunk = createHash('sha256');
    let filled = 0;
    let bytes = 0;
    for await (let piece of createReadStream(join(folder, name), { highWaterMark: 1 << 20 })) {
      whole.update(piece);
      bytes += piece.length;
      while (piece.length > 0) {
        const part = piece.subarray(0, CHUNK - filled);
        chunk.update(part);
        filled += part.length;
        piece = piece.subarray(part.length);
        if (filled === CHUNK) {
          chunks.push(chunk.digest('hex'));
          chunk = createHash('sha256');
          filled = 0;
        }
      }
    }
    if (filled > 0) chunks.push(chunk.digest('hex'));
    files.push({ name, bytes, sha256: whole.digest('hex'), chunks });
  }
  return { version: 1, chunk: CHUNK, files };
}

/** The hash of a manifest, as the option `integrity` takes it. */
export function integrity(text) {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`;
}

async function main([folder, ...rest]) {
  if (!folder || rest.length > 0 || folder.startsWith('-')) {
    console.error('usage: fovea-manifest DIR\n\nWrites DIR/manifest.json for a model in DIR, and prints its hash for the option `integrity`.');
    return 2;
  }
  if (!(await stat(folder).catch(() => undefined))?.isDirectory()) {
    console.error(`fovea-manifest: ${folder} is not a folder`);
    return 1;
  }
  try {
    const made = await manifest(folder);
    const text = `${JSON.stringify(made)}\n`;
    await writeFile(join(folder, 'manifest.json'), text);
    const bytes = made.files.reduce((sum, file) => sum + file.bytes, 0);
    console.log(`${join(folder, 'manifest.json')}: ${made.files.length} files, ${bytes} bytes`);
    console.log(`integrity: ${integrity(text)}`);
    return 0;
  } catch (error) {
    console.error(`fovea-manifest: ${error.message}`);
    return 1;
  }
}

// npm starts programs through a link, so the script's own address tells nothing: `argv[1]` resolved does.
const { realpath } = await import('node:fs/promises');
if (process.argv[1] && import.meta.url === pathToFileURL(await realpath(process.argv[1])).href) {
  process.exitCode = await main(process.argv.slice(2));
}
