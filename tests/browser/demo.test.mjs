// The demo page: once in earnest on WebGPU, and its rare states with a stand-in for the package (demo-fake.mjs).

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, beforeEach, describe, test } from 'node:test';
import { deflateSync } from 'node:zlib';
import { launch } from './browser.mjs';
import { ROOT, serve, strictCsp } from './server.mjs';

const SITE = 'target/web/site';
/** Milliseconds; longer than any state of the stand-in takes on a busy machine. */
const SOON = 180_000;

let browser;
/** The site with the package, and with its stand-in. */
let real, acted;

before(async () => {
  const built = spawnSync(process.execPath, [`${ROOT}web/demo/build.mjs`], { encoding: 'utf8' });
  assert.equal(built.status, 0, built.stdout + built.stderr);
  const csp = await strictCsp('web/demo/index.html');
  real = await serve({ '/': SITE }, { csp });
  acted = await serve({ '/': SITE }, { csp });
  const fake = readFileSync(new URL('demo-fake.mjs', import.meta.url));
  acted.generate('/fovea/index.js', {
    bytes: fake.length,
    type: 'text/javascript',
    read: (start, end) => fake.subarray(start, end),
  });
  // The browser's chooser takes the tab of this title by itself.
  const args = ['--auto-select-tab-capture-source-by-title=Captured page'];
  browser = await launch({ args, context: { viewport: { width: 1280, height: 800 } } });
});

after(async () => {
  await browser?.close();
  await real?.close();
  await acted?.close();
});

beforeEach(() => {
  browser.messages.length = 0;
});

/** The page with the stand-in playing `fake`, and no memory of earlier tests. */
async function open(fake = {}, { width = 1280, height = 800, scheme = 'light', keep = false } = {}) {
  const page = await browser.page();
  page.setDefaultTimeout(SOON);
  await page.emulateMedia({ colorScheme: scheme });
  await page.setViewportSize({ width, height });
  await page.addInitScript((fake) => {
    globalThis.fake = fake;
  }, fake);
  if (!keep) await page.addInitScript(() => localStorage.clear());
  await page.goto(acted.url);
  return page;
}

const ready = (page) => page.waitForSelector('#model[data-state="ready"]');
const answered = (page, state = 'done') => page.waitForSelector(`#answer[data-state="${state}"]`);
const shows = (page, text) => page.waitForFunction((text) => document.querySelector('#caption').textContent === text, text);
const calls = (page, name) => page.evaluate((name) => globalThis.calls.filter((call) => call.name === name), name);
const says = (page, text) => page.waitForFunction((text) => document.querySelector('#status').textContent === text, text);

async function ask(page, sample = 'bookshop.png', instruction = 'click Sign in') {
  await page.click(`[data-file="${sample}"]`);
  await page.getByRole('button', { name: instruction, exact: true }).click();
}

/** Where a mark lies, in pixels of the picture. */
const inPicture = (page, mark) =>
  page.evaluate((mark) => {
    const image = document.querySelector('#picture');
    const of = image.getBoundingClientRect();
    const at = document.querySelector(mark).getBoundingClientRect();
    const scale = of.width / image.naturalWidth;
    return {
      left: (at.left - of.left) / scale,
      top: (at.top - of.top) / scale,
      right: (at.right - of.left) / scale,
      bottom: (at.bottom - of.top) / scale,
      middle: [(at.left + at.right) / 2 - of.left, (at.top + at.bottom) / 2 - of.top].map((part) => part / scale),
      scale,
    };
  }, mark);

async function assertBox(page, expected) {
  const box = await inPicture(page, '#box');
  // A pixel of the screen, in pixels of the picture.
  for (const side of Object.keys(expected)) {
    const off = Math.abs(box[side] - expected[side]);
    assert.ok(off <= 1 / box.scale, `${side}: ${box[side]} instead of ${expected[side]}`);
  }
  return box;
}

const pngFile = (name, buffer) => ({ name, mimeType: 'image/png', buffer });

/** A black picture of any size in a few kilobytes. */
function blackPng(width, height) {
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const framed = Buffer.alloc(body.length + 8);
    framed.writeUInt32BE(data.length, 0);
    body.copy(framed, 4);
    framed.writeUInt32BE(crc32(body), body.length + 4);
    return framed;
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 1; // one bit of grey
  const rows = deflateSync(Buffer.alloc((1 + Math.ceil(width / 8)) * height));
  const magic = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([magic, chunk('IHDR', header), chunk('IDAT', rows), chunk('IEND', Buffer.alloc(0))]);
}

/** node:zlib has it only since Node 22. */
function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ~crc >>> 0;
}

describe('loading', () => {
  test('shows how far it is, stops, and goes on', async () => {
    const page = await open({ loads: [{ to: 0.6, hold: true }, { from: 0.6 }] });
    await page.waitForFunction(() => document.querySelector('#model-progress').value === 6_060_000);
    assert.equal(await page.getAttribute('#model-progress', 'max'), '10100000');
    assert.equal(await page.textContent('#model-text'), 'Downloading');
    assert.equal(await page.textContent('#model-detail'), '6.1 MB of 10.1 MB · 3.1 MB/s · 1.3 s left');

    await page.click('#model-stop');
    await page.waitForSelector('#model[data-state="stopped"]');
    assert.match(await page.textContent('#model-detail'), /6\.1 MB of 10\.1 MB are kept on this computer/);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'model-load');
    await page.click('#model-load');
    await ready(page);
    assert.match(await page.textContent('#model-detail'), /^5\.0 million parameters · q4 · Test adapter · f16 on · subgroups on/);
    await page.close();
  });

  test('says when the model comes from this computer', async () => {
    const page = await open({ cached: true, loads: [{ to: 0.4, hold: true }, {}] });
    await page.waitForFunction(() => document.querySelector('#model-text').textContent === 'Loading from this computer');
    await page.keyboard.press('Escape');
    await page.click('#model-load');
    await ready(page);
    assert.match(await page.textContent('#model-detail'), /from this computer’s storage/);
    await page.close();
  });

  test('says what the adapter lacks', async () => {
    const page = await open({ info: { f16: false, software: true } });
    await ready(page);
    assert.match(await page.textContent('#model-notice'), /draws with the processor/);
    await page.click('#settings-open');
    assert.equal(await page.textContent('#settings-f16'), '(this adapter has none)');
    assert.equal(await page.textContent('#settings-subgroups'), '');
    await page.close();
  });

  test('passes the settings on, and remembers them', async () => {
    const page = await open();
    await ready(page);
    await page.click('#settings-open');
    await page.check('input[name="quantisation"][value="q8"]');
    await page.check('input[name="thread"][value="page"]');
    await page.uncheck('input[name="f16"]');
    await page.uncheck('input[name="keep"]');
    await page.click('#settings-advanced summary');
    await page.fill('#settings-model', 'http://elsewhere.example/model');
    await page.click('#settings-form button[type="submit"]');
    assert.equal(await page.evaluate(() => document.querySelector('#settings').open), true, 'plain http is refused');
    await page.fill('#settings-model', 'https://models.example/Qwen/Qwen2.5-VL-3B-Instruct/resolve/main');
    await page.click('#settings-form button[type="submit"]');
    await ready(page);
    const [, load] = await calls(page, 'load');
    assert.deepEqual(load, {
      name: 'load',
      model: 'https://models.example/Qwen/Qwen2.5-VL-3B-Instruct/resolve/main',
      quantisation: 'q8',
      tier: { f16: false, subgroups: true },
      thread: 'page',
      cache: 'none',
    });
    assert.equal(await page.textContent('#model-name'), 'Qwen2.5-VL-3B-Instruct');
    assert.equal((await calls(page, 'dispose')).length, 1, 'the model before is let go');

    const again = await open({}, { keep: true });
    await ready(again);
    assert.equal((await calls(again, 'load'))[0].quantisation, 'q8');
    await again.evaluate(() => localStorage.clear());
    await again.close();
    await page.close();
  });

  test('deletes what is kept', async () => {
    const page = await open();
    await ready(page);
    await page.click('#settings-open');
    await page.getByText('10.1 MB are kept now.').waitFor();
    await page.click('#settings-clear');
    await page.getByText('Nothing is kept now.').waitFor();
    await page.close();
  });
});

describe('a run', () => {
  const BOX = { left: 943, top: 570, right: 1217, bottom: 609 };

  test('draws box, point and heat map where they are, at every zoom and width', async () => {
    const page = await open();
    await ready(page);
    await ask(page);
    await answered(page);
    assert.equal(await page.textContent('#answer-headline'), 'Click at 1080, 590');
    assert.equal(await page.textContent('#answer-detail'), 'Box 943 to 1217 by 570 to 609');
    assert.equal(await page.textContent('#answer-text'), 'Grounded Operation: CLICK(box=[[737,713,951,761]])');
    await says(page, 'Click at 1080, 590, box 943 to 1217 by 570 to 609');

    const fit = await assertBox(page, BOX);
    const { middle } = await inPicture(page, '#point');
    assert.ok(Math.hypot(middle[0] - 1080, middle[1] - 589.5) <= 2 / fit.scale, `the point is at ${middle}`);
    const heat = await inPicture(page, '#heat');
    assert.ok(Math.abs(heat.right - 1280) < 2 && Math.abs(heat.bottom - 800) < 2, 'the heat map covers the picture');

    await page.check('input[name="zoom"][value="actual"]', { force: true });
    assert.equal((await assertBox(page, BOX)).scale, 1);
    await page.check('input[name="zoom"][value="box"]', { force: true });
    const close = await assertBox(page, BOX);
    assert.ok(close.scale > 1.1, `closer than ${close.scale}`);
    await page.waitForFunction(() => {
      const frame = document.querySelector('#frame').getBoundingClientRect();
      const box = document.querySelector('#box').getBoundingClientRect();
      return box.left > frame.left && box.right < frame.right && box.top > frame.top && box.bottom < frame.bottom;
    });
    await page.check('input[name="zoom"][value="fit"]', { force: true });
    await page.setViewportSize({ width: 360, height: 740 });
    await page.waitForFunction(() => document.querySelector('#picture').getBoundingClientRect().width < 340);
    await assertBox(page, BOX);

    assert.equal(await page.isVisible('#heat'), true);
    await page.uncheck('#show-heat');
    assert.equal(await page.isVisible('#heat'), false);
    await page.close();
  });

  test('tells times and memory, and takes the picture of an earlier question', async () => {
    const page = await open();
    await ready(page);
    await ask(page);
    await answered(page);
    assert.match(await page.textContent('#time-encode'), /Vision tower\d+ ms1,334 tokens/);
    assert.match(await page.textContent('#time-decode'), /640 ms17 tokens, 27\/s/);
    assert.equal(await page.textContent('#memory-gpu'), '48.2 MB');
    await page.fill('#instruction', 'open the Events link');
    await page.press('#instruction', 'Enter');
    await page.waitForFunction(() => /known from before/.test(document.querySelector('#time-encode').textContent));
    assert.equal((await calls(page, 'encode')).length, 1);
    await page.click('[data-file="guide.png"]');
    await shows(page, 'Documentation 1280 × 800');
    assert.equal((await calls(page, 'release')).length, 1, 'another picture lets go of the first');
    assert.equal(await page.isVisible('#answer'), false);
    assert.equal(await page.isVisible('#box'), false);
    await page.close();
  });

  test('asked for early begins when the model is ready', async () => {
    const page = await open({ loads: [{ hold: 'go' }] });
    await ask(page);
    await answered(page, 'waiting');
    assert.equal(await page.textContent('#answer-headline'), 'Waiting for the model');
    await page.evaluate(() => {
      globalThis.go = true;
    });
    await answered(page);
    await page.close();
  });

  test('takes an answer without a place', async () => {
    const page = await open({ grounds: [{ answer: { text: 'Grounded Operation: END()', action: { kind: 'absent' } } }] });
    await ready(page);
    await ask(page);
    await answered(page);
    assert.equal(await page.textContent('#answer-headline'), 'Nothing to act on');
    assert.equal(await page.isVisible('#box'), false);
    assert.equal(await page.isDisabled('input[name="zoom"][value="box"]'), true);
    await page.close();
  });

  test('stops at every stage', async () => {
    const page = await open({ holdEncode: true });
    await ready(page);
    await ask(page);
    await page.getByText('Looking at the picture', { exact: true }).first().waitFor();
    await page.click('#stop');
    await answered(page, 'stopped');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'run');
    await page.close();

    const decoding = await open({ grounds: [{ hold: true }] });
    await ready(decoding);
    await ask(decoding);
    await decoding.waitForFunction(() => document.querySelector('#answer-text').textContent.length > 20);
    await decoding.keyboard.press('Escape');
    await answered(decoding, 'stopped');
    assert.match(await decoding.textContent('#answer-text'), /^Grounded Operation/, 'what was written stays');
    await says(decoding, 'Stopped');
    // The next run is not disturbed by the last one.
    await decoding.press('#instruction', 'Enter');
    await answered(decoding);
    await decoding.close();
  });

  test('gives way to another picture', async () => {
    const page = await open({ grounds: [{ hold: true }] });
    await ready(page);
    await ask(page);
    await page.waitForFunction(() => document.querySelector('#answer-text').textContent.length > 20);
    await ask(page, 'register.png', 'click Register with Google');
    await answered(page);
    assert.equal((await calls(page, 'ground')).at(-1).instruction, 'click Register with Google');
    await page.close();
  });

  test('exports figures as JSON and the picture as PNG', async () => {
    const page = await open();
    await ready(page);
    await ask(page);
    await answered(page);
    const save = async (button) => {
      const [download] = await Promise.all([page.waitForEvent('download'), page.click(button)]);
      return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
    };
    const json = await save('#export-json');
    assert.equal(json.name, 'fovea-bookshop.json');
    const report = JSON.parse(json.bytes);
    assert.equal(report.instruction, 'click Sign in');
    assert.deepEqual(report.box, BOX);
    assert.deepEqual(report.picture, { name: 'Bookshop', width: 1280, height: 800 });
    assert.equal(report.model.quantisation, 'q4');
    assert.equal(report.heat.values.length, report.heat.columns * report.heat.rows);

    await page.uncheck('#show-heat');
    const png = await save('#export-png');
    assert.equal(png.name, 'fovea-bookshop.png');
    const [size, edge] = await page.evaluate(async (base64) => {
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
      const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
      context.drawImage(bitmap, 0, 0);
      return [[bitmap.width, bitmap.height], [...context.getImageData(1000, 570, 1, 1).data]];
    }, png.bytes.toString('base64'));
    assert.deepEqual(size, [1280, 800]);
    assert.deepEqual(edge, [234, 88, 12, 255], 'the box’s upper edge');
    await page.close();
  });
});

describe('pictures', () => {
  test('come by paste, drop, file and capture', async () => {
    const page = await open();
    await ready(page);
    const shown = (text) => shows(page, text);
    const hand = (event, width, name) =>
      page.evaluate(
        async ([event, width, name]) => {
          const canvas = new OffscreenCanvas(width, 50);
          canvas.getContext('2d').fillRect(0, 0, 20, 20);
          const data = new DataTransfer();
          data.items.add(new File([await canvas.convertToBlob()], name, { type: 'image/png' }));
          const make = {
            paste: () => new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }),
            drop: () => new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }),
          };
          return document.querySelector('#instruction').dispatchEvent(make[event]());
        },
        [event, width, name],
      );
    assert.equal(await hand('paste', 111, 'pasted.png'), false, 'the page takes the event');
    await shown('pasted.png 111 × 50');
    assert.equal(await hand('drop', 222, 'dropped.png'), false);
    await shown('dropped.png 222 × 50');
    await page.setInputFiles('#file', pngFile('chosen.png', blackPng(64, 32)));
    await shown('chosen.png 64 × 32');
    // Which tab is captured is the browser's and the person's affair.
    await page.evaluate(() => {
      navigator.mediaDevices.getDisplayMedia = async () => {
        const canvas = document.createElement('canvas');
        canvas.width = 320;
        canvas.height = 200;
        const context = canvas.getContext('2d');
        setInterval(() => context.fillRect(0, 0, Math.random() * 320, 200), 30);
        globalThis.captured = canvas.captureStream();
        return globalThis.captured;
      };
    });
    await page.click('#capture');
    await shown('Captured picture 320 × 200');
    assert.equal(await page.evaluate(() => captured.getTracks().every((track) => track.readyState === 'ended')), true);
    await page.close();
  });

  test('are captured from another tab', async () => {
    const other = await browser.page();
    await other.setViewportSize({ width: 640, height: 480 });
    await other.setContent('<title>Captured page</title><body style="margin: 0; background: rgb(0 128 0)">');
    // A tab that draws nothing new gives no frame.
    await other.evaluate(() => setInterval(() => (document.body.textContent = performance.now()), 50));
    const page = await open();
    await ready(page);
    await page.bringToFront();
    await page.click('#capture');
    await shows(page, 'Captured picture 640 × 480');
    const [red, green, blue] = await page.evaluate(() => {
      const context = new OffscreenCanvas(1, 1).getContext('2d');
      context.drawImage(document.querySelector('#picture'), 600, 440, 1, 1, 0, 0, 1, 1);
      return [...context.getImageData(0, 0, 1, 1).data];
    });
    assert.ok(green > 80 && red < 40 && blue < 40, `${red} ${green} ${blue}`);
    await page.close();
    await other.close();
  });

  test('that are broken, too large or none are refused in words', async () => {
    const page = await open();
    await ready(page);
    const refused = (text) => page.locator('#picture-problem').getByText(text).waitFor();
    await page.setInputFiles('#file', pngFile('broken.png', Buffer.from('no picture')));
    await refused('broken.png is broken, or of a kind that this browser cannot show.');
    await page.setInputFiles('#file', pngFile('vast.png', blackPng(9000, 9000)));
    await refused('vast.png is too large: it has 9000 × 9000 pixels, and 64 million are the most.');
    await page.setInputFiles('#file', { name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('notes') });
    await refused('notes.txt is not a picture.');
    await page.click('[data-file="guide.png"]');
    await page.waitForSelector('#picture-problem:empty', { state: 'attached' });
    await page.close();
  });
});

describe('when something is wrong', () => {
  const problem = (page, title) => page.getByRole('heading', { name: title }).waitFor();

  test('no WebGPU: says what to do in this browser', async () => {
    const page = await browser.page();
    // As a browser without it, for the package as it is; that costs no second browser.
    await page.addInitScript(() => {
      delete Navigator.prototype.gpu;
    });
    await page.goto(real.url);
    await problem(page, 'This browser gives no WebGPU');
    assert.match(await page.textContent('.browsers .mine'), /Chromium.*this browser.*graphics acceleration/);
    await page.close();
  });

  test('adapter too small: names the limit', async () => {
    const limit = { limit: 'maxStorageBufferBindingSize', has: 134_217_728, needs: 268_435_456 };
    const page = await open({ loads: [{ to: -1, error: { code: 'adapter-too-small', ...limit } }, {}] });
    await problem(page, 'This graphics adapter is too small');
    const facts = await page.textContent('#model-problem .facts');
    assert.equal(facts, 'LimitmaxStorageBufferBindingSizeThis adapter has134 MBThe model needs268 MB');
    await page.getByRole('button', { name: 'Try again' }).click();
    await ready(page);
    assert.equal(await page.textContent('#model-problem'), '');
    await page.close();
  });

  test('download failed: says what is kept, and goes on', async () => {
    const error = { code: 'download', message: 'model.safetensors: no answer', url: 'x', status: 0 };
    const page = await open({ loads: [{ to: 0.6, error }, { from: 0.6 }] });
    await problem(page, 'The download stopped');
    const text = await page.textContent('#model-problem');
    assert.match(text, /6\.1 MB of 10\.1 MB are kept on this computer; the next attempt goes on from there/);
    await page.getByRole('button', { name: 'Go on' }).click();
    await ready(page);
    assert.match(await page.textContent('#model-detail'), /10\.1 MB downloaded/);
    await page.close();
  });

  test('offline: goes on by itself when the connection is back', async () => {
    const error = { code: 'download', message: 'model.safetensors: no answer', url: 'x', status: 0 };
    const page = await open({ loads: [{ to: 0.6, error, hold: 'offline' }, { from: 0.6 }] });
    await page.waitForFunction(() => document.querySelector('#model-progress').value === 6_060_000);
    await browser.context.setOffline(true);
    try {
      await problem(page, 'You are offline');
    } finally {
      await browser.context.setOffline(false);
    }
    await ready(page);
    await page.close();
  });

  test('no room to keep the model: goes on without', async () => {
    const cache = {
      kind: 'none',
      problem: 'the model needs 10100000 bytes of storage, and this browser offers 3200000; it is not kept',
    };
    const page = await open({ loads: [{ cache }] });
    await ready(page);
    assert.equal(
      await page.textContent('#model-notice'),
      'The next visit downloads the model again: the model needs 10.1 MB of storage, and this browser offers 3.2 MB; it is not kept.',
    );
    await page.close();

    const refused = await open({ loads: [{ error: { code: 'quota', needed: 10_100_000, available: 3_200_000 } }, {}] });
    await problem(refused, 'There is no room to keep the model');
    assert.equal(await refused.textContent('#model-problem .facts'), 'The model needs10.1 MBThe browser offers3.2 MB');
    await refused.getByRole('button', { name: 'Go on without keeping' }).click();
    await ready(refused);
    assert.equal((await calls(refused, 'load'))[1].cache, 'none');
    await refused.close();
  });

  test('device lost: loads again from this computer, and runs again', async () => {
    const lost = { error: { code: 'device-lost', message: 'the device was lost' } };
    const page = await open({ step: 20, grounds: [lost, { reload: true }] });
    await ready(page);
    await ask(page);
    await problem(page, 'The graphics device was lost');
    await page.getByRole('button', { name: 'Reload and run again' }).click();
    await page.waitForSelector('#model[data-state="loading"]');
    await answered(page);
    await ready(page);
    assert.equal((await calls(page, 'encode')).length, 2, 'the picture went with the device');
    await page.close();
  });

  test('loading anew after a loss can be stopped, and begun again', async () => {
    const lost = { error: { code: 'device-lost', message: 'the device was lost' } };
    const page = await open({ grounds: [lost, { reload: { to: 0.5, hold: true } }] });
    await ready(page);
    await ask(page);
    await page.getByRole('button', { name: 'Reload and run again' }).click();
    await page.waitForSelector('#model[data-state="loading"]');
    await page.click('#model-stop');
    await page.waitForSelector('#model[data-state="stopped"]');
    await answered(page, 'stopped');
    await page.click('#run');
    await answered(page);
    assert.equal((await calls(page, 'load')).length, 2);
    await page.close();
  });

  test('answer that cannot be read: shows it', async () => {
    const text = 'Grounded Operation: CLICK(box=[[943,';
    const page = await open({ grounds: [{ error: { code: 'answer', text }, answer: { text } }] });
    await ready(page);
    await ask(page);
    await problem(page, 'The answer could not be read');
    assert.equal(await page.textContent('#answer-problem .answer-text'), text);
    await page.getByRole('button', { name: 'Run again' }).click();
    await answered(page);
    assert.equal((await calls(page, 'encode')).length, 1, 'the picture stays encoded');
    await page.close();
  });

  test('out of memory, a model or picture of another kind, and the unexpected have their words', async () => {
    for (const [code, title] of [
      ['out-of-memory', 'The graphics memory is full'],
      ['model', 'The model cannot be used'],
      ['integrity', 'A file arrived damaged'],
      ['internal', 'The model could not be loaded'],
    ]) {
      const page = await open({ loads: [{ to: -1, error: { code } }] });
      await problem(page, title);
      await page.close();
    }
    for (const [code, title] of [
      ['image', 'The model cannot take this picture'],
      ['prompt', 'The model cannot take this instruction'],
      ['internal', 'The run failed'],
    ]) {
      const page = await open({ grounds: [{ error: { code } }] });
      await ready(page);
      await ask(page);
      await problem(page, title);
      await page.close();
    }
  });
});

describe('for everyone', () => {
  test('works by keyboard alone', async () => {
    const page = await open({ grounds: [{ hold: true }] });
    await ready(page);
    const focused = () =>
      page.evaluate(() => document.activeElement.id || document.activeElement.dataset.file || document.activeElement.className);
    const tabTo = async (wanted) => {
      for (let steps = 0; steps < 25; steps++) {
        await page.keyboard.press('Tab');
        const now = await focused();
        if (now !== 'skip') {
          const outline = await page.evaluate(() => {
            const { activeElement } = document;
            // A hidden radio button shows its focus on its label.
            const shown = activeElement.type === 'radio' ? activeElement.nextElementSibling : activeElement;
            return getComputedStyle(shown).outlineStyle;
          });
          assert.equal(outline, 'solid', `the focus on ${now} is to be seen`);
        }
        if (now === wanted) return;
      }
      assert.fail(`Tab does not reach ${wanted}`);
    };
    await tabTo('settings-open');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#settings[open]');
    await page.keyboard.press('Escape');
    assert.equal(await focused(), 'settings-open', 'the dialog gives the focus back');
    await tabTo('dashboard.png');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#scene:not([hidden])');
    await tabTo('instruction');
    await page.keyboard.type('click Cards');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.querySelector('#answer-text').textContent.length > 20);
    await page.keyboard.press('Escape');
    await answered(page, 'stopped');
    await page.keyboard.press('Enter');
    await answered(page);
    assert.equal(await focused(), 'instruction', 'the focus stays where the person is');
    await page.keyboard.press('Shift+Enter');
    assert.equal(await page.inputValue('#instruction'), 'click Cards\n');
    await page.close();
  });

  test('has no violations that axe-core finds, in light and dark, wide and narrow', async () => {
    const axe = readFileSync(createRequire(new URL('../../web/js/package.json', import.meta.url)).resolve('axe-core'), 'utf8');
    const webgpu = { loads: [{ to: -1, error: { code: 'webgpu-unavailable' } }] };
    const states = {
      empty: [{}, async () => {}],
      loading: [{ loads: [{ to: 0.6, hold: true }] }, async () => {}],
      result: [{}, async (page) => (await ready(page), await ask(page), await answered(page))],
      running: [
        { holdEncode: true },
        async (page) => (await ready(page), await ask(page), await answered(page, 'running')),
      ],
      'no WebGPU': [webgpu, async (page) => void (await page.waitForSelector('#model-problem .problem'))],
      settings: [{}, async (page) => (await ready(page), await page.click('#settings-open'))],
    };
    for (const scheme of ['light', 'dark']) {
      for (const [name, [fake, act]] of Object.entries(states)) {
        const page = await open(fake, { scheme, width: name === 'result' ? 360 : 1280 });
        await act(page);
        // Colours in the middle of a transition are no one's choice.
        await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => globalThis.axe.run());
        const told = violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map((node) => node.html).join(' | ')}`);
        assert.deepEqual(told, [], `${name}, ${scheme}`);
        await page.close();
      }
    }
  });

  test('lets nothing run over its edges', async () => {
    const long = 'a-very-long-word'.repeat(20);
    const action = { kind: 'type', text: long, elementType: 'input', elementInfo: long };
    for (const width of [360, 768, 1280]) {
      const page = await open({ grounds: [{ answer: { text: `TYPE(${long})`, action } }] }, { width, keep: true });
      await page.evaluate(
        (long) => localStorage.setItem('fovea-demo-settings', JSON.stringify({ model: `https://${long}.example/${long}/` })),
        long,
      );
      await page.reload();
      await ready(page);
      await page.setInputFiles('#file', pngFile(`${long}.png`, blackPng(width === 768 ? 4000 : 300, width === 768 ? 90 : 5000)));
      await page.waitForSelector('#scene:not([hidden])');
      await page.fill('#instruction', long);
      await page.press('#instruction', 'Enter');
      await answered(page);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(over, 0, `at ${width}`);
      const fits = await page.evaluate(() => {
        const [frame, image] = ['#frame', '#picture'].map((id) => document.querySelector(id).getBoundingClientRect());
        return image.width <= frame.width + 1 && image.height <= frame.height + 1 && image.width > 0;
      });
      assert.ok(fits, `the picture lies in its frame at ${width}`);
      await page.evaluate(() => localStorage.clear());
      await page.close();
    }
  });

  test('keeps the colours that the person chooses', async () => {
    const page = await open({}, { keep: true });
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await page.click('#theme');
    await page.click('#theme');
    assert.equal(await page.getAttribute('#theme', 'aria-label'), 'Colours: dark');
    const dark = await ground();
    assert.notEqual(dark, light);
    await page.reload();
    assert.equal(await ground(), dark);
    await page.evaluate(() => localStorage.clear());
    await page.close();
  });
});

const wasm = existsSync(`${ROOT}web/js/dist/wasm/fovea_web_bg.wasm`);

test('in earnest: loads nano, grounds a sample, asks no other server', { skip: !wasm && '`./x web` makes the module' }, async () => {
  const page = await browser.page();
  // A processor that has other things to do takes minutes for a whole screenshot.
  page.setDefaultTimeout(600_000);
  const elsewhere = [];
  page.on('request', (request) => {
    if (!request.url().startsWith(real.url) && !request.url().startsWith('blob:')) elsewhere.push(request.url());
  });
  await page.addInitScript(() => {
    globalThis.seen = [];
    addEventListener('DOMContentLoaded', () => {
      new MutationObserver(() => {
        const bar = document.querySelector('#model-progress');
        if (!bar.hidden && bar.value > 0) globalThis.seen.push(bar.value / bar.max);
      }).observe(document.querySelector('#model'), { subtree: true, childList: true, attributes: true, characterData: true });
    });
  });
  await page.goto(real.url);
  await page.waitForSelector('#model:is([data-state="ready"], [data-state="failed"])');
  assert.equal(await page.getAttribute('#model', 'data-state'), 'ready', browser.messages.join('\n'));
  assert.ok((await page.evaluate(() => globalThis.seen)).length > 0, 'progress was shown');
  await ask(page);
  await page.waitForSelector('#answer[data-state="done"], #answer[data-state="failed"]');
  assert.equal(await page.textContent('#answer-problem'), '');
  const [download] = await Promise.all([page.waitForEvent('download'), page.click('#export-json')]);
  const report = JSON.parse(readFileSync(await download.path()));
  assert.equal(report.text, await page.textContent('#answer-text'));
  await assertBox(page, report.box);
  assert.ok(report.heat.values.length > 1000, 'a heat map of image tokens');
  assert.ok(report.timings.encode > 0 && report.timings.prefill > 0 && report.timings.decode > 0);
  assert.ok(report.memory.weights > 0);
  assert.deepEqual(elsewhere, []);
  assert.deepEqual(browser.messages.filter((message) => /^(error|uncaught)/.test(message)), []);
  await page.close();
});
