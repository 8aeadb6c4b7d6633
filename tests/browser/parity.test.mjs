// The golden fixtures of the reference implementation, stage by stage, in Chromium on real WebGPU, as
// models/tests/golden.rs compares them natively.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';

import { launch } from './browser.mjs';
import { golden } from './golden.mjs';
import { PROJECTIONS, SEED, project } from './pages/sketch.js';
import { serve } from './server.mjs';

// The same limits as the native test's, and for the same reasons.
const LIMIT = 1e-10;
const LIMIT_OWN_PIXELS = 1e-6;

const timeout = 900_000;

// Compiling kernels takes most of the time: without subgroups, and with the kernels that GPUs run, one case has them all.
const RUNS = [
  { system: 'qwen2_5_vl', tier: {}, cases: [0, 1, 2] },
  { system: 'qwen2_5_vl', tier: { subgroups: false }, cases: [0] },
  { system: 'qwen2_5_vl', tier: { kernels: 'gpu' }, cases: [0] },
  { system: 'cogagent_18b', tier: {}, cases: [0] },
  { system: 'cogagent_9b', tier: {}, cases: [0] },
  { system: 'kosmos2', tier: {}, cases: [0] },
  { system: 'internvl', tier: {}, cases: [0] },
  { system: 'paligemma', tier: {}, cases: [0] },
  { system: 'mllama', tier: {}, cases: [0] },
];

let server, browser;

before(async () => {
  const fixtures = RUNS.map(({ system }) => [`/golden/${system}/`, golden(system)]);
  server = await serve({ '/': 'tests/browser/pages', '/dist/': 'web/js/dist', ...Object.fromEntries(fixtures) });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
});

// The numbers are eighths: every order of summation gives these very sums.
test('sketches are those of the fixtures', async () => {
  const stored = JSON.parse(await readFile(golden('sketch.json'), 'utf8'));
  assert.equal(`0x${SEED.toString(16)}`, stored.seed);
  assert.equal(stored.sums.length, PROJECTIONS);
  assert.deepEqual([...project(stored.data)], stored.sums);
});

for (const { system, tier, cases } of RUNS) {
  const without = tier.subgroups === false ? ', without subgroups' : '';
  const kernels = tier.kernels ? `, with ${tier.kernels} kernels` : '';
  test(`${system} equals the reference${without}${kernels}`, { timeout }, async (t) => {
    const page = await browser.page(`${server.url}parity.html`);
    await page.waitForFunction(() => globalThis.parity);
    const compared = await page.evaluate(
      async ({ system, tier, cases }) => {
        const model = await parity.load(system, cases[0], tier);
        const all = [];
        for (const index of cases) all.push(await parity.compare(model, system, index));
        return all;
      },
      { system, tier, cases },
    );
    for (const [at, { errors, ownPixels, ids, expectedIds, generated, expectedGenerated }] of compared.entries()) {
      const limit = ownPixels ? LIMIT_OWN_PIXELS : LIMIT;
      const shown = Object.entries(errors).map(([stage, error]) => `${stage} ${error.toExponential(1)}`);
      t.diagnostic(`case ${cases[at]}: ${shown.join(', ')}`);
      for (const [stage, error] of Object.entries(errors)) {
        assert.ok(error <= limit, `case ${cases[at]}: ${stage}: error ${error}, allowed ${limit}`);
      }
      assert.deepEqual(ids, expectedIds);
      assert.deepEqual(generated, expectedGenerated);
    }
    await page.close();
  });
}
