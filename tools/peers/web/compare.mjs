// Times Fovea's products and attention beside onnxruntime-web's, in turns, in one page on WebGPU:
//
//   npm ci && node compare.mjs [ROUNDS] [--json] [--only WORD]
//
// Shapes are those of nano on a screenshot of 1280x800, in f32. A round times Fovea, onnxruntime-web and Fovea again,
// so that a machine that slows down slows all of them. The second time of Fovea is the control: its ratio to the first
// says what a ratio is worth. Beside the time stands the processor's time of Chromium's GPU process, where SwiftShader
// computes: it is the work, whoever else uses the machine. Tensors stay on the GPU; a time ends when the queue has done
// its work. onnxruntime-web must run on WebGPU, and its results are checked: a wrong one is not timed. Needs `./x web`,
// and Linux.

import { readFile, readdir } from 'node:fs/promises';
import { parseArgs } from 'node:util';

import { launch } from '../../../tests/browser/browser.mjs';
import { ROOT, serve } from '../../../tests/browser/server.mjs';

/** Products of one row in a measurement: one is over before the queue has told so. */
const REPEATED = 64;

const { values: options, positionals } = parseArgs({
  options: { json: { type: 'boolean' }, only: { type: 'string', default: '' } },
  allowPositionals: true,
});
const { json, only } = options;
const rounds = Number(positionals[0] ?? 7);

const nano = JSON.parse(await readFile(`${ROOT}/models/nano/config.json`, 'utf8'));
const shapes = cases(nano).filter(({ name }) => name.includes(only));
const peer = JSON.parse(await readFile(new URL('node_modules/onnxruntime-web/package.json', import.meta.url), 'utf8'));

const server = await serve(
  {
    '/': 'tools/peers/web/page',
    '/fovea/': 'web/js/dist',
    '/ort/': 'tools/peers/web/node_modules/onnxruntime-web/dist',
  },
  // onnxruntime-web starts its module from a blob.
  { csp: null },
);
const browser = await launch();
try {
  const page = await browser.page(server.url);
  // Imported here, for its errors to arrive here.
  await page.evaluate(() => import('/page.js'));
  const gpu = await gpuProcess();
  const about = {
    'onnxruntime-web': peer.version,
    browser: await page.evaluate(() => navigator.userAgent),
    adapters: await page.evaluate(() => peers.adapters()),
    rounds,
  };
  const compared = [];
  if (!json) head(about);
  for (const shape of shapes) {
    compared.push(await compare(page, gpu, shape));
    if (!json) print(compared.at(-1));
  }
  if (json) console.log(JSON.stringify({ ...about, compared }, null, 2));
} finally {
  if (browser.messages.length) console.error(browser.messages.join('\n'));
  await browser.close();
  await server.close();
}

/** What nano computes for a picture of 92x58 patches: 1334 picture tokens and 25 of text. */
function cases({ vision_config: vision, ...decoder }) {
  const [patches, tokens] = [92 * 58, 1359];
  const product = (name, rows, width, outputs) => ({ name, shape: { rows, width, outputs } });
  const heads = decoder.num_attention_heads;
  const size = decoder.hidden_size / heads;
  const block = (rows, width, qkv, feed) => [
    ['qkv', rows, width, qkv],
    ['out', rows, width, width],
    ['gate and up', rows, width, 2 * feed],
    ['down', rows, feed, width],
  ];
  const tower = block(patches, vision.hidden_size, 3 * vision.hidden_size, vision.intermediate_size);
  const qkv = decoder.hidden_size + 2 * decoder.num_key_value_heads * size;
  const decoding = (rows) => block(rows, decoder.hidden_size, qkv, decoder.intermediate_size);
  return [
    ...decoding(1).map(([name, ...sizes]) => product(`one token ${name}`, ...sizes)),
    product('one token logits', 1, decoder.hidden_size, decoder.vocab_size),
    ...decoding(tokens).map(([name, ...sizes]) => product(`decoder ${name}`, ...sizes)),
    { name: 'decoder attention', shape: { rows: tokens, heads, head_dim: size } },
    ...tower.map(([name, ...sizes]) => product(`tower ${name}`, ...sizes)),
  ];
}

async function compare(page, gpu, { name, shape }) {
  const ways = await page.evaluate((shape) => peers.prepare(shape), shape);
  for (const way of ways.filter(({ dispatches }) => dispatches)) {
    const wrong = way.wrong === undefined ? '' : `, wrong by ${way.wrong.toFixed(2)} of the largest value`;
    console.error(`${name}, ${way.name}: ${way.dispatches} dispatches${wrong}`);
  }
  const times = shape.rows === 1 ? REPEATED : 1;
  const measured = ways.map(() => []);
  for (let round = 0; round < rounds; round += 1)
    for (const way of ways.keys()) {
      if (ways[way].wrong !== undefined) continue;
      const before = await busy(gpu);
      const wall = await page.evaluate(([way, times]) => peers.sample(way, times), [way, times]);
      const runs = times + ways[way].unmeasured;
      measured[way].push({ wall, busy: ((await busy(gpu)) - before) / runs });
    }
  const timed = (about, way) =>
    about.wrong === undefined ? { ...about, wall: over(way, 'wall'), busy: over(way, 'busy') } : about;
  const over = (way, kind) => {
    const milliseconds = measured[way].map((it) => it[kind]);
    // Ours of the same round over this.
    const ratios = milliseconds.map((it, round) => measured[0][round][kind] / it);
    return { milliseconds, median: quantile(milliseconds, 0.5), ratio: quantile(ratios, 0.5) };
  };
  return { name, shape, ways: ways.map(timed) };
}

/** The process of the browser that drives the GPU. */
async function gpuProcess() {
  const running = [];
  for (const id of (await readdir('/proc')).filter((it) => /^\d+$/.test(it))) {
    const read = (file) => readFile(`/proc/${id}/${file}`, 'utf8').catch(() => '');
    // What follows the name, which may have spaces.
    const parent = (await read('stat')).split(') ').at(-1).split(' ')[1];
    running.push({ id, parent, gpu: (await read('cmdline')).includes('--type=gpu-process') });
  }
  const parent = (id) => running.find((it) => it.id === id)?.parent;
  const ours = (id) => id === `${process.pid}` || (id !== undefined && ours(parent(id)));
  const found = running.find(({ id, gpu }) => gpu && ours(id));
  if (!found) throw new Error('Chromium has no GPU process');
  return found.id;
}

/** Milliseconds that the threads of a process have run. */
async function busy(id) {
  const threads = await readdir(`/proc/${id}/task`);
  const counts = threads.map((thread) => readFile(`/proc/${id}/task/${thread}/schedstat`, 'utf8').catch(() => '0'));
  return (await Promise.all(counts)).reduce((sum, it) => sum + Number(it.split(' ')[0]), 0) / 1e6;
}

function quantile(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.round(share * (sorted.length - 1))];
}

function head(about) {
  console.log(`${JSON.stringify(about, null, 2)}\n`);
  console.log('| work | shape | by | time | Fovea over it | processor time | Fovea over it |');
  console.log('| --- | --- | --- | ---: | ---: | ---: | ---: |');
}

function print({ name, shape, ways }) {
  const sizes = Object.values(shape).join('x');
  for (const way of ways) {
    const cells = (it) => (it ? `${figure(it.median)} ms | ${it.ratio.toFixed(2)}` : 'wrong | ');
    const figures = [way.wall, way.busy].map(cells);
    console.log(`| ${name} | ${sizes} | ${way.name} | ${figures.join(' | ')} |`);
  }
}

function figure(value) {
  return value < 100 ? value.toPrecision(3) : value.toFixed(0);
}
