// The npm package in Chromium, on real WebGPU.
//
// FOVEA_NATIVE        the native program (target/release/fovea without it)
// FOVEA_NATIVE_JSON   a file with what it printed about the sample, instead of running it; likewise
//                     FOVEA_NATIVE_JSON_PART about the part of it
// FOVEA_VERBOSE       print the browser's console

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { promisify } from 'node:util';

import { CHROMIUM, launch } from './browser.mjs';
import { ROOT, servePages } from './server.mjs';

const WEIGHTS = /nano\/model\/model\.safetensors/;
const MODEL = /nano\/model\//;
// On a processor with other work everything is slow; only what hangs should fail.
const timeout = 900_000;

let server, browser;

before(async () => {
  server = await servePages({ '/words/': 'tests/golden/smolvlm', '/cases/': 'tests/cases' });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
  const violations = browser?.messages.filter((message) => /content security policy/i.test(message));
  assert.deepEqual(violations, [], 'everything works under the strict policy');
});

/** Tabs of the test that runs. */
const tabs = [];
afterEach(async () => {
  server.reset();
  for (const tab of tabs.splice(0)) await tab.close();
});

/** A tab with the package; `fresh` begins without kept files. */
async function open({ fresh = false } = {}) {
  const page = await browser.page(server.url);
  tabs.push(page);
  await page.waitForFunction(() => globalThis.test);
  if (fresh) await page.evaluate(() => test.Fovea.clear());
  return page;
}

test('loads in a worker, with progress; then from the cache with the network cut', { timeout }, async (t) => {
  const page = await open({ fresh: true });
  const load = () =>
    page.evaluate(async () => {
      const progress = [];
      const start = performance.now();
      const fovea = await test.Fovea.load({ model: 'nano', onProgress: (p) => progress.push(p) });
      test.kept.fovea = fovea;
      return { progress, info: fovea.info, milliseconds: performance.now() - start, memory: await fovea.memory() };
    });
  const first = await load();
  t.diagnostic(`first load: ${first.milliseconds.toFixed(0)} ms`);
  assert.equal(page.workers().length, 1);
  const { progress, info, memory } = first;
  assert.equal(progress[0].phase, 'open');
  assert.ok(progress.some(({ phase }) => phase === 'download'));
  const last = progress.at(-1);
  assert.equal(last.phase, 'ready');
  assert.equal(last.loaded, last.total);
  assert.ok(last.downloaded > 10_000_000);
  assert.equal(last.retries, 0);
  assert.deepEqual(last.cache, { kind: 'opfs' });
  for (let at = 1; at < progress.length; at += 1) assert.ok(progress[at].loaded >= progress[at - 1].loaded);
  assert.equal(info.architecture, 'qwen2_5_vl');
  assert.equal(info.quantisation, 'q4');
  assert.equal(info.f16, false, 'SwiftShader has no 16-bit floats');
  assert.match(info.adapter, /swiftshader/i);
  assert.ok(memory.gpu >= memory.weights && memory.weights > 3_000_000, JSON.stringify(memory));
  assert.ok(memory.stored >= 10_000_000 && memory.wasm < 256 << 20, JSON.stringify(memory));
  const ranges = server.requests.filter(({ path }) => WEIGHTS.test(path));
  const { size } = await stat(join(ROOT, 'models/nano/model.safetensors'));
  assert.deepEqual(ranges.map(({ status }) => status), Array(Math.ceil(size / (4 << 20))).fill(206), 'chunks of at most 4 MiB');

  await page.reload();
  await page.waitForFunction(() => globalThis.test);
  server.reset();
  const cut = server.inject({ match: MODEL, drop: true });
  const second = await load();
  t.diagnostic(`cached load: ${second.milliseconds.toFixed(0)} ms`);
  assert.equal(server.count(WEIGHTS), 0);
  assert.ok(cut.hits >= 1, 'only the manifest was asked for, in vain');
  assert.equal(second.progress.at(-1).downloaded, 0);
  assert.deepEqual(second.info, first.info);
  const [stored] = await page.evaluate(() => test.Fovea.stored());
  assert.equal(stored.location, 'nano');
  assert.ok(stored.stored >= 10_000_000 && stored.stored <= stored.bytes);
});

// A part of the screenshot, and the whole: the part tells soon what the whole takes a processor a while to tell.
test('grounds a part of the sample as the native program does', { timeout }, async (t) => {
  const page = await open();
  const part = await page.evaluate(async () => {
    const bytes = new Uint8Array(await (await test.crop(920, 480, 320, 200)).arrayBuffer());
    return btoa(String.fromCharCode(...bytes));
  });
  await likeNative(t, page, Buffer.from(part, 'base64'), process.env.FOVEA_NATIVE_JSON_PART);
});

test('grounds the sample as the native program does', { timeout: 2 * timeout }, async (t) => {
  const page = await open();
  const sample = await readFile(join(ROOT, 'models/nano/samples/signin.png'));
  await likeNative(t, page, sample, process.env.FOVEA_NATIVE_JSON);
});

/** Grounds a picture here and there: text, action and tokens are the same. */
async function likeNative(t, page, png, kept) {
  const native = await nativeAnswer(t, png, kept);
  if (!native) return;
  const result = await page.evaluate(async (base64) => {
    const image = new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))]);
    const fovea = await test.Fovea.load();
    const text = [];
    const result = await fovea.ground(image, 'click Sign in', { onToken: (token) => text.push(token.text) });
    fovea.dispose();
    return { ...result, streamed: text.join('') };
  }, png.toString('base64'));
  t.diagnostic(`${result.text}: ${JSON.stringify(result.timings)}`);
  t.diagnostic(`native: ${JSON.stringify(native.seconds)} s`);
  assert.equal(result.text, native.answer);
  const { box, point } = native.action;
  assert.deepEqual(result.action, native.action);
  assert.deepEqual(result.box, box);
  assert.deepEqual(result.point, point);
  assert.equal(result.timings.imageTokens, native.image_tokens);
  assert.equal(result.timings.promptTokens, native.prompt_tokens);
  assert.equal(result.streamed, result.text);
}

/** What the native program says about a picture, on the same SwiftShader, without 16-bit floats, in q4. */
async function nativeAnswer(t, png, kept) {
  if (kept) return JSON.parse(await readFile(kept, 'utf8'));
  const program = process.env.FOVEA_NATIVE ?? join(ROOT, 'target/release/fovea');
  if (!existsSync(program)) return t.skip(`${program} is not built, and FOVEA_NATIVE_JSON is not set`);
  const folder = await mkdtemp(join(tmpdir(), 'fovea-native-'));
  try {
    const library = join(dirname(CHROMIUM), '../lib/chromium/libvk_swiftshader.so');
    const manifest = join(folder, 'swiftshader.json');
    const ICD = { library_path: process.env.FOVEA_SWIFTSHADER ?? library, api_version: '1.1.0' };
    await writeFile(manifest, JSON.stringify({ file_format_version: '1.0.0', ICD }));
    const picture = join(folder, 'picture.png');
    await writeFile(picture, png);
    // The package's own copy of the model: both answer from the same weights.
    const model = join(ROOT, 'web/nano/model');
    const wanted = ['--json', '--adapter', 'SwiftShader', '--quant', 'q4', '--model', model];
    const args = ['ground', ...wanted, '--out', join(folder, 'out.png'), picture, 'click Sign in'];
    const env = { ...process.env, VK_DRIVER_FILES: manifest, VK_ICD_FILENAMES: manifest };
    return JSON.parse((await promisify(execFile)(program, args, { env })).stdout);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('answers about encoded pictures again, and says what it uses', { timeout }, async () => {
  const page = await open();
  const seen = await page.evaluate(async () => {
    const fovea = await test.Fovea.load();
    const handle = await fovea.encodeImage(await test.crop());
    const stages = [];
    const onStage = ({ stage, done }) => stages.push(`${stage} ${done === 1 ? 'done' : 'on'}`);
    const first = await fovea.ground(handle, 'click Sign in', { onStage, heat: true });
    const second = await fovea.ground(handle, 'click Sign in');
    const whole = await fovea.ground(await test.crop(), 'click Sign in');

    const wordless = await test.failure(fovea.generate('What is this?', { images: [handle] }).next());
    handle.release();
    handle.release();
    const released = await test.failure(fovea.ground(handle, 'click Sign in'));
    const empty = await test.failure(fovea.ground(await test.crop(), '  '));
    const memory = await fovea.memory();
    fovea.dispose();
    fovea.dispose();
    const disposed = await test.failure(fovea.memory());
    const { width, height, tokens: count } = handle;
    const heat = first.heat && { ...first.heat, values: first.heat.values.length, most: Math.max(...first.heat.values) };
    return {
      first: { ...first, heat },
      second, whole, stages: [...new Set(stages)], wordless, released, empty, memory, disposed,
      handle: { width, height, count },
    };
  });
  assert.deepEqual(seen.handle.width, 224);
  assert.deepEqual(seen.handle.height, 140);
  assert.equal(seen.first.timings.encode, 0);
  assert.equal(seen.second.text, seen.first.text);
  assert.equal(seen.whole.text, seen.first.text);
  assert.equal(seen.first.heat.values, seen.first.heat.columns * seen.first.heat.rows);
  assert.equal(seen.first.heat.values, seen.handle.count);
  assert.equal(seen.first.heat.most, 1);
  assert.ok(seen.stages.includes('prefill done') && seen.stages.includes('decode done'), seen.stages.join());
  assert.ok(!seen.stages.some((stage) => stage.startsWith('encode')), 'it was encoded before');
  assert.equal(seen.first.found, seen.first.action.kind !== 'absent');
  assert.equal(seen.wordless.class, 'ModelError');
  assert.match(seen.wordless.message, /only grounds instructions.*fovea_grounds_only/);
  assert.equal(seen.released.class, 'ImageError');
  assert.equal(seen.empty.class, 'PromptError');
  assert.ok(seen.memory.kvCache > 0);
  assert.equal(seen.disposed.class, 'DisposedError');
});

test('answers in words, token by token', { timeout }, async () => {
  const page = await open();
  const seen = await page.evaluate(async () => {
    const fovea = await test.Fovea.load({ model: '/words/', quantisation: 'f32' });
    const handle = await fovea.encodeImage(await test.crop(0, 0, 64, 48));
    const images = [handle];
    const tokens = [];
    const words = fovea.generate('What is this?', { images, maxTokens: 6 });
    let step = await words.next();
    for (; !step.done; step = await words.next()) tokens.push(step.value);
    let early = 0;
    for await (const token of fovea.generate('What is this?', { images, maxTokens: 50 })) {
      early += token.id >= 0 ? 1 : 0;
      break;
    }
    const again = await test.failure(fovea.generate('What is this?', { images: handle }).next());
    await fovea[Symbol.asyncDispose]();
    return { tokens, generation: step.value, early, again, disposed: await test.failure(fovea.memory()) };
  });
  assert.ok(seen.tokens.length > 0 && seen.tokens.length <= 6);
  // A character that the last token leaves open is written at the end.
  assert.ok(seen.generation.text.startsWith(seen.tokens.map(({ text }) => text).join('')));
  assert.equal(seen.generation.timings.answerTokens, seen.tokens.length);
  assert.equal(seen.early, 1);
  assert.equal(seen.again.class, 'PromptError');
  assert.equal(seen.disposed.class, 'DisposedError');
});

test('an abort ends download, queue, encode, prefill and decode; the next call works', { timeout }, async () => {
  const page = await open({ fresh: true });
  const hang = server.inject({ match: WEIGHTS, hang: true });
  const loading = page.evaluate(async () => {
    const controller = (test.kept.controller = new AbortController());
    const reason = { why: 'changed my mind' };
    test.kept.abort = () => controller.abort(reason);
    return test.Fovea.load({ signal: controller.signal }).then(
      () => 'loaded',
      (error) => error === reason,
    );
  });
  await hang.hit;
  const gone = page.workers()[0].waitForEvent('close');
  await page.evaluate(() => test.kept.abort());
  assert.equal(await loading, true, 'rejects with the reason while it downloads');
  await gone;
  hang.release();

  const seen = await page.evaluate(async () => {
    const fovea = await test.Fovea.load();
    const image = await test.crop();
    const expected = (await fovea.ground(image, 'click Sign in')).text;
    const seen = {};
    const at = async (when, other) => {
      const controller = new AbortController();
      const reason = new Error(when);
      const stop = () => controller.abort(reason);
      // Another picture, so that it has to be encoded.
      const fresh = await test.crop(...other);
      const call = fovea.ground(fresh, 'click Sign in', {
        signal: controller.signal,
        onStage: ({ stage }) => stage === when && stop(),
        onToken: () => when === 'decode' && stop(),
      });
      const start = fovea.ground(image, 'click Sign in');
      if (when === 'queue') stop();
      seen[when] = await call.then(() => 'answered', (error) => error === reason);
      seen[`${when}, then`] = (await start).text === expected;
    };
    await at('image', [10, 10]);
    await at('encode', [20, 20]);
    await at('prefill', [30, 30]);
    await at('decode', [40, 40]);
    const running = fovea.ground(image, 'click Sign in');
    await at('queue', [50, 50]);
    await running;
    fovea.dispose();
    return seen;
  });
  for (const [what, right] of Object.entries(seen)) assert.equal(right, true, what);
});

test('a corrupted download is fetched again; one that stays corrupted is told', { timeout }, async () => {
  const page = await open({ fresh: true });
  const once = server.inject({ match: WEIGHTS, times: 1, corrupt: true });
  const busy = server.inject({ match: /model\/tokenizer\.json/, times: 1, status: 503 });
  const short = server.inject({ match: /model\/config\.json/, times: 1, short: 100 });
  const progress = await page.evaluate(async () => {
    let last;
    (await test.Fovea.load({ onProgress: (progress) => (last = progress) })).dispose();
    return last;
  });
  assert.deepEqual([once.hits, busy.hits, short.hits], [1, 1, 1]);
  assert.equal(progress.retries, 3);

  await page.evaluate(() => test.Fovea.clear());
  server.reset();
  server.inject({ match: WEIGHTS, corrupt: true });
  const error = await page.evaluate(() => test.failure(test.Fovea.load()));
  assert.equal(error.class, 'IntegrityError');
  assert.equal(error.file, 'model.safetensors');
  assert.match(error.expected, /^[0-9a-f]{64}$/);
  assert.notEqual(error.actual, error.expected);

  // What is kept is checked as well.
  server.reset();
  const retries = await page.evaluate(async () => {
    (await test.Fovea.load()).dispose();
    const root = await navigator.storage.getDirectory();
    const chunks = await (await root.getDirectoryHandle('fovea')).getDirectoryHandle('chunks');
    for await (const handle of chunks.values()) {
      const file = await handle.getFile();
      if (file.size < 1 << 20) continue;
      const writable = await handle.createWritable({ keepExistingData: true });
      await writable.write({ type: 'write', position: 1000, data: new Uint8Array([1, 2, 3, 4]) });
      await writable.close();
      break;
    }
    let last;
    (await test.Fovea.load({ onProgress: (progress) => (last = progress) })).dispose();
    return last.retries;
  });
  assert.equal(retries, 1);
});

test('a server without byte ranges serves too', { timeout }, async () => {
  const page = await open({ fresh: true });
  server.inject({ match: WEIGHTS, ignoreRange: true });
  const progress = await page.evaluate(async () => {
    let last;
    (await test.Fovea.load({ onProgress: (progress) => (last = progress) })).dispose();
    return last;
  });
  assert.equal(progress.phase, 'ready');
  assert.equal(progress.retries, 0);
});

test('a quota that is too small: an error where keeping is required, otherwise only said', { timeout }, async () => {
  const page = await open({ fresh: true });
  const session = await browser.context.newCDPSession(page);
  const origin = new URL(server.url).origin;
  await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 4_000_000 });
  try {
    const seen = await page.evaluate(async () => {
      const error = await test.failure(test.Fovea.load({ cache: 'required' }));
      let last;
      (await test.Fovea.load({ onProgress: (progress) => (last = progress) })).dispose();
      return { error, last, stored: await test.Fovea.stored() };
    });
    assert.equal(seen.error.class, 'QuotaError');
    assert.ok(seen.error.needed > 10_000_000 && seen.error.available <= 4_000_000, JSON.stringify(seen.error));
    assert.equal(seen.last.phase, 'ready');
    // Chromium tells of ten GiB whatever its quota is: then storage fills up in the middle.
    assert.match(seen.last.cache.problem, /needs \d+ bytes of storage|storage is full: of the model's \d+ bytes/);
    for (const { stored } of seen.stored) assert.ok(stored < 4_000_000);
  } finally {
    await session.send('Storage.overrideQuotaForOrigin', { origin });
  }
});

test('two tabs load and answer at once', { timeout }, async () => {
  const pages = [await open({ fresh: true }), await open()];
  const answers = await Promise.all(
    pages.map((page) =>
      page.evaluate(async () => {
        const fovea = await test.Fovea.load();
        const { text } = await fovea.ground(await test.crop(), 'click Sign in');
        fovea.dispose();
        return text;
      }),
    ),
  );
  assert.equal(answers[0], answers[1]);
  const [stored] = await pages[0].evaluate(() => test.Fovea.stored());
  assert.ok(stored.stored >= 10_000_000);
});

test('a device destroyed during decode: a typed error, and the next call works', { timeout }, async () => {
  const page = await open();
  await page.evaluate(async () => {
    test.kept.fovea = await test.Fovea.load();
    test.kept.handle = await test.kept.fovea.encodeImage(await test.crop());
    test.kept.expected = (await test.kept.fovea.ground(test.kept.handle, 'click Sign in')).text;
  });
  const [worker] = page.workers();
  await worker.evaluate(() => {
    const { createCommandEncoder } = GPUDevice.prototype;
    GPUDevice.prototype.createCommandEncoder = function (...args) {
      globalThis.device = this;
      return createCommandEncoder.apply(this, args);
    };
    // The first token arrives in the page through here.
    const { postMessage } = globalThis;
    globalThis.postMessage = (message, ...rest) => {
      if (message.event === 'token' && globalThis.device) {
        globalThis.device.destroy();
        globalThis.device = undefined;
        GPUDevice.prototype.createCommandEncoder = createCommandEncoder;
      }
      return postMessage.call(globalThis, message, ...rest);
    };
  });
  server.reset();
  const seen = await page.evaluate(async () => {
    const { fovea, handle, expected } = test.kept;
    const error = await test.failure(fovea.ground(handle, 'click Sign in'));
    const again = await fovea.ground(handle, 'click Sign in');
    return { error, same: again.text === expected, encode: again.timings.encode };
  });
  assert.equal(seen.error.class, 'DeviceLostError');
  assert.equal(seen.same, true, 'the handle is encoded again on the new device');
  assert.ok(seen.encode > 0);
  assert.equal(server.count(WEIGHTS), 0, 'the model comes from the cache');
});

test('a worker that breaks down rejects what runs, and the next call starts another', { timeout }, async () => {
  const page = await open();
  const ran = page.evaluate(async () => {
    const fovea = (test.kept.fovea = await test.Fovea.load());
    const handle = (test.kept.handle = await fovea.encodeImage(await test.crop()));
    const started = new Promise((go) => (test.kept.started = go));
    const errors = Promise.all([
      test.failure(fovea.ground(await test.crop(9, 9), 'click Sign in', { onStage: test.kept.started })),
      test.failure(fovea.ground(handle, 'click Sign in')),
    ]);
    await started;
    test.kept.running = errors;
  });
  await ran;
  const [worker] = page.workers();
  await worker.evaluate(() => {
    setTimeout(() => {
      throw new WebAssembly.RuntimeError('unreachable (fovea_web)');
    });
  });
  const seen = await page.evaluate(async () => {
    const { fovea, handle, running } = test.kept;
    const errors = await running;
    const again = await fovea.ground(await test.crop(), 'click Sign in');
    return { errors, text: again.text, stale: await test.failure(fovea.ground(handle, 'click Sign in')) };
  });
  for (const error of seen.errors) {
    assert.equal(error.code, 'internal');
    assert.match(error.message, /broke down/);
  }
  assert.ok(seen.text);
  assert.equal(seen.stale.class, 'ImageError');
});

test("in the page's own thread; other devices of the page stay", { timeout }, async () => {
  const page = await open();
  const seen = await page.evaluate(async () => {
    const device = await (await navigator.gpu.requestAdapter()).requestDevice();
    const fovea = await test.Fovea.load({ thread: 'page' });
    const image = await test.crop();
    const { text } = await fovea.ground(image, 'click Sign in');
    const controller = new AbortController();
    const reason = { stop: true };
    const aborted = fovea.ground(image, 'click Sign in', {
      signal: controller.signal,
      onToken: () => controller.abort(reason),
    });
    const right = await aborted.catch((error) => error === reason);
    const running = test.failure(fovea.ground(image, 'click Sign in'));
    fovea.dispose();
    const disposed = await running;
    // The other device still computes.
    const buffer = device.createBuffer({ size: 4, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
    device.queue.writeBuffer(buffer, 0, new Uint32Array([42]));
    await buffer.mapAsync(GPUMapMode.READ);
    const [alive] = new Uint32Array(buffer.getMappedRange());
    const lost = await Promise.race([device.lost.then(() => true), Promise.resolve(false)]);
    return { text, right, disposed, alive, lost };
  });
  assert.equal(page.workers().length, 0);
  assert.ok(seen.text);
  assert.equal(seen.right, true);
  assert.equal(seen.disposed.class, 'DisposedError');
  assert.equal(seen.alive, 42);
  assert.equal(seen.lost, false);
});

test('a tier without features asks for none of them', { timeout }, async () => {
  const page = await open();
  const seen = await page.evaluate(async () => {
    const asked = [];
    const { requestDevice } = GPUAdapter.prototype;
    GPUAdapter.prototype.requestDevice = function (options) {
      asked.push([...(options?.requiredFeatures ?? [])]);
      return requestDevice.call(this, options);
    };
    const answers = [];
    for (const tier of [{}, { f16: false, subgroups: false }, { kernels: 'gpu' }]) {
      const fovea = await test.Fovea.load({ thread: 'page', tier });
      const { text } = await fovea.ground(await test.crop(), 'click Sign in');
      answers.push({ info: fovea.info, text });
      fovea.dispose();
    }
    const opened = asked.length;
    const all = await test.Fovea.capabilities();
    const tier = { f16: false, subgroups: false };
    const none = await test.Fovea.capabilities({ tier });
    const cheap = asked.length === opened;
    return { asked, answers, all, none, cheap, device: await test.Fovea.capabilities({ tier, device: true }) };
  });
  // A processor runs Chromium's shaders.
  assert.deepEqual(seen.answers.map(({ info }) => info.kernels), ['cpu', 'cpu', 'gpu']);
  assert.equal(seen.answers[2].text, seen.answers[0].text);
  assert.equal(seen.answers[1].info.f16, false);
  assert.equal(seen.answers[1].info.subgroups, false);
  assert.ok(!seen.asked[1].includes('shader-f16') && !seen.asked[1].includes('subgroups'), seen.asked[1].join());
  assert.equal(seen.answers[1].text, seen.answers[0].text);
  assert.ok(seen.cheap, 'no device is opened');
  assert.deepEqual(seen.none, seen.device, 'as the engine finds on a device');
  assert.equal(seen.all.supported, true);
  assert.equal(seen.all.software, true);
  assert.equal(seen.none.supported, true);
  assert.equal(seen.none.subgroups, false);
  assert.ok(seen.none.maxBufferSize >= 1 << 27);
});

test('a worker has subgroups where the adapter has them, a page leaves its own devices alone', { timeout }, async () => {
  const page = await open();
  const seen = await page.evaluate(async () => {
    const { requestDevice } = GPUAdapter.prototype;
    const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
    const answers = [];
    for (const options of [{}, { tier: { subgroups: false } }, { thread: 'page' }]) {
      const fovea = await test.Fovea.load(options);
      const { text } = await fovea.ground(await test.crop(), 'click Sign in');
      answers.push({ subgroups: fovea.info.subgroups, software: fovea.info.software, text });
      fovea.dispose();
    }
    const untouched = GPUAdapter.prototype.requestDevice === requestDevice;
    return { has: adapter.features.has('subgroups'), answers, untouched };
  });
  assert.deepEqual(seen.answers.map((answer) => answer.subgroups), [seen.has, false, false]);
  assert.ok(seen.answers.every(({ software, text }) => software && text === seen.answers[0].text), seen.answers);
  assert.ok(seen.untouched);
});

test('pictures of every kind give the same pixels, and stay usable', { timeout }, async () => {
  const page = await open();
  const seen = await page.evaluate(async () => {
    const blob = await test.crop();
    const bitmap = await createImageBitmap(blob);
    const draw = (canvas) => {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
      const context = canvas.getContext('2d');
      context.drawImage(bitmap, 0, 0);
      return context;
    };
    const canvas = document.createElement('canvas');
    const data = draw(canvas).getImageData(0, 0, bitmap.width, bitmap.height);
    const offscreen = new OffscreenCanvas(1, 1);
    draw(offscreen);
    const element = new Image();
    element.src = URL.createObjectURL(blob);
    const inputs = {
      Blob: blob,
      File: new File([blob], 'a.png'),
      ImageBitmap: bitmap,
      ImageData: data,
      HTMLCanvasElement: canvas,
      OffscreenCanvas: offscreen,
      HTMLImageElement: element,
      VideoFrame: new VideoFrame(bitmap, { timestamp: 0 }),
    };
    const hashes = {};
    for (const [kind, input] of Object.entries(inputs)) {
      for (let time = 0; time < 2; time += 1) {
        const { image } = await test.toWire(input, false);
        const { rgb, width, height } = await test.asRead(await test.toPixels(image));
        hashes[`${kind} ${time}`] = `${width}x${height} ${await test.digest(rgb)}`;
      }
    }
    inputs.VideoFrame.close();
    const taken = await createImageBitmap(blob);
    await test.toPixels((await test.toWire(taken, true)).image);

    // Transparent parts are white, whatever colour stands in them.
    const clear = new ImageData(new Uint8ClampedArray([200, 100, 50, 255, 200, 100, 50, 3, 200, 100, 50, 0, 9, 8, 7, 128]), 4);
    const see = await createImageBitmap(clear, { premultiplyAlpha: 'none', colorSpaceConversion: 'none' });
    const colours = [];
    for (const input of [see, clear]) {
      const { image } = await test.toWire(input, false);
      colours.push([...(await test.asRead(await test.toPixels(image))).rgb]);
    }

    const fail = async (input) => {
      const { image } = await test.toWire(input, false);
      await test.asRead(await test.toPixels(image));
    };
    const closed = await createImageBitmap(blob);
    closed.close();
    const broken = new Image();
    broken.src = '/missing.png';
    const errors = [];
    for (const input of [
      new Blob([]),
      new Blob(['not a picture'], { type: 'text/plain' }),
      closed,
      Object.assign(document.createElement('canvas'), { width: 0 }),
      broken,
      'a.png',
      null,
      42,
      {},
      inputs.VideoFrame,
    ]) {
      errors.push(await test.failure(fail(input)));
    }
    return { hashes, taken: taken.width, colours, errors };
  });
  const hashes = new Set(Object.values(seen.hashes));
  assert.equal(hashes.size, 1, JSON.stringify(seen.hashes, null, 2));
  assert.match([...hashes][0], /^224x140 /);
  assert.equal(seen.taken, 0, 'handed over on request');
  const white = [200, 100, 50, 254, 253, 253, 255, 255, 255, 132, 131, 131];
  const [bitmap, data] = seen.colours;
  assert.deepEqual(data, white);
  // The canvas has multiplied by alpha, and divided again.
  bitmap.forEach((value, index) => assert.ok(Math.abs(value - white[index]) <= 1, `${bitmap}`));
  for (const error of seen.errors) assert.equal(error.class, 'ImageError', error.message);
  const said = seen.errors.map(({ message }) => message);
  assert.match(said[0], /Blob of type "" with 0 bytes/);
  assert.match(said[0], /empty file/);
  assert.match(said[1], /Blob of type "text\/plain" with 13 bytes/);
  assert.match(said[2], /ImageBitmap of 0 x 0/);
  assert.match(said[3], /HTMLCanvasElement of 0 x/);
  assert.match(said[5], /a string/);
  assert.match(said[6], /null/);
});

test('files are read as the browser shows them', { timeout }, async () => {
  const page = await open();
  const names = ['exif6.jpg', 'exif6.png', 'upright.jpg', 'omit_background.png', 'opaque.png', 'black_on_transparent.png'];
  names.push('trns_rgb.png', 'palette_trns.png', 'transparent.gif', 'interlaced.gif', 'alpha_lossy.webp', 'progressive.jpg');
  const seen = await page.evaluate(async (names) => {
    const found = {};
    for (const name of names) {
      const blob = await (await fetch(`/cases/pictures/${name}`)).blob();
      const { rgb, width, height } = await test.asRead(await test.toPixels(blob));
      const bitmap = await createImageBitmap(blob, { imageOrientation: 'from-image', colorSpaceConversion: 'none' });
      const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
      context.fillStyle = 'white';
      context.fillRect(0, 0, bitmap.width, bitmap.height);
      context.drawImage(bitmap, 0, 0);
      const shown = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
      let [most, sum] = [0, 0];
      for (let at = 0; at < rgb.length; at += 1) {
        const difference = Math.abs(rgb[at] - shown[Math.floor(at / 3) * 4 + (at % 3)]);
        most = Math.max(most, difference);
        sum += difference;
      }
      // The same file as an element, which the browser decodes and turns.
      const element = new Image();
      element.src = URL.createObjectURL(blob);
      const wired = await test.toWire(element, false);
      const ofElement = await test.asRead(await test.toPixels(wired.image));
      found[name] = {
        size: [width, height],
        shown: [bitmap.width, bitmap.height],
        element: [ofElement.width, ofElement.height],
        most,
        mean: sum / rgb.length,
      };
    }
    const cut = await test.failure(
      (async () => test.asRead(await test.toPixels(await (await fetch('/cases/pictures/cut_b.jpg')).blob())))(),
    );
    return { found, cut };
  }, names);
  for (const [name, { size, shown, element, most, mean }] of Object.entries(seen.found)) {
    assert.deepEqual(size, shown, name);
    assert.deepEqual(size, element, name);
    // Lossy formats: decoders round transforms and colours in their own ways.
    const lossy = /jpg|lossy/.test(name);
    assert.ok(lossy ? mean < 2 : most <= 1, `${name}: ${most}, ${mean} on average`);
  }
  assert.equal(seen.cut.class, 'ImageError');
  assert.match(seen.cut.message, /JPEG picture is cut off/);
});

test('pictures beyond the limit are refused before they are decoded, and named', { timeout }, async () => {
  const page = await open();
  const seen = await page.evaluate(async () => {
    // A bitmap file of a header that promises 60000 x 60000 pixels.
    const bomb = new DataView(new ArrayBuffer(54));
    [0x42, 0x4d].forEach((byte, at) => bomb.setUint8(at, byte));
    [[10, 54], [14, 40], [18, 60_000], [22, 60_000]].forEach(([at, value]) => bomb.setUint32(at, value, true));
    bomb.setUint16(26, 1, true);
    bomb.setUint16(28, 24, true);
    const canvas = new OffscreenCanvas(1, 1);
    canvas.width = canvas.height = 20_000;
    const read = async (input) => test.asRead(await test.toPixels((await test.toWire(input, false)).image));
    const bytes = await test.wasmBytes();
    const errors = [await test.failure(read(new Blob([bomb.buffer]))), await test.failure(read(canvas))];
    return { errors, grown: (await test.wasmBytes()) - bytes };
  });
  for (const error of seen.errors) {
    assert.equal(error.class, 'ImageError');
    assert.match(error.message, /more than 100000000 pixels/);
  }
  assert.ok(seen.grown < 1 << 20, `${seen.grown} bytes`);
});

test('chunks are kept in the Cache API too', { timeout }, async () => {
  const page = await open({ fresh: true });
  const seen = await page.evaluate(async () => {
    const { CacheApiStore } = test.store;
    const store = new CacheApiStore(await caches.open('fovea-test'));
    const key = 'a'.repeat(64);
    await store.put(key, new Uint8Array([1, 2, 3]));
    await store.putRecord('x.json', { location: 'x', files: [] });
    const before = [[...(await store.get(key))], [...(await store.sizes())], await store.records()];
    await store.delete(key);
    await store.deleteRecord('x.json');
    const after = [await store.get(key), [...(await store.sizes())], await store.records()];
    await caches.delete('fovea-test');
    return { before, after };
  });
  assert.deepEqual(seen.before, [[1, 2, 3], [['a'.repeat(64), 3]], [{ location: 'x', files: [] }]]);
  assert.deepEqual(seen.after, [undefined, [], []]);
});

test('without WebGPU it says so', { timeout }, async () => {
  const plain = await launch({ webgpu: false });
  try {
    const page = await plain.page(server.url);
    await page.waitForFunction(() => globalThis.test);
    const seen = await page.evaluate(async () => ({
      capabilities: await test.Fovea.capabilities(),
      error: await test.failure(test.Fovea.load()),
    }));
    assert.equal(seen.capabilities.supported, false);
    assert.match(seen.capabilities.reason, /WebGPU|adapter/);
    assert.equal(seen.error.class, 'WebGpuUnavailableError');
  } finally {
    await plain.close();
  }
});
