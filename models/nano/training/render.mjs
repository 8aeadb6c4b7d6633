// Renders pages with headless Chromium: OUT/SPLIT/ID.png and OUT/SPLIT/ID.json (characters and targets).
// node render.mjs --pages DIR --out DIR --split train|val [--count N] [--seed S] [--dense SHARE] [--icons SHARE] [--tables SHARE] [--views many] [--over SHARE] [--part K/N]
// --views many adds narrow and wide viewports and device pixel ratios up to 2; --over puts dialogs over a share of the pages, or switches controls off.
// --part K/N renders every Nth page only, from the Kth (0 to N - 1) on, so that N processes share the work.
// For validation --icons and --tables are numbers of pages, with an icon set that is none of those trained on.
// Resumes: an ID that is already there is not rendered again. Page folders expected under --pages:
// real/ (real-pages.tar.xz unpacked), pk/NAME/ (npm packages), npm/node_modules (@fontsource, lucide-static, playwright-core).
import fs from 'fs'; import path from 'path'; import http from 'http'; import { createRequire } from 'module';
import { rng, page as synthPage, dense } from './synth.mjs'; import { iconSets, iconPage } from './icons.mjs'; import { tablePage } from './tables.mjs';
const arg = (k, d) => { const i = process.argv.indexOf('--' + k); return i < 0 ? d : process.argv[i + 1]; };
const PAGES = path.resolve(arg('pages')), OUT = path.resolve(arg('out')), split = arg('split', 'train');
const COUNT = +arg('count', 2000), SEED = +arg('seed', 1), DENSE = +arg('dense', 0.4), ICONS = +arg('icons', 0), TABLES = +arg('tables', 0);
const [PART, PARTS] = arg('part', '0/1').split('/').map(Number);
if (!(PARTS >= 1 && PART >= 0 && PART < PARTS)) throw new Error('--part K/N: K from 0 to N - 1');
const require = createRequire(path.join(PAGES, 'npm/node_modules/'));
const { chromium } = require('playwright-core');
const here = path.dirname(new URL(import.meta.url).pathname);
const collect = fs.readFileSync(path.join(here, 'collect.js'), 'utf8');
const walk = d => fs.readdirSync(d, { withFileTypes: true }).flatMap(e => e.isDirectory() ? walk(path.join(d, e.name)) : [path.join(d, e.name)]);
const html = (dir) => walk(path.join(PAGES, dir)).filter(f => /\.html$/.test(f)).map(f => path.relative(PAGES, f)).sort();
const realAll = html('real').map(f => [f, +path.basename(f, '.html')]);
const TRAIN_PK = ['stisla', 'equation-admin-template', 'themekit', 'sneat-bootstrap-html-admin-template-free', 'uikit', 'foundation-sites'];
const VAL_PK = ['material-design-lite', 'startbootstrap-sb-admin-2'];
const mime = { html: 'text/html', css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml', png: 'image/png', jpg: 'image/jpeg', woff2: 'font/woff2', woff: 'font/woff', ttf: 'font/ttf' };
const server = http.createServer((q, r) => {
  if (q.url === '/blank.html') { r.writeHead(200, { 'content-type': 'text/html' }); return r.end('<!doctype html><body>'); }
  const f = path.join(PAGES, decodeURIComponent(new URL(q.url, 'http://x').pathname));
  if (!f.startsWith(PAGES) || !fs.existsSync(f) || !fs.statSync(f).isFile()) { r.writeHead(404); return r.end(); }
  r.writeHead(200, { 'content-type': (mime[f.split('.').pop()] || 'application/octet-stream') + (/(html|css|js)$/.test(f) ? ';charset=utf-8' : ''), 'access-control-allow-origin': '*' });
  fs.createReadStream(f).pipe(r);
});
await new Promise(r => server.listen(0, '127.0.0.1', r));
const base = `http://127.0.0.1:${server.address().port}/`;
const fdir = path.join(PAGES, 'npm/node_modules/@fontsource');
const fonts = fs.existsSync(fdir) ? fs.readdirSync(fdir).sort() : [];
const face = f => [400, 700].map(wt => `@font-face{font-family:'${f}';font-weight:${wt};src:url(${base}npm/node_modules/@fontsource/${f}/files/${f}-latin-${wt}-normal.woff2)}`).join('');
const idir = path.join(PAGES, 'npm/node_modules/lucide-static/icons');
const icons = fs.existsSync(idir) ? Object.fromEntries(fs.readdirSync(idir).filter(f => f.endsWith('.svg')).map(f => [f.slice(0, -4), fs.readFileSync(path.join(idir, f), 'utf8').replace(/<!--.*?-->\s*/s, '')])) : {};
const sets = iconSets(path.join(PAGES, 'npm/node_modules'), split);
// Words of the training pages' own text.
const strip = s => s.replace(/<(script|style)[\s\S]*?<\/\1>/gi, ' ').replace(/<[^>]*>/g, ' ').replace(/&[a-z#0-9]+;/gi, ' ');
const wcount = new Map();
for (const [f, n] of realAll) if (n % 10) for (const w of strip(fs.readFileSync(path.join(PAGES, f), 'utf8')).split(/\s+/)) if (/^[A-Za-z][A-Za-z'-]{0,13}$/.test(w)) wcount.set(w.toLowerCase(), (wcount.get(w.toLowerCase()) || 0) + 1);
const words = [...wcount].filter(e => e[1] > 1).map(e => e[0]).sort();
fs.mkdirSync(path.join(OUT, split), { recursive: true });
const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true, args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1', '--hide-scrollbars'] });
let browser = await launch();
// Width, height and device pixel ratio.
const odd = arg('views', 'some') === 'many' ? [[360, 640, 1], [360, 640, 2], [640, 400, 2], [820, 560, 1.5], [1024, 640, 1.25], [1440, 900, 1], [1600, 900, 1]] : [];
const sizes = split === 'val' ? odd.length ? odd : [[1280, 800, 1]] : [[640, 400, 1], [800, 600, 1], [1024, 640, 1], [1280, 800, 1], [1280, 800, 1], [1280, 800, 1], [480, 640, 1], ...odd];
const OVER = +arg('over', 0);
let contexts = new Map();
const context = async ratio => {
  if (!contexts.has(ratio)) contexts.set(ratio, await browser.newContext({ deviceScaleFactor: ratio }));
  return contexts.get(ratio);
};
// Puts a dialog over the page and switches some of its controls off.
const cover = ({ dialog, off }) => {
  if (off) document.querySelectorAll('button,input,select').forEach((el, i) => { if (i % 5 === off) el.disabled = true; });
  if (dialog) document.body.insertAdjacentHTML('beforeend', dialog);
};
const dialog = R => {
  const name = () => { const s = Array.from({ length: R.i(1, 2) }, () => R.c(words)).join(' '); return s[0].toUpperCase() + s.slice(1); };
  const dark = R.p(.3), hue = R.i(0, 359), button = i => `<button style="font:inherit;margin:4px;padding:${R.i(3, 9)}px ${R.i(8, 18)}px;border:1px solid hsl(${hue} 50% 45%);border-radius:${R.i(0, 8)}px;background:${i ? 'transparent' : `hsl(${hue} 60% 40%)`};color:${i ? 'inherit' : '#fff'}">${name()}</button>`;
  const field = R.p(.5) ? `<input placeholder="${name()}" style="font:inherit;width:90%;padding:5px">` : '';
  return `<div style="position:fixed;inset:0;z-index:2147483646;background:rgba(0,0,0,${R.i(2, 7) / 10})"></div><div role="dialog" style="position:fixed;z-index:2147483647;left:50%;top:${R.i(25, 50)}%;transform:translate(-50%,-50%);width:${R.i(240, 340)}px;max-width:92vw;padding:${R.i(8, 24)}px;border-radius:${R.i(0, 14)}px;background:${dark ? '#223' : '#fff'};color:${dark ? '#eee' : '#222'};font:${R.i(12, 17)}px sans-serif;text-align:left"><b>${name()}</b><p style="margin:8px 0;color:inherit">${Array.from({ length: R.i(4, 14) }, () => R.c(words)).join(' ')}.</p>${field}<div style="text-align:${R.c(['left', 'right', 'center'])}">${Array.from({ length: R.i(1, 3) }, (_, i) => button(i)).join('')}</div></div>`;
};
const scramble = (ws, seed) => {
  let s = seed; const rnd = () => (s = (s * 1103515245 + 12345) % 2147483648) / 2147483648;
  const tw = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); const ns = [];
  while (tw.nextNode()) if (!/^(SCRIPT|STYLE)$/.test(tw.currentNode.parentElement.tagName)) ns.push(tw.currentNode);
  for (const n of ns) n.data = n.data.replace(/[A-Za-z][A-Za-z'-]*/g, m => {
    let best = m; for (let k = 0; k < 6; k++) { const c = ws[Math.floor(rnd() * ws.length)]; if (k === 0 || Math.abs(c.length - m.length) < Math.abs(best.length - m.length)) best = c; }
    return m === m.toUpperCase() && m.length > 1 ? best.toUpperCase() : /^[A-Z]/.test(m) ? best[0].toUpperCase() + best.slice(1) : best; });
};
const freeze = `*,*::before,*::after{animation:none!important;transition:none!important;caret-color:transparent!important}`;
let done = 0, t0 = Date.now();
const jobs = [];
if (split === 'val') {
  for (const [f, n] of realAll) if (n % 10 === 0) jobs.push(['real', f, 0]);
  for (const p of VAL_PK) for (const f of html('pk/' + p)) if (!/snippets|docs\/_|_pages\/|node_modules/.test(f)) jobs.push([p, f, 0]);
  for (let i = 0; i < ICONS; i++) jobs.push(['icons', 'icons-' + i, 0]);
  for (let i = 0; i < TABLES; i++) jobs.push(['tables', 'tables-' + i, 0]);
} else {
  const real = realAll.filter(e => e[1] % 10), pk = Object.fromEntries(TRAIN_PK.map(p => [p, html('pk/' + p).filter(f => !/\/(docs?\/assets|test|tests\/js)\//.test(f))]));
  const R = rng(SEED);
  for (let i = 0; i < COUNT; i++) { const k = R.f(); if (ICONS && R.p(ICONS)) jobs.push(['icons', 'icons-' + (SEED * 100000 + i), 0]); else if (TABLES && R.p(TABLES)) jobs.push(['tables', 'tables-' + (SEED * 100000 + i), 0]); else if (R.p(DENSE)) jobs.push(['dense', 'dense-' + (SEED * 100000 + i), 0]); else if (k < .3) jobs.push(['synth', 'synth-' + (SEED * 100000 + i), 0]); else if (k < .8) jobs.push(['real', R.c(real)[0], 0]); else { const p = R.c(TRAIN_PK); jobs.push([p, R.c(pk[p]), 0]); } }
}
for (let i = PART; i < jobs.length; i += PARTS) {
  const [src, f, scroll0] = jobs[i];
  const id = `${String(SEED).padStart(2, '0')}-${String(i).padStart(5, '0')}`, stem = path.join(OUT, split, id);
  const mark = stem + '.done'; if (fs.existsSync(mark)) continue;
  const R = rng(SEED * 7919 + i * 31 + 5);
  const made = ['synth', 'dense', 'icons', 'tables'].includes(src); // written here, not loaded
  let pg;
  try {
    if (!browser.isConnected()) { browser = await launch(); contexts = new Map(); } // it crashes now and then
    if (i % 60 === 59) { for (const one of contexts.values()) await one.close(); contexts = new Map(); }
    const [vw, vh, ratio] = R.c(sizes);
    pg = await (await context(ratio)).newPage();
    pg.on('dialog', d => d.dismiss().catch(() => {}));
    await pg.setViewportSize({ width: vw, height: vh });
    let css = freeze;
    if (made) {
      const content = src === 'tables' ? tablePage(R, words, fonts, sets) : src === 'icons' ? iconPage(R, words, fonts, sets) : src === 'dense' ? dense(R, words, fonts) : synthPage(R, words, fonts, icons);
      const used = fonts.filter(x => content.includes(`'${x}'`));
      await pg.goto(base + 'blank.html'); // any page of this origin, so that fonts load
      await pg.setContent(content.replace('<style>', '<style>' + used.map(face).join('')), { waitUntil: 'load', timeout: 8000 });
    } else await pg.goto(base + f, { waitUntil: 'load', timeout: 8000 }).catch(() => {});
    if (split === 'train' && !made) {
      if (R.p(.35) && fonts.length) { const x = R.p(.4) ? R.c(['Liberation Sans', 'Liberation Serif', 'DejaVu Sans', 'DejaVu Serif']) : R.c(fonts); css += (fonts.includes(x) ? face(x) : '') + `body,p,a,span,div,td,th,li,button,input,h1,h2,h3,h4,h5,label,select{font-family:'${x}'!important}`; }
      if (R.p(.3)) css += `html{zoom:${R.i(80, 130) / 100}}`;
      if (R.p(.08)) css += 'html{filter:invert(1) hue-rotate(180deg);background:#fff}';
      if (R.p(.5)) await pg.evaluate(`(${scramble})(${JSON.stringify(Array.from({ length: 400 }, () => R.c(words)))},${R.i(1, 1e6)})`);
    }
    await pg.addStyleTag({ content: css }).catch(() => {});
    await pg.evaluate('document.fonts.ready.then(()=>1)').catch(() => {});
    if (split === 'train' && R.p(OVER)) await pg.evaluate(cover, { dialog: R.p(.6) ? dialog(R) : '', off: R.p(.5) ? R.i(1, 4) : 0 });
    await pg.waitForTimeout(made ? 30 : 120);
    const shots = split === 'val' ? 1 : src === 'real' ? 2 : 1;
    for (let k = 0; k < shots; k++) {
      const h = await pg.evaluate('Math.max(document.body?document.body.scrollHeight:0, document.documentElement.scrollHeight)');
      let y = split === 'val' ? scroll0 : k === 0 && R.p(.5) ? 0 : R.i(0, Math.max(0, h - vh));
      if (split === 'val' && scroll0 && h < scroll0 + 500) break;
      if (y) { await pg.evaluate(y => scrollTo({ top: y, behavior: 'instant' }), y); await pg.waitForTimeout(40); }
      const data = await Promise.race([pg.evaluate(collect), new Promise((_, rej) => setTimeout(() => rej(new Error('slow')), 9000))]);
      if (data.chars.length < 25) continue;
      data.source = src; data.page = f; data.scroll = y; data.ratio = ratio;
      const scaled = v => Math.round(v * ratio * 2) / 2;
      data.width = scaled(data.width); data.height = scaled(data.height);
      for (const c of data.chars) for (let k = 1; k < 5; k++) c[k] = scaled(c[k]);
      for (const t of data.targets) t.box = t.box.map(scaled);
      const name = shots > 1 ? `${stem}-${k}` : stem;
      await pg.screenshot({ path: name + '.png', timeout: 9000 });
      fs.writeFileSync(name + '.json', JSON.stringify(data));
    }
  } catch (e) { console.log('skip', f, String(e).split('\n')[0].slice(0, 120)); }
  finally { await pg?.close().catch(() => {}); }
  fs.writeFileSync(mark, '');
  if (++done % 25 === 0) console.log(i, jobs.length, 's/page', ((Date.now() - t0) / 1000 / done).toFixed(2));
}
await browser.close(); server.close();
