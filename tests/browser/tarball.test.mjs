// The README's lines, as written, against the packed package in a folder of their own.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import { launch } from './browser.mjs';
import { install } from './packed.mjs';
import { ROOT, serve, STRICT_CSP } from './server.mjs';

const exec = promisify(execFile);
const timeout = 900_000;
const source = join(ROOT, 'web/js');
let folder, lines;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fovea-tarball-'));
  await install(folder);
  const readme = await readFile(join(folder, 'node_modules/fovea/README.md'), 'utf8');
  lines = /```ts\n([\s\S]*?)```/.exec(readme)[1];
});

after(() => folder && rm(folder, { recursive: true, force: true }));

test('the package has what it needs, and nothing else', async () => {
  const root = join(folder, 'node_modules/fovea');
  assert.deepEqual((await readdir(root)).sort(), [
    'LICENSE-APACHE',
    'LICENSE-MIT',
    'README.md',
    'bin',
    'dist',
    'package.json',
    'src',
  ]);
  assert.ok((await stat(join(root, 'dist/wasm/fovea_web_bg.wasm'))).size < 15 << 19);
  assert.deepEqual((await readdir(join(root, 'dist'))).filter((name) => /models|safetensors/.test(name)), []);
  const nano = join(folder, 'node_modules/fovea-nano');
  assert.deepEqual((await readdir(nano)).sort(), [
    'LICENSE-APACHE',
    'LICENSE-MIT',
    'README.md',
    'index.d.ts',
    'index.js',
    'model',
    'package.json',
  ]);
  const before = await readFile(join(nano, 'model/manifest.json'));
  const program = join(folder, 'node_modules/.bin/fovea-manifest');
  const { stdout } = await exec(program, [join(nano, 'model')]);
  assert.match(stdout, /manifest\.json: 7 files/);
  assert.deepEqual(await readFile(join(nano, 'model/manifest.json')), before);
  const hash = createHash('sha256').update(before).digest('base64');
  assert.ok(stdout.includes(`integrity: sha256-${hash}\n`), stdout);
});

test("the README's lines are right in strict TypeScript", { timeout }, async () => {
  await writeFile(join(folder, 'lines.ts'), `declare const imageBlob: Blob;\n${lines}\nconsole.log(point?.x, box?.left, action.kind);\n`);
  const tsc = join(source, 'node_modules/typescript/bin/tsc');
  for (const [module, resolution] of [['ESNext', 'Bundler'], ['NodeNext', 'NodeNext']]) {
    const how = ['--module', module, '--moduleResolution', resolution, '--target', 'ES2022'];
    const args = [tsc, '--strict', '--noEmit', '--ignoreConfig', ...how, 'lines.ts'];
    await exec(process.execPath, args, { cwd: folder }).catch((error) => assert.fail(error.stdout));
  }
});

test("the README's lines run", { timeout }, async () => {
  assert.ok(lines.trim().split('\n').filter((line) => line.trim()).length <= 5, lines);
  await copyFile(join(ROOT, 'models/nano/samples/signin.png'), join(folder, 'signin.png'));
  await mkdir(join(folder, 'app'), { recursive: true });
  // The README's own map.
  const readme = await readFile(join(folder, 'node_modules/fovea/README.md'), 'utf8');
  const map = /<script type="importmap">([^]*?)<\/script>/.exec(readme)[1];
  const page = `<!doctype html><link rel="icon" href="data:,"><script type="importmap">${map}</script><script type="module" src="app/main.js"></script>`;
  await writeFile(join(folder, 'index.html'), page);
  // A small part of the sample stands in for the picture: a processor is slow.
  const picture = `const bitmap = await createImageBitmap(await (await fetch('signin.png')).blob(), 0, 0, 224, 140);
const canvas = new OffscreenCanvas(224, 140);
canvas.getContext('2d').drawImage(bitmap, 0, 0);
const imageBlob = await canvas.convertToBlob();
`;
  await writeFile(join(folder, 'app/main.js'), `${picture}${lines}\nglobalThis.answer = { point, box, action };\n`);
  const hash = createHash('sha256').update(map).digest('base64');
  const csp = STRICT_CSP.replace("'wasm-unsafe-eval'", `'wasm-unsafe-eval' 'sha256-${hash}'`);
  const server = await serve({ '/': folder }, { csp });
  const browser = await launch();
  try {
    const page = await browser.page(server.url);
    await page.waitForFunction(() => globalThis.answer, undefined, { timeout });
    const { action, box, point } = await page.evaluate(() => globalThis.answer);
    assert.equal(typeof action.kind, 'string');
    assert.deepEqual(action.box, box);
    assert.deepEqual(action.point, point);
    assert.deepEqual(browser.messages.filter((message) => /error|uncaught/i.test(message)), []);
  } finally {
    await browser.close();
    await server.close();
  }
});
