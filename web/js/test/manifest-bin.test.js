// The program fovea-manifest, as a user starts it.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { SMALL_FILES } from '../dist/listing.js';
import { CHUNK, parseManifest } from '../dist/manifest.js';
import { hashOf, noise } from './fakes.js';

const program = fileURLToPath(new URL('../bin/fovea-manifest.js', import.meta.url));

test('fovea-manifest lists a model with the hashes of its chunks', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fovea-manifest-'));
  try {
    const weights = noise(2 * CHUNK + 17);
    writeFileSync(join(folder, 'model.safetensors'), weights);
    mkdirSync(join(folder, 'additional_chat_templates'));
    for (const name of SMALL_FILES) writeFileSync(join(folder, name), name === 'config.json' ? '{}' : '');
    writeFileSync(join(folder, 'README.md'), 'a card');
    // npm starts it through a link.
    const link = join(folder, 'fovea-manifest');
    symlinkSync(program, link);
    execFileSync(process.execPath, [link, folder]);
    const manifest = parseManifest(JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')), 'manifest.json');
    assert.equal(manifest.chunk, CHUNK);
    const listed = new Map(manifest.files.map((file) => [file.name, file]));
    assert.deepEqual([...listed.keys()].sort(), ['model.safetensors', ...SMALL_FILES].sort());
    assert.equal(listed.get('config.json').bytes, 2);
    assert.equal(listed.get('tokenizer.model').bytes, 0);
    const { bytes, sha256, chunks } = listed.get('model.safetensors');
    assert.equal(bytes, weights.length);
    assert.equal(sha256, hashOf(weights));
    assert.deepEqual(chunks, [0, 1, 2].map((at) => hashOf(weights.subarray(at * CHUNK, (at + 1) * CHUNK))));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('fovea-manifest says what is wrong', () => {
  const run = (...args) => spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' });
  assert.equal(run().status, 2);
  assert.match(run('/nonexistent').stderr, /is not a folder/);
  assert.match(run(tmpdir()).stderr, /no config\.json/);
});
