// Calls, their order, their ends and their failures, with a module that is made of JavaScript.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';

import { Engine } from '../dist/engine.js';
import {
  AdapterTooSmallError,
  AnswerError,
  DeviceLostError,
  DownloadError,
  FoveaError,
  IntegrityError,
  QuotaError,
} from '../dist/errors.js';
import { decodeError, encodeError, makeError } from '../dist/failures.js';
import { Tracker } from '../dist/progress.js';
import { answer, Client, Direct } from '../dist/rpc.js';
import { FakeServer, fakeStorage, manifestOf, noise } from './fakes.js';

const location = { id: 'https://host/model/', base: 'https://host/model/' };
const params = { location, quantisation: 'q4', tier: {}, cache: 'auto', parallel: 4, headers: {} };
const bridgeError = (code, message, detail) => Object.assign(new Error(message), { code, detail });

function deferred() {
  let resolve, reject;
  const promise = new Promise((res, rej) => ([resolve, reject] = [res, rej]));
  return { promise, resolve, reject };
}

/** A module that reads all files and answers with the instruction. `hooks` take the place of single steps. */
class FakeModule {
  opened = 0;
  loaded = 0;
  encoded = 0;
  busy = false;
  hooks = {};

  bridge = () => {
    const module = this;
    const once = async (signal, step) => {
      if (module.busy) throw bridgeError('internal', 'busy');
      module.busy = true;
      try {
        signal?.throwIfAborted();
        return await new Promise((resolve, reject) => {
          signal?.addEventListener('abort', () => reject(signal.reason));
          step().then(resolve, reject);
        });
      } finally {
        module.busy = false;
      }
    };
    return {
      default: async () => undefined,
      wasm_bytes: () => 65536,
      Device: {
        open: async () => {
          module.opened += 1;
          await module.hooks.open?.();
          const device = { lost: undefined, destroyed: 0, freed: 0 };
          module.device = device;
          return Object.assign(device, {
            capabilities: () => ({ supported: true }),
            gpu_bytes: () => 1000,
            failure: () => device.lost,
            destroy: () => (device.destroyed += 1),
            free: () => (device.freed += 1),
          });
        },
      },
      Model: {
        load: async (device, source, quantisation, onProgress, signal) => {
          await once(signal, async () => {
            let done = 0;
            const total = source.files.reduce((sum, { bytes }) => sum + bytes, 0);
            for (const { name, bytes } of source.files) {
              await source.read(name, 0, bytes);
              done += bytes;
              onProgress?.(done, total);
            }
            await module.hooks.load?.();
          });
          module.loaded += 1;
          return {
            info: () => ({ architecture: 'fake', adapter: 'fake', software: false, quantisation }),
            weight_bytes: () => 600,
            kv_bytes: () => 300,
            encode: (rgba, width, height, onStage, signal) =>
              once(signal, async () => {
                module.encoded += 1;
                onStage?.('encode', 1);
                await module.hooks.encode?.();
                const image = { width, height, tokens: 4, milliseconds: 5, device, freed: 0, first: rgba[0] };
                image.free = () => (image.freed += 1);
                module.images = [...(module.images ?? []), image];
                return image;
              }),
            encode_file: (file, onStage, signal) =>
              once(signal, async () => {
                onStage?.('encode', 1);
                if (file[0] === 0) throw Object.assign(new Error('this is a HEIC picture'), { code: 'image' });
                return { width: 1, height: 1, tokens: 4, milliseconds: 5, device, free: () => undefined };
              }),
            ground: (image, instruction, options, onStage, onToken, signal) =>
              once(signal, async () => {
                assert.equal(image.device, device, 'a picture of this device');
                assert.equal(image.freed, 0);
                onStage?.('prefill', 1);
                onToken?.(7, instruction);
                await module.hooks.ground?.(instruction, signal);
                const box = { left: 1, top: 2, right: 3, bottom: 4 };
                const action = { kind: 'click', box, point: { x: 2, y: 3 } };
                return { text: instruction, found: true, action, prefill: 1, decode: 2, prompt_tokens: 9, answer_tokens: 1, forced_tokens: 0 };
              }),
            generate: (messages, images, options, onStage, onToken, signal) =>
              once(signal, async () => {
                onToken?.(1, 'a');
                onToken?.(2, 'b');
                return { text: 'ab', prefill: 1, decode: 2, prompt_tokens: 9, answer_tokens: 2, forced_tokens: 0 };
              }),
            free: () => undefined,
          };
        },
      },
    };
  };
}

function setup({ quota } = {}) {
  const module = new FakeModule();
  const files = { 'config.json': noise(10), 'model.safetensors': noise(20000) };
  const server = new FakeServer({ ...files });
  server.files['manifest.json'] = new TextEncoder().encode(JSON.stringify(manifestOf(files, 64 * 1024)));
  const { root, storage } = fakeStorage(quota);
  const attempts = [];
  const options = {
    bridge: async (attempt) => {
      attempts.push(attempt);
      return module.bridge();
    },
    storage: { storage },
    fetch: server.fetch,
    pixels: async (image) => {
      if (image.broken) throw makeError('image', 'broken');
      if (image.file) return { file: Uint8Array.from(image.file), what: 'a Blob' };
      return { rgba: new Uint8Array(16).fill(image.colour ?? 0), width: 2, height: 2 };
    },
  };
  const crashes = [];
  const engine = new Engine(options, (error) => crashes.push(error));
  return { module, server, root, engine, direct: new Direct(engine), crashes, attempts };
}

const ground = (direct, image, instruction, context) =>
  direct.call('ground', { image, instruction, maxTokens: 8, heat: false, free: false }, context);

test('loads with progress, grounds, frees the picture', async () => {
  const { direct, module, engine } = setup();
  const progress = [];
  const info = await direct.call('load', params, { listeners: { progress: (p) => progress.push(p) } });
  assert.equal(info.architecture, 'fake');
  assert.equal(progress[0].phase, 'open');
  assert.equal(progress.at(-1).phase, 'ready');
  assert.equal(progress.at(-1).loaded, progress.at(-1).total);
  assert.equal(progress.at(-1).downloaded > 20000, true);
  assert.deepEqual(progress.at(-1).cache, { kind: 'opfs' });

  const stages = [];
  const tokens = [];
  const listeners = { stage: ({ stage }) => stages.push(stage), token: (token) => tokens.push(token) };
  const result = await ground(direct, {}, 'hello', { listeners });
  assert.deepEqual(result.point, { x: 2, y: 3 });
  assert.deepEqual([...new Set(stages)], ['image', 'encode', 'prefill', 'decode']);
  assert.deepEqual(tokens, [{ id: 7, text: 'hello' }]);
  assert.equal(result.timings.encode, 5);
  assert.equal(module.images[0].freed, 1);
  const memory = await direct.call('memory', undefined);
  assert.deepEqual(memory, { gpu: 1000, weights: 600, kvCache: 300, wasm: 65536, stored: 20010 });
  await engine.dispose();
  assert.equal(module.device.destroyed, 1);
  await assert.rejects(ground(direct, {}, 'late'), { code: 'disposed' });
});

test('of several pictures the bad one is named', async () => {
  const { direct } = setup();
  await direct.call('load', params);
  const ask = (...images) => direct.call('generate', { messages: [], images, sampling: { max_tokens: 4 } });
  const [good, broken, heic] = [{ file: [1] }, { broken: true }, { file: [0] }];
  await ask(good, good);
  await assert.rejects(ask(good, broken, good), { code: 'image', message: 'picture 2 of 3: broken' });
  const said = 'cannot read a Blob as a picture: this is a HEIC picture';
  await assert.rejects(ask(good, heic), { code: 'image', message: `picture 2 of 2: ${said}` });
  await assert.rejects(ask(heic), { code: 'image', message: said });
});

test('handles are encoded once, and released in their turn', async () => {
  const { direct, module } = setup();
  await direct.call('load', params);
  const { id } = await direct.call('encode', { image: { colour: 3 } });
  const first = await ground(direct, id, 'one');
  assert.equal(first.timings.encode, 0);
  const last = ground(direct, id, 'two');
  await direct.call('release', { id });
  await last;
  await direct.call('generate', { messages: [], images: [], sampling: { max_tokens: 4 } });
  assert.equal(module.encoded, 1);
  assert.equal(module.images[0].freed, 1);
  await assert.rejects(ground(direct, id, 'three'), { code: 'image' });
});

test('calls run one after the other; an abort in the queue rejects at once', async () => {
  const { direct, module } = setup();
  await direct.call('load', params);
  const gate = deferred();
  const seen = [];
  module.hooks.ground = async (instruction) => {
    seen.push(instruction);
    if (instruction === 'a') await gate.promise;
  };
  const a = ground(direct, {}, 'a');
  const controller = new AbortController();
  const b = ground(direct, {}, 'b', { signal: controller.signal });
  const c = ground(direct, {}, 'c');
  const reason = new Error('no longer');
  controller.abort(reason);
  await assert.rejects(b, reason);
  gate.resolve();
  assert.equal((await a).text, 'a');
  assert.equal((await c).text, 'c');
  assert.deepEqual(seen, ['a', 'c']);
});

test('an abort ends each stage with its reason, and the next call works', async () => {
  for (const hook of ['open', 'load', 'encode', 'ground']) {
    const { direct, module } = setup();
    const controller = new AbortController();
    const reason = { why: hook };
    const met = deferred();
    module.hooks[hook] = () => {
      met.resolve();
      return new Promise(() => undefined);
    };
    // Opening a device cannot be ended; it only takes its time here.
    const gate = deferred();
    if (hook === 'open') module.hooks.open = () => (met.resolve(), gate.promise);
    const run = async () => {
      await direct.call('load', params, { signal: controller.signal });
      return ground(direct, {}, 'x', { signal: controller.signal });
    };
    const running = run();
    await met.promise;
    controller.abort(reason);
    await assert.rejects(running, (error) => error === reason);
    gate.resolve();
    module.hooks = {};
    await direct.call('load', params);
    assert.equal((await ground(direct, {}, 'again')).text, 'again');
  }
});

test('a lost device: the call rejects, the next one loads from what was kept', async () => {
  const { direct, module, server } = setup();
  await direct.call('load', params);
  const { id } = await direct.call('encode', { image: { colour: 9 } });
  module.hooks.ground = async () => {
    module.device.lost = bridgeError('device-lost', 'the device is gone');
    throw bridgeError('internal', 'mapping failed');
  };
  await assert.rejects(ground(direct, id, 'x'), DeviceLostError);
  module.hooks = {};
  server.requests.length = 0;
  assert.equal((await ground(direct, id, 'y')).text, 'y');
  assert.equal(module.opened, 2);
  assert.equal(module.loaded, 2);
  assert.equal(module.images.at(-1).first, 9, 'the same pixels, on the new device');
  assert.deepEqual(server.requests.map(({ name }) => name), ['manifest.json']);

  // Lost while nothing runs: nobody needs to know.
  module.device.lost = bridgeError('device-lost', 'sleep');
  assert.equal((await ground(direct, {}, 'z')).text, 'z');
  assert.equal(module.opened, 3);
});

test('a trap rejects what runs, and the next call starts another module', async () => {
  const { direct, module, crashes, attempts } = setup();
  await direct.call('load', params);
  const { id } = await direct.call('encode', { image: { colour: 4 } });
  module.hooks.ground = async () => {
    throw new WebAssembly.RuntimeError('unreachable');
  };
  await assert.rejects(ground(direct, id, 'x'), /engine broke down: unreachable/);
  assert.equal(crashes.length, 1);
  module.hooks = {};
  module.busy = false;
  assert.equal((await ground(direct, id, 'y')).text, 'y');
  assert.deepEqual(attempts, [0, 1]);
});

test('a failed download is told in its own class, also if the module wraps it', async () => {
  const { direct, server, module } = setup();
  server.faults = ({ name }) => (name === 'model.safetensors' ? new Response('', { status: 404 }) : undefined);
  await assert.rejects(direct.call('load', params), (error) => error instanceof DownloadError && error.status === 404);
  server.faults = () => undefined;
  server.files['model.safetensors'][0] ^= 1;
  await assert.rejects(direct.call('load', params), IntegrityError);
  assert.equal(module.device.destroyed, 1, 'the device is given back');
});

test('quota: required fails beforehand, auto goes on', async () => {
  const { direct, root } = setup({ quota: 10000 });
  await assert.rejects(
    direct.call('load', { ...params, cache: 'required' }),
    (error) => error instanceof QuotaError && error.needed === 20010 && error.available === 10000,
  );
  const progress = [];
  await direct.call('load', params, { listeners: { progress: (p) => progress.push(p) } });
  assert.equal(progress.at(-1).cache.kind, 'none');
  assert.match(progress.at(-1).cache.problem, /needs 20010 bytes of storage, and this browser offers 10000/);
  assert.ok(Object.keys(root.list()).every((path) => !path.startsWith('fovea/chunks/')));
});

test('what was kept before is used, also if the rest finds no room', async () => {
  const { direct, server, root } = setup();
  await direct.call('load', params);
  const chunks = root.entriesByName.get('fovea').entriesByName.get('chunks').entriesByName;
  chunks.delete([...chunks.keys()].at(-1));
  root.quota = 1;
  server.requests.length = 0;
  const progress = [];
  await direct.call('load', params, { listeners: { progress: (p) => progress.push(p) } });
  assert.equal(progress.at(-1).cache.kind, 'none');
  assert.deepEqual(server.requests.map(({ name }) => name), ['manifest.json', 'model.safetensors']);
});

test('errors cross a port in their classes, with fields, stack and cause', async () => {
  const { port1, port2 } = new MessageChannel();
  const crashed = deferred();
  const rpc = answer(port1, {
    call: async (method, params) => {
      if (method === 'memory') return { gpu: 1 };
      throw params;
    },
  });
  const client = new Client(port2, crashed.resolve);
  assert.deepEqual(await client.call('memory', undefined), { gpu: 1 });

  const errors = [
    new AdapterTooSmallError('small', 'maxBufferSize', 1, 2),
    new AnswerError('odd', 'gibberish'),
    new DownloadError('gone', 'https://x/', 500, { cause: new TypeError('reset') }),
    new QuotaError('full', 10, 5),
    new IntegrityError('wrong', 'f', 'aa', 'bb'),
    new FoveaError('internal', 'oh'),
  ];
  for (const error of errors) {
    const revived = decodeError(structuredClone(encodeError(error)));
    assert.ok(revived instanceof error.constructor && revived instanceof FoveaError);
    assert.deepEqual({ ...revived }, { ...error });
    assert.equal(revived.message, error.message);
    assert.equal(revived.stack, error.stack);
    if (error.cause) assert.equal(revived.cause.message, 'reset');
  }
  assert.equal(makeError('made-up', 'm').code, 'internal');

  rpc.crash(new FoveaError('internal', 'broke'));
  assert.equal((await crashed.promise).message, 'broke');
  const pending = client.call('load', params);
  client.fail(new FoveaError('internal', 'gone'));
  await assert.rejects(pending, /gone/);
  await assert.rejects(client.call('memory', undefined), /gone/);
  port1.close();
});

test('aborts and events cross a port', async () => {
  const { port1, port2 } = new MessageChannel();
  const stopped = deferred();
  answer(port1, {
    call: (method, params, { signal, emit }) => {
      emit('token', { id: 1, text: 'x' });
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          stopped.resolve();
          reject(signal.reason);
        });
      });
    },
  });
  const client = new Client(port2, () => undefined);
  const controller = new AbortController();
  const token = deferred();
  const call = client.call('ground', {}, { signal: controller.signal, listeners: { token: token.resolve } });
  assert.deepEqual(await token.promise, { id: 1, text: 'x' });
  const reason = { mine: true };
  controller.abort(reason);
  await assert.rejects(call, (error) => error === reason);
  await stopped.promise;
  port1.close();
});

test('progress: about ten reports a second, rate and time left', () => {
  let now = 0;
  const reports = [];
  const tracker = new Tracker((progress) => reports.push(progress), () => now);
  tracker.missing = 10_000;
  tracker.total = 12_000;
  for (let step = 0; step < 100; step += 1) {
    now += 20;
    tracker.arrived(50);
  }
  assert.ok(reports.length >= 18 && reports.length <= 21, `${reports.length} reports in two seconds`);
  const last = reports.at(-1);
  assert.ok(Math.abs(last.rate - 2500) < 150, `${last.rate} bytes a second`);
  assert.ok(Math.abs(last.remaining - (10_000 - last.downloaded) / last.rate) < 1e-9);
  tracker.phase = 'ready';
  tracker.tell(true);
  assert.equal(reports.at(-1).remaining, 0);
});
