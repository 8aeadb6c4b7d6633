// Downloads against a fake server: what is repeated, what is final, what is kept, and how much is in memory.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { DownloadError, IntegrityError, ModelError, QuotaError } from '../dist/errors.js';
import { forget, keepListing, resolveListing } from '../dist/listing.js';
import { idOf } from '../dist/locate.js';
import { parseManifest } from '../dist/manifest.js';
import { Network } from '../dist/network.js';
import { ModelSource } from '../dist/source.js';
import { CacheApiStore, MemoryStore, NoStore, openStore } from '../dist/store.js';
import { fakeCaches, FakeServer, fakeStorage, manifestOf, noise, streamOf } from './fakes.js';

/** The smallest that a manifest may have. */
const CHUNK = 64 * 1024;
const BYTES = 20 * CHUNK + 123;
const location = { id: 'https://host/model/', base: 'https://host/model/' };

/** A server with one large and one small file, and a manifest of them. */
function makeServer({ manifest = true, bytes = BYTES } = {}) {
  const files = { 'config.json': new TextEncoder().encode('{"a":1}'), 'model.safetensors': noise(bytes) };
  const server = new FakeServer({ ...files });
  if (manifest) server.files['manifest.json'] = new TextEncoder().encode(JSON.stringify(manifestOf(files, CHUNK)));
  return server;
}

async function open(server, { store = new NoStore(), network: more = {}, ...options } = {}) {
  const waits = [];
  const retries = [];
  const network = new Network({
    fetch: server.fetch,
    sleep: async (milliseconds, signal) => {
      signal?.throwIfAborted();
      waits.push(milliseconds);
    },
    random: () => 1,
    onRetry: (error) => retries.push(error),
    ...more,
  });
  const listing = await resolveListing(location, network, store, { signal: options.signal });
  await keepListing(listing, store);
  const sizes = await store.sizes();
  const source = new ModelSource(listing, sizes, store, network, { onRetry: (error) => retries.push(error), ...options });
  return { source, network, listing, waits, retries };
}

/** The weights, front to back in ranges that fit no chunk. */
async function readAll(source, step = 80_000) {
  const { bytes } = source.files.find(({ name }) => name === 'model.safetensors');
  const whole = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += step) {
    whole.set(await source.read('model.safetensors', at, Math.min(bytes, at + step)), at);
  }
  return whole;
}

const isWeights = ({ name }) => name === 'model.safetensors';

test('reads ranges across chunks, several requests at once', async () => {
  const server = makeServer();
  const { source } = await open(server, { parallel: 4, readAhead: 4 });
  assert.deepEqual(source.files.map(({ name }) => name), ['config.json', 'model.safetensors']);
  assert.deepEqual(await readAll(source), server.files['model.safetensors']);
  assert.equal(server.requests.filter(isWeights).length, 21, 'each chunk once');
  assert.equal(server.mostOpen, 4);
  assert.deepEqual(await source.read('config.json', 1, 4), new TextEncoder().encode('"a"'));
  assert.equal((await source.read('config.json', 3, 3)).length, 0);
  await assert.rejects(source.read('config.json', 0, 8), ModelError);
  await assert.rejects(source.read('nothing', 0, 1), ModelError);
});

test('reads in any order', async () => {
  const server = makeServer();
  const { source } = await open(server);
  const want = server.files['model.safetensors'];
  for (const [start, end] of [[17 * CHUNK + 400, BYTES], [0, 2 * CHUNK + 800], [640_000, 640_001], [CHUNK, 2 * CHUNK], [15 * CHUNK - 99, BYTES]]) {
    assert.deepEqual(await source.read('model.safetensors', start, end), want.slice(start, end));
  }
});

test('holds few chunks in memory', async () => {
  // Counted by the buffers that the store is given and still holds: here, by what is fetched before it is read.
  const server = makeServer({ bytes: 200 * CHUNK });
  const { source } = await open(server, { parallel: 4, readAhead: 4 });
  await source.read('model.safetensors', 0, 10);
  // The read-ahead comes to its end without anyone reading.
  while (server.open > 0) await new Promise((done) => setImmediate(done));
  assert.equal(server.requests.filter(isWeights).length, 5);
});

test('repeats after 503, 429 with Retry-After, broken connections and short bodies', async () => {
  const server = makeServer({ bytes: CHUNK * 2 });
  const body = server.files['model.safetensors'];
  const faults = [
    () => new Response('', { status: 503 }),
    () => new Response('', { status: 429, headers: { 'retry-after': '7' } }),
    () => {
      throw new TypeError('network');
    },
    (signal) => new Response(streamOf(body.subarray(0, 2000), signal), { status: 206 }),
    (signal) => new Response(streamOf(body.subarray(0, CHUNK), signal, 1000), { status: 206 }),
  ];
  server.faults = (request, signal) => (isWeights(request) && request.start === 0 ? faults.shift()?.(signal) : undefined);
  const { source, waits, retries } = await open(server, { readAhead: 0 });
  assert.deepEqual(await readAll(source), body);
  assert.equal(retries.length, 5);
  // Exponential with full jitter here; the server's wish is the least.
  assert.deepEqual(waits, [500, 7000, 2000, 4000, 8000]);
});

test('fails after the last attempt, and at once where repeating is no use', async () => {
  const server = makeServer();
  server.faults = (request) => (isWeights(request) ? new Response('', { status: 503 }) : undefined);
  const { source } = await open(server, { readAhead: 0 });
  const url = 'https://host/model/model.safetensors';
  await assert.rejects(source.read('model.safetensors', 0, 1), (error) => {
    assert.ok(error instanceof DownloadError);
    assert.equal(error.status, 503);
    assert.equal(error.url, url);
    assert.match(error.message, /503, after 6 attempts/);
    return true;
  });
  assert.equal(server.requests.filter(isWeights).length, 6);
  assert.ok(source.failure instanceof DownloadError);

  server.requests.length = 0;
  server.faults = (request) => (isWeights(request) ? new Response('', { status: 404 }) : undefined);
  await assert.rejects(source.read('model.safetensors', 0, 1), { status: 404, code: 'download' });
  assert.equal(server.requests.length, 1);
});

test('a connection that says nothing is broken off', async () => {
  const server = makeServer({ bytes: CHUNK });
  let hung = 0;
  server.faults = (request, signal) => {
    if (!isWeights(request) || hung > 0) return undefined;
    hung += 1;
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  };
  const { source, retries } = await open(server, { network: { stall: 20 } });
  assert.deepEqual(await readAll(source), server.files['model.safetensors']);
  assert.match(retries[0].message, /no byte for/);
});

test('a wrong hash is fetched again past the HTTP cache', async () => {
  const server = makeServer();
  let wrong = 1;
  server.faults = (request, signal) => {
    if (!isWeights(request) || request.start !== CHUNK || wrong === 0) return undefined;
    wrong -= 1;
    return new Response(streamOf(noise(CHUNK, 9), signal), { status: 206 });
  };
  const { source, retries } = await open(server);
  assert.deepEqual(await readAll(source), server.files['model.safetensors']);
  assert.deepEqual(server.requests.filter(({ start }) => start === CHUNK).map(({ cache }) => cache), ['default', 'reload']);
  assert.equal(retries.length, 1);
});

test('a hash that is always wrong is an integrity error, and nothing of it is kept', async () => {
  const server = makeServer();
  server.files['model.safetensors'][CHUNK + 5] ^= 1;
  const store = new MemoryStore();
  const { source, listing } = await open(server, { store });
  await assert.rejects(readAll(source), (error) => {
    assert.ok(error instanceof IntegrityError);
    assert.equal(error.file, 'model.safetensors');
    assert.equal(error.expected, listing.files[1].chunks[1].sha256);
    assert.notEqual(error.actual, error.expected);
    return true;
  });
  assert.equal(server.requests.filter(({ start }) => start === CHUNK).length, 3);
  assert.ok(!(await store.sizes()).has(listing.files[1].chunks[1].key));
});

test('servers without ranges: the file is streamed once, in order', async () => {
  const server = makeServer();
  server.ranges = false;
  const { source } = await open(server, { store: new MemoryStore() });
  assert.deepEqual(await readAll(source), server.files['model.safetensors']);
  // Ranges that were refused, and one whole file.
  assert.equal(server.requests.filter((request) => isWeights(request) && request.start === undefined).length, 1);
});

test('servers without ranges: going back starts again, unless it was kept', async () => {
  for (const [store, times] of [[new NoStore(), 2], [new MemoryStore(), 1]]) {
    const server = makeServer();
    server.ranges = false;
    const { source } = await open(server, { store });
    const want = server.files['model.safetensors'];
    for (const [start, end] of [[15 * CHUNK - 99, BYTES], [0, 2 * CHUNK + 800], [2 * CHUNK + 800, 3 * CHUNK - 50]]) {
      assert.deepEqual(await source.read('model.safetensors', start, end), want.slice(start, end));
    }
    assert.equal(server.requests.filter((request) => isWeights(request) && request.start === undefined).length, times);
    source.close();
  }
});

test('servers without ranges: wrong bytes and broken connections are repeated', async () => {
  const server = makeServer();
  server.ranges = false;
  const want = server.files['model.safetensors'];
  const bad = want.slice();
  bad[3 * CHUNK] ^= 1;
  const bodies = [(signal) => streamOf(want, signal, 160_000), (signal) => streamOf(bad, signal)];
  server.faults = (request, signal) =>
    isWeights(request) && request.start === undefined && bodies.length > 0 ? new Response(bodies.shift()(signal)) : undefined;
  const { source } = await open(server);
  assert.deepEqual(await readAll(source), want);
});

test('an abort ends everything at once and leaves nothing half-written', async () => {
  const server = makeServer();
  const { storage, root } = fakeStorage();
  const store = await openStore({ storage });
  const controller = new AbortController();
  const { source, listing } = await open(server, { store, signal: controller.signal });
  await source.read('model.safetensors', 0, 3 * CHUNK);
  server.faults = (_, signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  const reading = source.read('model.safetensors', 12 * CHUNK, 13 * CHUNK);
  const reason = new Error('enough');
  controller.abort(reason);
  await assert.rejects(reading, reason);
  await assert.rejects(source.read('model.safetensors', 0, 1), reason);
  await source.settled();
  const whole = new Map(listing.files.flatMap(({ chunks }) => chunks).map(({ key, start, end }) => [key, end - start]));
  for (const [path, bytes] of Object.entries(root.list())) {
    const key = /^fovea\/chunks\/(.*)$/.exec(path)?.[1];
    if (key) assert.equal(bytes.length, whole.get(key));
  }
});

test('going on fetches only what is missing', async () => {
  const server = makeServer();
  const { storage } = fakeStorage();
  const store = await openStore({ storage });
  const first = await open(server, { store, readAhead: 0 });
  await first.source.read('model.safetensors', 0, 8 * CHUNK);
  await first.source.settled();
  first.source.close();

  server.requests.length = 0;
  const second = await open(server, { store: await openStore({ storage }) });
  assert.deepEqual(await readAll(second.source), server.files['model.safetensors']);
  await second.source.settled();
  assert.deepEqual(server.requests.filter(isWeights).map(({ start }) => start / CHUNK).sort((a, b) => a - b), [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);

  // All is kept now; the manifest comes from the store where the network is gone.
  server.requests.length = 0;
  server.faults = () => {
    throw new TypeError('offline');
  };
  const third = await open(server, { store });
  assert.deepEqual(await readAll(third.source), server.files['model.safetensors']);
  assert.deepEqual(server.requests.map(({ name }) => name), ['manifest.json']);
});

test('a manifest that does not come in time is replaced by the kept one', async () => {
  const server = makeServer();
  const store = new MemoryStore();
  await readAll((await open(server, { store })).source);
  server.faults = (_, signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  const network = new Network({ fetch: server.fetch });
  const listing = await resolveListing(location, network, store, { patience: 10 });
  assert.equal(listing.files[1].chunks.length, 21);
});

test('a damaged chunk in the store is deleted and fetched again', async () => {
  const server = makeServer();
  const { storage, root } = fakeStorage();
  const store = await openStore({ storage });
  const first = await open(server, { store });
  await readAll(first.source);
  await first.source.settled();
  const [flipped, emptied] = first.listing.files[1].chunks;
  const chunks = root.entriesByName.get('fovea').entriesByName.get('chunks').entriesByName;
  chunks.get(flipped.key).bytes[7] ^= 1;
  chunks.get(emptied.key).bytes = new Uint8Array();
  server.requests.length = 0;
  const second = await open(server, { store });
  assert.deepEqual(await readAll(second.source), server.files['model.safetensors']);
  await second.source.settled();
  assert.equal(server.requests.filter(isWeights).length, 2);
  assert.equal(second.retries.length, 2);
  assert.deepEqual(chunks.get(flipped.key).bytes, server.files['model.safetensors'].slice(0, CHUNK));
});

test('storage that fills up: goes on without keeping, or fails if keeping is required', async () => {
  const server = makeServer();
  const problems = [];
  const full = fakeStorage(10 * CHUNK);
  const easy = await open(server, { store: await openStore(full), onProblem: (text) => problems.push(text) });
  assert.deepEqual(await readAll(easy.source), server.files['model.safetensors']);
  await easy.source.settled();
  assert.equal(problems.length, 1);
  assert.match(problems[0], /storage is full: of the model's 1310850 bytes it has taken 0/);
  const chunks = Object.entries(full.root.list()).filter(([path]) => path.startsWith('fovea/chunks/'));
  assert.ok(chunks.length > 0 && chunks.every(([, bytes]) => bytes.length > 0), 'no empty files are left');

  const again = fakeStorage(10 * CHUNK);
  const strict = await open(server, { store: await openStore(again), required: true, taken: async () => 40960 });
  await assert.rejects(
    readAll(strict.source).then(() => strict.source.settled()),
    (error) => error instanceof QuotaError && error.needed === BYTES + 7 && error.available === 40960,
  );
});

test('two downloads at once into the same store', async () => {
  const server = makeServer();
  const { storage } = fakeStorage();
  const want = server.files['model.safetensors'];
  const both = await Promise.all(
    [0, 1].map(async () => {
      const { source } = await open(server, { store: await openStore({ storage }) });
      const bytes = await readAll(source);
      await source.settled();
      return bytes;
    }),
  );
  for (const bytes of both) assert.deepEqual(bytes, want);
});

test('stores: OPFS, else the Cache API, else memory', async () => {
  const { storage } = fakeStorage();
  const caches = fakeCaches();
  assert.equal((await openStore({ storage, caches })).kind, 'opfs');
  const refused = { getDirectory: () => Promise.reject(new DOMException('private', 'SecurityError')) };
  assert.equal((await openStore({ storage: refused, caches })).kind, 'cache-api');
  const noWritable = fakeStorage();
  const folder = noWritable.root;
  folder.getDirectoryHandle = async () => ({
    getDirectoryHandle: async () => ({}),
    getFileHandle: async () => ({}),
  });
  assert.equal((await openStore({ storage: noWritable.storage, caches })).kind, 'cache-api');
  const broken = { open: () => Promise.reject(new DOMException('private', 'SecurityError')) };
  assert.equal((await openStore({ storage: refused, caches: broken })).kind, 'memory');
  assert.equal((await openStore({})).kind, 'memory');
});

test('the Cache API and memory keep chunks as OPFS does', async () => {
  for (const store of [new CacheApiStore(await fakeCaches().open()), new MemoryStore()]) {
    const server = makeServer();
    const first = await open(server, { store });
    await readAll(first.source);
    await first.source.settled();
    server.requests.length = 0;
    const second = await open(server, { store });
    assert.deepEqual(await readAll(second.source), server.files['model.safetensors']);
    assert.deepEqual(server.requests.map(({ name }) => name), ['manifest.json']);
    const [record] = await store.records();
    assert.equal(record.location, location.id);
    await forget(record, store);
    assert.equal((await store.sizes()).size, 0);
    assert.equal((await store.records()).length, 0);
  }
});

test('memory keeps only so much', async () => {
  const store = new MemoryStore(10);
  await store.put('a', new Uint8Array(8));
  await assert.rejects(store.put('b', new Uint8Array(8)), { name: 'QuotaExceededError' });
  await store.delete('a');
  await store.put('b', new Uint8Array(8));
});

test('a new version of a model replaces the chunks that only the old one had', async () => {
  const server = makeServer();
  const { storage } = fakeStorage();
  const store = await openStore({ storage });
  const first = await open(server, { store });
  await readAll(first.source);
  await first.source.settled();
  const weights = server.files['model.safetensors'].slice();
  weights[0] ^= 1;
  const files = { 'config.json': server.files['config.json'], 'model.safetensors': weights };
  Object.assign(server.files, files);
  server.files['manifest.json'] = new TextEncoder().encode(JSON.stringify(manifestOf(files, CHUNK)));
  server.requests.length = 0;
  const second = await open(server, { store });
  assert.deepEqual(await readAll(second.source), weights);
  await second.source.settled();
  assert.equal(server.requests.filter(isWeights).length, 1);
  const keys = new Set(second.listing.files.flatMap(({ chunks }) => chunks.map(({ key }) => key)));
  for (const key of (await store.sizes()).keys()) assert.ok(keys.has(key));
});

test('without a manifest, a published checkpoint is found file by file', async () => {
  const server = makeServer({ manifest: false });
  server.files['tokenizer.json'] = new TextEncoder().encode('{}');
  const store = new MemoryStore();
  const { source, listing } = await open(server, { store });
  assert.deepEqual(listing.files.map(({ name, bytes }) => [name, bytes]), [
    ['config.json', 7],
    ['tokenizer.json', 2],
    ['model.safetensors', BYTES],
  ]);
  assert.ok(listing.files.every(({ chunks }) => chunks.every(({ sha256 }) => sha256 === undefined)));
  assert.deepEqual(await readAll(source), server.files['model.safetensors']);
  await source.settled();
  // A new version has another ETag, hence other keys.
  server.files['model.safetensors'] = noise(BYTES, 5);
  const second = await open(server, { store });
  assert.deepEqual(await readAll(second.source), server.files['model.safetensors']);
});

test('without a manifest: shards, hidden ranges, pages in place of files', async () => {
  const server = makeServer({ manifest: false });
  const weights = server.files['model.safetensors'];
  delete server.files['model.safetensors'];
  const index = { weight_map: { a: 'model-2.safetensors', b: 'model-1.safetensors', c: 'model-2.safetensors' } };
  server.files['model.safetensors.index.json'] = new TextEncoder().encode(JSON.stringify(index));
  server.files['model-1.safetensors'] = weights;
  server.files['model-2.safetensors'] = weights;
  server.faults = (request) => {
    const { name, method, start } = request;
    if (!server.files[name]) return new Response('<!doctype html>', { headers: { 'content-type': 'text/html' } });
    // Another origin may hide Content-Range.
    if (name === 'model-1.safetensors' && method === 'GET' && start === 0) return new Response('x', { status: 206 });
    return undefined;
  };
  const { listing } = await open(server);
  assert.deepEqual(listing.files.map(({ name }) => name), [
    'config.json',
    'model.safetensors.index.json',
    'model-1.safetensors',
    'model-2.safetensors',
  ]);
  assert.equal(listing.files[2].bytes, BYTES);

  server.files['model.safetensors.index.json'] = new TextEncoder().encode('{"weight_map":{"a":"../secret"}}');
  await assert.rejects(open(server), /weight_map/);
  delete server.files['config.json'];
  delete server.files['model.safetensors.index.json'];
  await assert.rejects(open(server), /there is no config\.json/);
  server.files['adapter_config.json'] = new TextEncoder().encode('{}');
  await assert.rejects(open(server), /PEFT adapter.*merge it into its base model/);
});

test('files in a folder\'s place are named for what they are', () => {
  for (const [address, what] of [
    ['https://models.example/x/model-q4.gguf', /model-q4\.gguf: a gguf file.*original model/],
    ['https://models.example/x/model.safetensors?token=1', /model\.safetensors: one file.*folder/],
    ['https://models.example/x/config.json', /config\.json: one file.*folder/],
  ]) {
    assert.throws(() => idOf(address), what);
  }
  assert.equal(idOf('https://models.example/Qwen2.5-VL'), 'https://models.example/Qwen2.5-VL/');
});

test('manifests are checked', () => {
  const good = () => manifestOf({ 'a.json': noise(10), 'b/c.bin': noise(2 * CHUNK + 99) }, CHUNK);
  assert.equal(parseManifest(good(), 'm').files.length, 2);
  const cases = [
    [(m) => (m.version = 2), /version 2/],
    [(m) => (m.chunk = 0), /chunk: expected 65536 to 8388608 bytes/],
    [(m) => (m.chunk = CHUNK - 1), /chunk: expected/],
    [(m) => (m.chunk = 8 * 1024 * 1024 + 1), /chunk: expected/],
    [(m) => (m.chunk = '65536'), /chunk: expected/],
    [(m) => (m.files[1].bytes = 2 ** 37), /bytes: expected at most/],
    [(m) => (m.files = Array.from({ length: 1025 }, () => m.files[0])), /files: expected a list of 1 to 1024/],
    [(m) => (m.files = []), /files/],
    [(m) => (m.files[0].name = '../x'), /files\[0\]\.name/],
    [(m) => (m.files[0].name = '/x'), /files\[0\]\.name/],
    [(m) => (m.files[0].name = 'https://x/y'), /files\[0\]\.name/],
    [(m) => (m.files[0].name = 'b/c.bin'), /twice/],
    [(m) => (m.files[0].bytes = -1), /bytes/],
    [(m) => (m.files[0].sha256 = 'x'), /sha256/],
    [(m) => m.files[1].chunks.pop(), /expected 3 hashes/],
  ];
  for (const [spoil, message] of cases) {
    const manifest = good();
    spoil(manifest);
    assert.throws(() => parseManifest(manifest, 'm'), message);
  }
  assert.throws(() => parseManifest(null, 'm'), ModelError);
});
