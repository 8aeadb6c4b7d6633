// Times nano in Chromium beside the native program, in turns, on the same SwiftShader:
//
//   node tests/browser/speed.mjs [ROUNDS]
//
// Prints medians, their ratio, and what the first and a cached load take. Needs `./x web` and `cargo build --release`.

import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { launch } from './browser.mjs';
import { ROOT, serve } from './server.mjs';

const ROUNDS = Number(process.argv[2] ?? 5);
const INSTRUCTION = 'click Sign in';
const SAMPLE = join(ROOT, 'models/nano/samples/signin.png');
const NATIVE = process.env.FOVEA_NATIVE ?? join(ROOT, 'target/release/fovea');
const STAGES = ['encode', 'prefill', 'decode'];

// The same library that Chromium uses.
const env = { VK_DRIVER_FILES: '/usr/lib/chromium/vk_swiftshader_icd.json', NODEVICE_SELECT: '1', ...process.env };

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

await stat(NATIVE);
const server = await serve({ '/': 'tests/browser/pages', '/dist/': 'web/js/dist', '/samples/': 'models/nano/samples' });
const browser = await launch();
const page = await browser.page(server.url);
await page.waitForFunction(() => globalThis.test);

const load = () =>
  page.evaluate(async () => {
    const start = performance.now();
    test.kept.fovea = await test.Fovea.load();
    return performance.now() - start;
  });
const loads = { first: [], cached: [] };
for (let round = 0; round < ROUNDS; round += 1) {
  await page.evaluate(() => test.Fovea.clear());
  loads.first.push(await load());
  await page.evaluate(() => test.kept.fovea.dispose());
  loads.cached.push(await load());
  if (round + 1 < ROUNDS) await page.evaluate(() => test.kept.fovea.dispose());
}

// Both compile their kernels in a round that is not counted.
const times = { browser: [], native: [] };
for (let round = 0; round <= ROUNDS; round += 1) {
  const inBrowser = await page.evaluate(async (instruction) => {
    // Another picture each time, so that none is known from before: one pixel differs.
    const bitmap = await createImageBitmap(await (await fetch('/samples/signin.png')).blob());
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext('2d');
    context.drawImage(bitmap, 0, 0);
    context.fillStyle = `rgb(${Math.floor(256 * Math.random())} 0 0)`;
    context.fillRect(0, 0, 1, 1);
    const { timings } = await test.kept.fovea.ground(await canvas.convertToBlob(), instruction);
    return timings;
  }, INSTRUCTION);
  const out = join(ROOT, 'target/speed.png');
  const command = ['ground', '--json', '--model', 'models/nano', '--adapter', 'SwiftShader', '--out', out];
  const { stdout } = await promisify(execFile)(NATIVE, [...command, SAMPLE, INSTRUCTION], { cwd: ROOT, env });
  const { seconds, answer_tokens: tokens } = JSON.parse(stdout);
  if (round === 0) continue;
  times.browser.push({ ...inBrowser, decode: inBrowser.decode / inBrowser.answerTokens });
  times.native.push({ encode: 1e3 * seconds.encode, prefill: 1e3 * seconds.prefill, decode: (1e3 * seconds.decode) / tokens });
}
await browser.close();
await server.close();

console.log(`medians of ${ROUNDS} rounds, milliseconds; decode is of one token\n`);
console.log('| stage | Chromium | native | ratio |\n| --- | ---: | ---: | ---: |');
for (const stage of STAGES) {
  const [inBrowser, native] = [median(times.browser.map((it) => it[stage])), median(times.native.map((it) => it[stage]))];
  const ratios = times.browser.map((it, at) => it[stage] / times.native[at][stage]);
  console.log(`| ${stage} | ${inBrowser.toFixed(0)} | ${native.toFixed(0)} | ${median(ratios).toFixed(2)} |`);
}
for (const [name, values] of Object.entries(loads)) console.log(`| ${name} load | ${median(values).toFixed(0)} | | |`);
