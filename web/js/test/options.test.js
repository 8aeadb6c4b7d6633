// What a caller may give, what is sent with it, and what never leaves an address: in the page's own code, without a browser.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';

import { NEEDED, probe } from '../dist/adapter.js';
import { assetsFolder, startWorkerScript } from '../dist/assets.js';
import { AssetError, DownloadError, FoveaError, IntegrityError, ModelError, OptionError } from '../dist/errors.js';
import { Fovea } from '../dist/fovea.js';
import { encodeError } from '../dist/failures.js';
import { keepListing, resolveListing } from '../dist/listing.js';
import { idOf, locate } from '../dist/locate.js';
import { shown, urlOf } from '../dist/location.js';
import { Network } from '../dist/network.js';
import { loadParams } from '../dist/options.js';
import { relayedFetch, serveFetch } from '../dist/relay.js';
import { MemoryStore } from '../dist/store.js';
import { FakeServer, manifestOf, noise } from './fakes.js';

const CHUNK = 64 * 1024;
const SECRET = 's3cr3t';
const integrityOf = (bytes) => `sha256-${createHash('sha256').update(bytes).digest('base64')}`;

/** A server whose addresses carry a query, as those with tokens do. */
function makeServer({ manifest = true } = {}) {
  const files = { 'config.json': noise(10), 'model.safetensors': noise(CHUNK + 5) };
  const server = new FakeServer({ ...files });
  if (manifest) server.files['manifest.json'] = new TextEncoder().encode(JSON.stringify(manifestOf(files, CHUNK)));
  const seen = [];
  const fetch = (url, init) => {
    seen.push({ url, init });
    return server.fetch(url.split('?')[0], init);
  };
  return { server, fetch, seen };
}

test('options that are none are refused by name, before anything begins', async () => {
  const base = { assets: 'https://host/' };
  for (const [options, name] of [
    [{ quantisation: 'q5' }, 'quantisation'],
    [{ cache: 'always' }, 'cache'],
    [{ thread: 'moon' }, 'thread'],
    [{ parallel: 0 }, 'parallel'],
    [{ parallel: NaN }, 'parallel'],
    [{ parallel: 65 }, 'parallel'],
    [{ tier: null }, 'tier'],
    [{ tier: { f16: 'yes' } }, 'tier.f16'],
    [{ tier: { kernels: 'tpu' } }, 'tier.kernels'],
    [{ credentials: 'all' }, 'credentials'],
    [{ fetch: 'https://host/' }, 'fetch'],
    [{ onProgress: 7 }, 'onProgress'],
    [{ headers: { 'a b': SECRET } }, 'headers'],
    [{ headers: { authorization: `a\n${SECRET}` } }, 'headers'],
    [{ headers: { Range: 'bytes=0-1' } }, 'headers'],
    [{ integrity: 'sha384-abc' }, 'integrity'],
    [{ integrity: 'f'.repeat(64) }, 'integrity'],
    [{ assets: 'not an address' }, 'assets'],
    [{ assets: 7 }, 'assets'],
  ]) {
    assert.throws(() => loadParams({ ...base, ...options }), (error) => {
      assert.ok(error instanceof OptionError && error.code === 'option', String(error));
      assert.ok(error.message.startsWith(name), error.message);
      assert.ok(!error.message.includes(SECRET));
      return true;
    });
  }
  const { headers, credentials, integrity } = loadParams({
    headers: new Headers({ Authorization: `Bearer ${SECRET}` }),
    credentials: 'include',
    integrity: integrityOf('x'),
  });
  assert.deepEqual(headers, { authorization: `Bearer ${SECRET}` });
  assert.equal(credentials, 'include');
  assert.equal(integrity, createHash('sha256').update('x').digest('hex'));
});

test('every failure has a code, whatever is handed over', async () => {
  const failures = [
    () => Fovea.load(),
    () => Fovea.load(null),
    () => Fovea.load({ model: 'nano' }),
    () => Fovea.clear(7),
    () => Fovea.clear('http://['),
    () => Fovea.clear({ name: 'x' }),
    () => Fovea.capabilities({ tier: 7 }),
  ];
  for (const fail of failures) {
    await assert.rejects(fail, (error) => error instanceof FoveaError && typeof error.code === 'string', String(fail));
  }
  // Here is no worker, and no address of a page.
  for (const worker of [undefined, () => 7, 'x']) {
    assert.throws(() => startWorkerScript(worker, undefined), AssetError);
  }
});

test('without nano it is said what to install', async () => {
  await assert.rejects(locate('nano'), (error) => {
    assert.ok(error instanceof ModelError);
    assert.match(error.message, /npm install fovea-nano/);
    return true;
  });
  assert.equal(idOf('nano'), 'nano');
});

test('a package of files is a model, and has no others than its own', async () => {
  const files = { 'config.json': 'https://host/a-1.json' };
  const location = await locate({ name: 'mine', files });
  assert.equal(location.id, 'mine');
  assert.equal(urlOf(location, 'config.json'), 'https://host/a-1.json');
  for (const name of ['model.safetensors', 'constructor', '__proto__', 'toString']) assert.equal(urlOf(location, name), undefined);
  for (const wrong of [{ name: '', files }, { name: 'x', files: { a: 7 } }, { name: 'x' }]) {
    await assert.rejects(locate(wrong), OptionError);
  }
});

test('what is secret in an address is no part of names and messages', async () => {
  const address = `https://host/model?token=${SECRET}#${SECRET}`;
  const location = await locate(address);
  assert.equal(location.id, 'https://host/model/');
  assert.equal(idOf(address), location.id);
  assert.equal(urlOf(location, 'config.json'), `https://host/model/config.json?token=${SECRET}`);
  assert.equal(shown('data:text/plain;base64,AAAA'), 'data:…');
  for (const wrong of [`https://user:${SECRET}@host/`, `https://[?token=${SECRET}`, `ftp://host/?${SECRET}`]) {
    await assert.rejects(locate(wrong), (error) => error instanceof ModelError && !error.message.includes(SECRET));
  }

  for (const manifest of [true, false]) {
    const { server, fetch, seen } = makeServer({ manifest });
    const network = new Network({ fetch, sleep: async () => undefined, attempts: 2 });
    const store = new MemoryStore();
    const listing = await resolveListing(location, network, store);
    await keepListing(listing, store);
    assert.ok(seen.length > 0 && seen.every(({ url }) => url.endsWith(`?token=${SECRET}`)), 'it is sent with every request');
    assert.ok(!JSON.stringify(await store.records()).includes(SECRET), 'it is not kept');
    // Another token: the same model, and the same chunks.
    const again = await resolveListing(await locate('https://host/model/?token=other'), network, store);
    const keys = ({ files }) => files.flatMap(({ chunks }) => chunks.map(({ key }) => key));
    assert.deepEqual(keys(again), keys(listing));
    assert.ok(again.files.every(({ url }) => url.endsWith('?token=other')));

    // Whatever goes wrong.
    const said = (error) => JSON.stringify([encodeError(error), error.url]);
    server.faults = () => new Response('', { status: 401 });
    const url = urlOf(location, 'config.json');
    const never = async () => undefined;
    await assert.rejects(network.request(url, {}, never), (error) => {
      assert.ok(error instanceof DownloadError && error.status === 401);
      assert.equal(error.url, 'https://host/model/config.json');
      return !said(error).includes(SECRET);
    });
    server.faults = () => {
      throw new TypeError(`cannot fetch ${url}`);
    };
    await assert.rejects(network.request(url, {}, never), (error) => error instanceof DownloadError && !said(error).includes(SECRET));
  }
});

test('without a manifest, a query tells versions apart where the server says nothing of them', async () => {
  const { fetch } = makeServer({ manifest: false });
  const silent = async (url, init) => {
    const { body, status, headers } = await fetch(url, init);
    const kept = new Headers(headers);
    kept.delete('etag');
    return new Response(body, { status, headers: kept });
  };
  const network = new Network({ fetch: silent });
  const keys = async (query) => {
    const { files } = await resolveListing(await locate(`https://host/model/${query}`), network, new MemoryStore());
    return files.flatMap(({ chunks }) => chunks.map(({ key }) => key));
  };
  assert.notDeepEqual(await keys('?v=1'), await keys('?v=2'));
});

test('headers and credentials go with every request', async () => {
  const { fetch, seen } = makeServer({ manifest: false });
  const headers = { authorization: SECRET };
  const network = new Network({ fetch, headers, credentials: 'include' });
  await resolveListing(await locate('https://host/model/'), network, new MemoryStore());
  assert.ok(seen.length > 3);
  for (const { init } of seen) assert.deepEqual([init.headers.authorization, init.credentials], [SECRET, 'include']);
  assert.ok(seen.some(({ init }) => init.headers.range));
});

test('integrity: only the manifest that was meant, and no network for one that is kept', async () => {
  const { server, fetch, seen } = makeServer();
  const network = new Network({ fetch, sleep: async () => undefined });
  const location = await locate('https://host/model/');
  const hex = (bytes) => createHash('sha256').update(bytes).digest('hex');
  const integrity = hex(server.files['manifest.json']);
  const store = new MemoryStore();
  await assert.rejects(resolveListing(location, network, store, { integrity: hex('x') }), (error) => {
    assert.ok(error instanceof IntegrityError);
    assert.deepEqual([error.file, error.expected, error.actual], ['manifest.json', hex('x'), integrity]);
    return true;
  });
  await keepListing(await resolveListing(location, network, store, { integrity }), store);
  seen.length = 0;
  assert.equal((await resolveListing(location, network, store, { integrity })).files.length, 2);
  assert.equal(seen.length, 0);

  // What is kept of another manifest does not serve, also if nothing else is to be had.
  await assert.rejects(resolveListing(location, network, store, { integrity: hex('x') }), IntegrityError);
  server.faults = () => {
    throw new TypeError('offline');
  };
  await assert.rejects(resolveListing(location, network, store, { integrity: hex('x') }), DownloadError);
  server.faults = () => undefined;
  delete server.files['manifest.json'];
  await assert.rejects(resolveListing(location, network, store, { integrity: hex('x') }), /no manifest\.json/);
});

test("a server's sizes are bounded", async () => {
  const endless = (name) => {
    const { fetch } = makeServer({ manifest: false });
    return async (url, init) => {
      if (!url.endsWith(name)) return fetch(url, init);
      return new Response('x', { status: 206, headers: { 'content-range': `bytes 0-0/${2 ** 52}`, etag: '"1"' } });
    };
  };
  for (const name of ['config.json', 'model.safetensors']) {
    const network = new Network({ fetch: endless(name), sleep: async () => undefined });
    await assert.rejects(resolveListing(await locate('https://host/model/'), network, new MemoryStore()), (error) => {
      return error instanceof DownloadError && /more than/.test(error.message);
    });
  }
});

test("the page's fetch serves a worker: pieces as they are read, aborts, failures", async () => {
  const { port1, port2 } = new MessageChannel();
  const asked = [];
  let aborted = 0;
  serveFetch(port1, async (url, init) => {
    asked.push({ url, method: init.method, headers: init.headers });
    if (url.endsWith('broken')) throw new TypeError('no route');
    init.signal.addEventListener('abort', () => (aborted += 1));
    let pieces = 0;
    const body = new ReadableStream(
      {
        pull: (controller) => {
          pieces += 1;
          if (pieces > 3) controller.close();
          else controller.enqueue(new Uint8Array([pieces]));
        },
      },
      { highWaterMark: 0 },
    );
    return new Response(body, { status: 206, headers: { etag: '"1"' } });
  });
  const fetch = relayedFetch(port2);
  const response = await fetch('https://host/a', { method: 'GET', headers: { range: 'bytes=0-2' } });
  assert.deepEqual([response.status, response.headers.get('etag')], [206, '"1"']);
  assert.deepEqual([...new Uint8Array(await response.arrayBuffer())], [1, 2, 3]);
  assert.deepEqual(asked[0], { url: 'https://host/a', method: 'GET', headers: { range: 'bytes=0-2' } });
  await assert.rejects(fetch('https://host/broken', {}), /no route/);
  const controller = new AbortController();
  const reader = (await fetch('https://host/b', { signal: controller.signal })).body.getReader();
  await reader.read();
  controller.abort(new Error('enough'));
  await assert.rejects(reader.read(), /enough/);
  while (aborted === 0) await new Promise((done) => setTimeout(done, 1));
  port1.close();
});

test('the folder of assets keeps its query', () => {
  assert.equal(assetsFolder('https://cdn/fovea@1?v=2'), 'https://cdn/fovea@1/?v=2');
  assert.equal(assetsFolder(undefined), undefined);
});

test('what an adapter must have is what the engine asks for', async () => {
  const engine = await readFile(new URL('../../../engine/src/gpu.rs', import.meta.url), 'utf8');
  const listed = [...engine.matchAll(/\("(max_\w+)", u64::from\([\w.]+\), (\d+)\)/g)];
  const camel = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
  assert.deepEqual(Object.fromEntries(listed.map(([, name, needs]) => [camel(name), Number(needs)])), { ...NEEDED });
});

test('capabilities say why not, and open no device', async () => {
  const adapter = (limits = {}) => ({
    features: new Set(['shader-f16']),
    limits: { ...NEEDED, maxBufferSize: 1, maxStorageBufferBindingSize: 2, ...limits },
    info: { description: 'a GPU', isFallbackAdapter: false },
    requestDevice: () => assert.fail('a device was opened'),
  });
  const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  const withGpu = async (found, tier = {}) => {
    Object.defineProperty(globalThis, 'navigator', { value: { gpu: { requestAdapter: found } }, configurable: true });
    try {
      return await probe(tier);
    } finally {
      if (before) Object.defineProperty(globalThis, 'navigator', before);
      else delete globalThis.navigator;
    }
  };
  assert.equal((await probe({})).supported, false);
  const all = await withGpu(async () => adapter());
  assert.deepEqual([all.supported, all.adapter, all.f16, all.subgroups, all.software], [true, 'a GPU', true, false, false]);
  assert.equal((await withGpu(async () => adapter(), { f16: false })).f16, false);
  const small = await withGpu(async () => adapter({ maxComputeWorkgroupStorageSize: 16383 }));
  assert.deepEqual([small.supported, small.limit], [false, { name: 'maxComputeWorkgroupStorageSize', has: 16383, needs: 16384 }]);
  assert.match((await withGpu(async () => null)).reason, /no adapter/);
  assert.match((await withGpu(async () => Promise.reject(new Error('blocked')))).reason, /blocked/);
});
