// Renders the screens that are kept for validation with headless Chromium: OUT/val/ID.png and OUT/val/ID.json (characters and targets).
// node render.mjs --pages DIR --out DIR [--icons N] [--tables N] [--views many] [--part K/N]
// --icons and --tables: so many pages of icons, of a set that is none of those trained on, and of tables; --views many: narrow and wide
// viewports and device pixel ratios up to 2 instead of 1280x800; --part K/N: every Nth page only, from the Kth (0 to N - 1) on.
// Resumes: an ID that is already there is not rendered again.
import fs from 'fs'; import path from 'path';
import { rng } from './synth.mjs'; import { sources, collect, freeze, scale } from './sources.mjs';
const arg = (k, d) => { const i = process.argv.indexOf('--' + k); return i < 0 ? d : process.argv[i + 1]; };
const OUT = path.join(path.resolve(arg('out')), 'val'), [PART, PARTS] = arg('part', '0/1').split('/').map(Number);
if (!(PARTS >= 1 && PART >= 0 && PART < PARTS)) throw new Error('--part K/N: K from 0 to N - 1');
const from = await sources(arg('pages'), 'val');
fs.mkdirSync(OUT, { recursive: true });
// Width, height and device pixel ratio.
const sizes = arg('views', 'one') === 'many' ? [[360, 640, 1], [360, 640, 2], [640, 400, 2], [820, 560, 1.5], [1024, 640, 1.25], [1440, 900, 1], [1600, 900, 1]] : [[1280, 800, 1]];
const jobs = [...from.real.map(f => ['real', f]), ...Object.entries(from.packages).flatMap(([p, files]) => files.map(f => [p, f]))];
for (const kind of ['icons', 'tables']) for (let i = 0; i < +arg(kind, 0); i++) jobs.push([kind, `${kind}-${i}`]);
let browser = await from.browser(), contexts = new Map(), done = 0;
const context = async ratio => {
  if (!contexts.has(ratio)) contexts.set(ratio, await browser.newContext({ deviceScaleFactor: ratio }));
  return contexts.get(ratio);
};
const t0 = Date.now();
for (let i = PART; i < jobs.length; i += PARTS) {
  const [source, page] = jobs[i], stem = path.join(OUT, `01-${String(i).padStart(5, '0')}`);
  if (fs.existsSync(stem + '.done')) continue;
  const R = rng(7919 + i * 31 + 5), [width, height, ratio] = R.c(sizes);
  let tab;
  try {
    if (!browser.isConnected()) { browser = await from.browser(); contexts = new Map(); } // it crashes now and then
    tab = await (await context(ratio)).newPage();
    tab.on('dialog', d => d.dismiss().catch(() => {}));
    await tab.setViewportSize({ width, height });
    if (from.made[source]) { await from.blank(tab); await tab.setContent(from.html(source, R), { waitUntil: 'load', timeout: 8000 }); }
    else await tab.goto(from.base + page, { waitUntil: 'load', timeout: 8000 }).catch(() => {});
    await tab.addStyleTag({ content: freeze }).catch(() => {});
    await tab.evaluate('document.fonts.ready.then(()=>1)').catch(() => {});
    await tab.waitForTimeout(120);
    const data = scale(await collect(tab, height), ratio);
    if (data.chars.length >= 25) {
      await tab.screenshot({ path: stem + '.png', timeout: 9000 });
      fs.writeFileSync(stem + '.json', JSON.stringify({ ...data, source, page, scroll: 0, ratio }));
    }
  } catch (e) { console.log('skip', page, String(e).split('\n')[0].slice(0, 120)); }
  finally { await tab?.close().catch(() => {}); }
  fs.writeFileSync(stem + '.done', '');
  if (++done % 25 === 0) console.log(i, jobs.length, 's/page', ((Date.now() - t0) / 1000 / done).toFixed(2));
}
await browser.close(); from.close();
