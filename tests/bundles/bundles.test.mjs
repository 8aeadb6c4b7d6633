// The ways to use the package, each built as its users build it from what npm would install, and tried in Chromium: the
// answer is the same in all of them. What a bundler leaves out is said, with what to do.

import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';

import { nodeResolve } from '@rollup/plugin-node-resolve';
import * as esbuild from 'esbuild';
import { rollup } from 'rollup';
import * as vite from 'vite';
import webpack from 'webpack';

import { launch } from '../browser/browser.mjs';
import { install } from '../browser/packed.mjs';
import { ROOT, serve, STRICT_CSP } from '../browser/server.mjs';

// On a processor with other work everything is slow; only what hangs should fail.
const timeout = 900_000;
const INSTRUCTION = 'click Sign in';

let folder, plain, browser;
/** The first way's answer, which the others repeat. */
let answer;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fovea-bundles-'));
  await install(folder);
  // For an app that has no use for nano.
  plain = await mkdtemp(join(tmpdir(), 'fovea-plain-'));
  await cp(join(folder, 'node_modules/fovea'), join(plain, 'node_modules/fovea'), { recursive: true });
  browser = await launch();
}, { timeout });

after(async () => {
  await browser?.close();
  for (const made of [folder, plain]) if (made) await rm(made, { recursive: true, force: true });
});

/** An app in a folder of its own: what it loads the model with is all that differs. `options` is JavaScript. */
async function makeApp(name, options, at = folder) {
  const app = join(at, name);
  await mkdir(app, { recursive: true });
  const main = `import { Fovea, FoveaError } from 'fovea';

const load = () => Fovea.load(${options});

globalThis.ground = async () => {
  const bitmap = await createImageBitmap(await (await fetch('signin.png')).blob(), 0, 0, 224, 140);
  const fovea = await load();
  const { text, found } = await fovea.ground(bitmap, ${JSON.stringify(INSTRUCTION)});
  fovea.dispose();
  return { text, found };
};
globalThis.failure = () => load().then(
  () => 'it did not fail',
  (error) => ({ known: error instanceof FoveaError, code: error.code, message: error.message }),
);
`;
  await writeFile(join(app, 'main.js'), main);
  await writeFile(join(app, 'index.html'), '<!doctype html><link rel="icon" href="data:,"><script type="module" src="main.js"></script>\n');
  return app;
}

/** A page of the built app, and what it says. */
async function visit(out, what, { csp = STRICT_CSP } = {}) {
  await cp(join(ROOT, 'models/nano/samples/signin.png'), join(out, 'signin.png'));
  const server = await serve({ '/': out }, { csp });
  const seen = browser.messages.length;
  const page = await browser.page(server.url);
  try {
    await page.waitForFunction((what) => globalThis[what], what);
    const said = await page.evaluate((what) => globalThis[what](), what);
    const messages = browser.messages.slice(seen);
    const downloads = server.requests.map(({ path }) => path);
    return { said, downloads, messages: messages.filter((message) => /uncaught|content security policy/i.test(message)) };
  } finally {
    await page.close();
    await server.close();
  }
}

async function grounds(t, out, options) {
  const { said, messages, downloads } = await visit(out, 'ground', options);
  assert.deepEqual(messages, []);
  assert.match(said.text, /Grounded Operation/);
  answer ??= said;
  assert.deepEqual(said, answer);
  t.diagnostic(await sizes(options?.packages ?? out, options?.packages ? options.requests() : downloads));
}

/** Bytes of what a visitor's browser downloads, by kind. */
async function sizes(folder, paths) {
  const kinds = {};
  for (const path of new Set(paths)) {
    const bytes = await readFile(join(folder, path)).catch(() => undefined);
    const kind = { '.js': 'scripts', '.wasm': 'module', '.json': 'model', '.safetensors': 'model' }[extname(path)];
    if (!bytes || !kind) continue;
    kinds[kind] ??= { files: 0, bytes: 0, gzip: 0 };
    kinds[kind].files += 1;
    kinds[kind].bytes += bytes.length;
    kinds[kind].gzip += gzipSync(bytes, { level: 9 }).length;
  }
  return JSON.stringify(kinds);
}

const built = {
  async vite(app) {
    const out = join(app, 'out');
    await vite.build({ root: app, base: './', configFile: false, logLevel: 'error', build: { outDir: out } });
    return out;
  },
  async webpack(app) {
    const out = join(app, 'out');
    const stats = await promisify(webpack)({ mode: 'production', context: app, entry: './main.js', output: { path: out, filename: 'main.js' } });
    assert.deepEqual(stats.toJson().errors, []);
    await cp(join(app, 'index.html'), join(out, 'index.html'));
    return out;
  },
  async rollup(app) {
    const out = join(app, 'out');
    const bundle = await rollup({ input: join(app, 'main.js'), plugins: [nodeResolve()], onwarn: () => undefined });
    await bundle.write({ dir: out, format: 'es' });
    await bundle.close();
    await cp(join(app, 'index.html'), join(out, 'index.html'));
    return out;
  },
  async esbuild(app, format = 'esm') {
    const out = join(app, 'out');
    await esbuild.build({ absWorkingDir: app, entryPoints: ['main.js'], bundle: true, minify: true, format, outdir: out, logLevel: 'silent' });
    await cp(join(app, 'index.html'), join(out, 'index.html'));
    return out;
  },
};

/** What a bundler that copies no files leaves to its user. */
async function copyAssets(out) {
  await cp(join(folder, 'node_modules/fovea/dist'), join(out, 'fovea'), { recursive: true });
  await cp(join(folder, 'node_modules/fovea-nano/model'), join(out, 'nano'), { recursive: true });
}

test('Vite, with nothing to set', { timeout }, async (t) => {
  await grounds(t, await built.vite(await makeApp('vite', "{ model: 'nano' }")));
});

test("Vite, in a worker of Vite's own", { timeout }, async (t) => {
  const app = await makeApp('vite-worker', "{ model: 'nano', worker: () => new FoveaWorker() }");
  const main = join(app, 'main.js');
  await writeFile(main, `import FoveaWorker from 'fovea/worker?worker';\n${await readFile(main, 'utf8')}`);
  await grounds(t, await built.vite(app));
});

test("Vite's development server", { timeout }, async () => {
  const app = await makeApp('vite-dev', "{ model: 'nano' }");
  await cp(join(ROOT, 'models/nano/samples/signin.png'), join(app, 'signin.png'));
  const optimizeDeps = { exclude: ['fovea', 'fovea-nano'] };
  const server = await vite.createServer({ root: app, configFile: false, logLevel: 'error', optimizeDeps, server: { port: 0 } });
  await server.listen();
  const page = await browser.page(server.resolvedUrls.local[0]);
  try {
    await page.waitForFunction(() => globalThis.ground);
    assert.deepEqual(await page.evaluate(() => globalThis.ground()), answer);
  } finally {
    await page.close();
    await server.close();
  }
});

test('webpack, with nothing to set', { timeout }, async (t) => {
  await grounds(t, await built.webpack(await makeApp('webpack', "{ model: 'nano' }")));
});

test('Rollup, with `assets`', { timeout }, async (t) => {
  const out = await built.rollup(await makeApp('rollup', "{ assets: 'fovea/', model: 'nano/' }"));
  await copyAssets(out);
  await grounds(t, out);
});

test('esbuild, with `assets`; in the page too', { timeout }, async (t) => {
  const out = await built.esbuild(await makeApp('esbuild', "{ assets: 'fovea/', model: 'nano/' }"));
  await copyAssets(out);
  await grounds(t, out);
  const here = await built.esbuild(await makeApp('esbuild-page', "{ assets: 'fovea/', model: 'nano/', thread: 'page' }"), 'iife');
  await copyAssets(here);
  await grounds(t, here);
});

test('without a bundler, everything from another origin', { timeout }, async (t) => {
  const cors = { 'access-control-allow-origin': '*' };
  const cdn = await serve({ '/': join(folder, 'node_modules') }, { csp: null, headers: cors });
  try {
    const app = await makeApp('map', "{ model: 'nano' }");
    const imports = { fovea: `${cdn.url}fovea/dist/index.js`, 'fovea-nano': `${cdn.url}fovea-nano/index.js` };
    const map = `<script type="importmap">${JSON.stringify({ imports })}</script>`;
    await writeFile(join(app, 'index.html'), `<!doctype html><link rel="icon" href="data:,">${map}<script type="module" src="main.js"></script>\n`);
    // What the README says such a page needs.
    const csp = `default-src 'none'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval' ${cdn.url}; worker-src blob: ${cdn.url}; connect-src 'self' ${cdn.url}; img-src 'self' data:`;
    const packages = join(folder, 'node_modules');
    await grounds(t, app, { csp, packages, requests: () => cdn.requests.map(({ path }) => path) });
    assert.ok(cdn.count(/fovea_web_bg\.wasm/) > 0 && cdn.count(/model\.safetensors/) > 0);
  } finally {
    await cdn.close();
  }
});

test('what a bundler has not copied is said, and what to do', { timeout }, async () => {
  for (const [name, build] of [
    ['esbuild', built.esbuild],
    ['esbuild-iife', (app) => built.esbuild(app, 'iife')],
    ['rollup', built.rollup],
  ]) {
    for (const thread of ['worker', 'page']) {
      const app = await makeApp(`bare-${name}-${thread}`, `{ thread: '${thread}', model: 'nano/' }`);
      const out = await build(app);
      await cp(join(folder, 'node_modules/fovea-nano/model'), join(out, 'nano'), { recursive: true });
      const { said } = await visit(out, 'failure');
      assert.deepEqual([said.known, said.code], [true, 'asset'], `${name}, ${thread}: ${JSON.stringify(said)}`);
      assert.match(said.message, /option `assets`/);
    }
  }
});

test("another origin that does not allow it is an error of the package's own", { timeout }, async () => {
  const cdn = await serve({ '/': join(folder, 'node_modules') }, { csp: null });
  try {
    const app = await makeApp('no-cors', `{ assets: '${cdn.url}fovea/dist/?token=secret', model: 'nano/' }`);
    const out = await built.esbuild(app);
    const { said } = await visit(out, 'failure', { csp: null });
    assert.deepEqual([said.known, said.code], [true, 'asset'], JSON.stringify(said));
    assert.ok(said.message.includes(`${cdn.url}fovea/dist/worker.js`) && !said.message.includes('secret'), said.message);
  } finally {
    await cdn.close();
  }
});

test('without fovea-nano every bundler builds, and nano says what to install', { timeout }, async () => {
  for (const [name, build] of Object.entries(built)) {
    const out = await build(await makeApp(name, "{ model: 'nano' }", plain));
    const { said } = await visit(out, 'failure');
    assert.deepEqual([said.known, said.code], [true, 'model'], `${name}: ${JSON.stringify(said)}`);
    assert.match(said.message, /npm install fovea-nano/);
    const files = await readdir(out, { recursive: true });
    assert.deepEqual(files.filter((file) => /safetensors/.test(file)), []);
  }
});
