// Times nano in Chromium beside the native program, in turns, on the same SwiftShader:
//
//   node tests/browser/speed.mjs [ROUNDS]
//
// Prints medians, the median of the rounds' ratios to the native program, and what the first and a cached load take. The
// native program runs twice in every round: the second one's ratio is what the machine's noise makes of 1. Needs `./x web`
// and `cargo build --release`.

import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { launch } from './browser.mjs';
import { ROOT, servePages } from './server.mjs';

const ROUNDS = Number(process.argv[2] ?? 5);
const INSTRUCTION = 'click Sign in';
const SAMPLE = join(ROOT, 'models/nano/samples/signin.png');
const NATIVE = process.env.FOVEA_NATIVE ?? join(ROOT, 'target/release/fovea');
const STAGES = ['encode', 'prefill', 'decode'];

// The same library that Chromium uses.
const env = { VK_DRIVER_FILES: '/usr/lib/chromium/vk_swiftshader_icd.json', NODEVICE_SELECT: '1', ...process.env };

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

await stat(NATIVE);
const server = await servePages();
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

async function chromium() {
  const { timings } = await page.evaluate(async (instruction) => {
    // Another picture each time, so that none is known from before: one pixel differs.
    const bitmap = await createImageBitmap(await (await fetch('/samples/signin.png')).blob());
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext('2d');
    context.drawImage(bitmap, 0, 0);
    context.fillStyle = `rgb(${Math.floor(256 * Math.random())} 0 0)`;
    context.fillRect(0, 0, 1, 1);
    return test.kept.fovea.ground(await canvas.convertToBlob(), instruction);
  }, INSTRUCTION);
  return { ...timings, decode: timings.decode / timings.answerTokens };
}

async function native(...flags) {
  const out = join(ROOT, 'target/speed.png');
  const command = ['ground', '--json', '--model', 'models/nano', '--adapter', 'SwiftShader', '--out', out, ...flags];
  const { stdout } = await promisify(execFile)(NATIVE, [...command, SAMPLE, INSTRUCTION], { cwd: ROOT, env });
  const { seconds, answer_tokens: tokens } = JSON.parse(stdout);
  return { encode: 1e3 * seconds.encode, prefill: 1e3 * seconds.prefill, decode: (1e3 * seconds.decode) / tokens };
}

const runs = {
  native: () => native(),
  'native again': () => native(),
  Chromium: chromium,
  'native, no subgroups': () => native('--no-subgroups'),
};
// All compile their kernels in a round that is not counted.
const times = Object.fromEntries(Object.keys(runs).map((name) => [name, []]));
for (let round = 0; round <= ROUNDS; round += 1) {
  for (const [name, run] of Object.entries(runs)) {
    const time = await run();
    if (round > 0) times[name].push(time);
    const shown = STAGES.map((stage) => `${stage} ${time[stage].toFixed(0)} ms`).join(', ');
    console.error(`${round > 0 ? `round ${round}` : 'warm-up'}: ${name}: ${shown}`);
  }
}
await browser.close();
await server.close();

console.log(`medians of ${ROUNDS} rounds, milliseconds and ratio to native; decode is of one token\n`);
console.log(`| | ${STAGES.join(' | ')} |\n| --- | ${STAGES.map(() => '---:').join(' | ')} |`);
for (const [name, rounds] of Object.entries(times)) {
  const cells = STAGES.map((stage) => {
    const ratio = median(rounds.map((time, at) => time[stage] / times.native[at][stage]));
    return `${median(rounds.map((time) => time[stage])).toFixed(0)} (${ratio.toFixed(2)})`;
  });
  console.log(`| ${name} | ${cells.join(' | ')} |`);
}
for (const [name, values] of Object.entries(loads)) console.log(`\n${name} load ${median(values).toFixed(0)} ms`);
