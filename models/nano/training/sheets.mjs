// Renders what is trained on with headless Chromium: sheets, which are pages as high as up to eight screens, of which training takes any screen's
// part, and single screens: scrolled, with dialogs over them, with controls switched off. OUT/train/ID.jpg (some .png) and ID.json (characters and targets).
// node sheets.mjs --pages DIR --out DIR [--screens N] [--seed S] [--part K/N]
// A page is loaded once and seen many times: other words (of languages with other Latin letters, too), widths, fonts, zooms, colours and device pixel
// ratios. --part K/N: one of N processes that share the work. Resumes after what OUT/train/SEED-K.jsonl lists: a line for each sheet, with its
// source and how many screens it is; the same picture is kept once. What there is and how fast it came is told at the end and every 100 pages.
import fs from 'fs'; import path from 'path'; import crypto from 'crypto';
import { rng } from './synth.mjs'; import { sources, inside, freeze, scale, soon } from './sources.mjs';
const arg = (k, d) => { const i = process.argv.indexOf('--' + k); return i < 0 ? d : process.argv[i + 1]; };
const OUT = path.join(path.resolve(arg('out')), 'train'), SEED = +arg('seed', 1), [PART, PARTS] = arg('part', '0/1').split('/').map(Number);
if (!(PARTS >= 1 && PART >= 0 && PART < PARTS)) throw new Error('--part K/N: K from 0 to N - 1');
const WANTED = +arg('screens', 2000) / PARTS, SEEN = 10, HIGH = 8, MOST = 12e6; // ways to see a page, screens, and pixels at the most
const SHARE = { real: .44, package: .14, dense: .14, synth: .13, tables: .09, icons: .06 }, TALL = { dense: 2, synth: 8, tables: 10, icons: 8 };
// Width, height and device pixel ratio; most screens are like the first.
const SIZES = [...Array(5).fill([1280, 800, 1]), [360, 640, 1], [360, 640, 2], [480, 800, 1.5], [640, 480, 1], [640, 400, 2], [800, 600, 1], [820, 560, 1.5], [1024, 700, 1], [1024, 640, 1.25], [1440, 900, 1], [1600, 900, 1]];
const SYSTEM = ['Liberation Sans', 'Liberation Serif', 'DejaVu Sans', 'DejaVu Serif'];
const ACCENTS = [{ a: 'ä', o: 'ö', u: 'ü', s: 'ß' }, { e: 'éèê', a: 'àâ', c: 'ç', u: 'ù', i: 'î', o: 'ô' }, { a: 'á', e: 'é', i: 'í', o: 'ó', u: 'ú', n: 'ñ' }, { a: 'ãáâ', o: 'õó', c: 'ç', e: 'éê' }, { a: 'ą', c: 'ć', e: 'ę', l: 'ł', n: 'ń', o: 'ó', s: 'ś', z: 'żź' },
  { e: 'ěé', s: 'š', c: 'č', r: 'ř', z: 'ž', y: 'ý', a: 'á', u: 'ů' }, { a: 'åä', o: 'ö' }, { a: 'åæ', o: 'ø' }, { g: 'ğ', s: 'ş', i: 'ı', o: 'ö', u: 'ü', c: 'ç' }, { o: 'őö', u: 'űü', a: 'á', e: 'é' }, { a: 'ăâ', s: 'ș', t: 'ț', i: 'î' }];
const from = await sources(arg('pages'), 'train'), packages = Object.keys(from.packages), log = path.join(OUT, `${SEED}-${PART}.jsonl`);
fs.mkdirSync(OUT, { recursive: true });
const kept = fs.existsSync(log) ? fs.readFileSync(log, 'utf8').split('\n').filter(l => l.endsWith('}')).map(l => JSON.parse(l)) : [], known = new Set(kept.map(s => s.hash));
let total = kept.reduce((n, s) => n + s.screens, 0), next = kept.length ? kept.at(-1).job + PARTS : PART;

// Runs in the page: its text, and what its fields say, in other words of about the same length; `accents` are letters to be put in their place.
const scramble = ({ words, seed, accents }) => {
  let s = seed; const rnd = () => (s = (s * 1103515245 + 12345) % 2147483648) / 2147483648;
  if (!window.foveaTexts) {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), out = [];
    while (walker.nextNode()) if (!/^(SCRIPT|STYLE)$/.test(walker.currentNode.parentElement.tagName)) { const n = walker.currentNode; out.push([n.data, text => { n.data = text; }]); }
    for (const el of document.querySelectorAll('[placeholder]')) out.push([el.placeholder, text => { el.placeholder = text; }]);
    window.foveaTexts = out;
  }
  const other = m => {
    let best = m;
    for (let k = 0; k < 6; k++) { const c = words[Math.floor(rnd() * words.length)]; if (k === 0 || Math.abs(c.length - m.length) < Math.abs(best.length - m.length)) best = c; }
    if (accents) best = best.replace(/[a-z]/g, c => accents[c] && rnd() < .35 ? accents[c][Math.floor(rnd() * accents[c].length)] : c);
    return m === m.toUpperCase() && m.length > 1 ? best.toUpperCase() : /^[A-Z]/.test(m) ? best[0].toUpperCase() + best.slice(1) : best;
  };
  for (const [text, set] of window.foveaTexts) set(words.length ? text.replace(/[A-Za-z][A-Za-z'-]*/g, other) : text);
};
// Runs in the page, all at once, so that a page is laid out and drawn once for each way: takes off what the last way put on, writes the page or
// changes its words, puts on styles, a dialog and switches, scrolls, and says what is drawn. `limit`: of the viewport's height.
const dress = async ({ html, scrambled, faces, css, dialog, off, width, screen, limit, scrolled }, scramble, collect) => {
  scrollTo({ top: 0, behavior: 'instant' });
  document.querySelectorAll('.fovea-put').forEach(el => el.remove());
  document.querySelectorAll('.fovea-off').forEach(el => { el.disabled = false; el.classList.remove('fovea-off'); });
  if (html) document.documentElement.innerHTML = html;
  if (scrambled) scramble(scrambled);
  const style = (id, text, name) => { if (!document.getElementById(id)) document.documentElement.append(Object.assign(document.createElement('style'), { id, textContent: text, className: name })); };
  if (faces) style('fovea-' + faces[0], faces[1], ''); // fonts stay, so that they are read once
  style('fovea-css', css, 'fovea-put');
  if (off) document.querySelectorAll('button,input,select').forEach((el, i) => { if (i % 5 === off && !el.disabled) { el.disabled = true; el.classList.add('fovea-off'); } });
  if (dialog) { document.body.insertAdjacentHTML('beforeend', `<div class="fovea-put">${dialog}</div>`); }
  for (let n = 0; innerWidth !== width || innerHeight !== limit; n++) { if (n > 600) throw new Error('slow'); await new Promise(done => setTimeout(done, 1)); }
  const scrollable = () => Math.max(document.body.scrollHeight, document.documentElement.scrollHeight);
  if (scrollable() && document.fonts.status !== 'loaded') await document.fonts.ready; // laid out, it knows which fonts it needs
  const lowest = () => { let at = 0; for (const el of document.body.querySelectorAll('*')) at = Math.max(at, el.getBoundingClientRect().bottom); return Math.ceil(at); };
  let high = scrollable(); if (high <= innerHeight) high = Math.max(1, Math.min(high, lowest()));
  if (scrolled) scrollTo({ top: Math.max(0, high - screen) * scrolled, behavior: 'instant' });
  return JSON.stringify({ ...collect(screen), height: Math.max(screen, Math.min(high, limit)), scroll: scrollY });
};
const dialog = R => {
  const name = () => { const s = Array.from({ length: R.i(1, 2) }, () => R.c(from.words)).join(' '); return s[0].toUpperCase() + s.slice(1); };
  const dark = R.p(.3), hue = R.i(0, 359), button = i => `<button style="font:inherit;margin:4px;padding:${R.i(3, 9)}px ${R.i(8, 18)}px;border:1px solid hsl(${hue} 50% 45%);border-radius:${R.i(0, 8)}px;background:${i ? 'transparent' : `hsl(${hue} 60% 40%)`};color:${i ? 'inherit' : '#fff'}">${name()}</button>`;
  const field = R.p(.5) ? `<input placeholder="${name()}" style="font:inherit;width:90%;padding:5px">` : '';
  return `<div style="position:fixed;inset:0;z-index:2147483646;background:rgba(0,0,0,${R.i(2, 7) / 10})"></div><div role="dialog" style="position:fixed;z-index:2147483647;left:50%;top:${R.i(25, 50)}%;transform:translate(-50%,-50%);width:${R.i(240, 340)}px;max-width:92vw;padding:${R.i(8, 24)}px;border-radius:${R.i(0, 14)}px;background:${dark ? '#223' : '#fff'};color:${dark ? '#eee' : '#222'};font:${R.i(12, 17)}px sans-serif;text-align:left"><b>${name()}</b><p style="margin:8px 0;color:inherit">${Array.from({ length: R.i(4, 14) }, () => R.c(from.words)).join(' ')}.</p>${field}<div style="text-align:${R.c(['left', 'right', 'center'])}">${Array.from({ length: R.i(1, 3) }, (_, i) => button(i)).join('')}</div></div>`;
};

let browser, tab, cdp, photograph, loads = 0, failed = 0, begun = Date.now();
const before = total;
const fresh = async () => {
  if (!browser?.isConnected()) browser = await from.browser(true); // it crashes now and then
  else for (const c of browser.contexts()) await c.close();
  ({ tab, cdp, photograph } = await from.still(browser));
  tab.on('dialog', d => d.dismiss().catch(() => {}));
};
const tell = () => {
  const by = key => { const out = {}; for (const s of kept) out[key(s)] = (out[key(s)] || 0) + s.screens; return JSON.stringify(out); };
  console.log(new Date().toISOString().slice(11, 19), total, 'screens,', kept.length, 'pictures,', ((total - before) / ((Date.now() - begun) / 1000)).toFixed(1), 'screens a second; by source', by(s => from.packages[s.source] ? 'package' : s.source), 'width', by(s => s.width < 500 ? '360-499' : s.width < 900 ? '500-899' : s.width < 1250 ? '900-1249' : '1250-1640'), 'ratio', by(s => s.ratio), 'how', by(s => s.how), 'colours', by(s => s.colours), 'words', by(s => s.words));
};
await fresh();
for (let job = next; total < WANTED; job += PARTS) {
  const R = rng(SEED * 7919 + job * 31 + 5);
  let k = R.f(); const kind = Object.keys(SHARE).find(s => (k -= SHARE[s]) < 0) || 'real', made = from.made[kind];
  const source = kind === 'package' ? R.c(packages) : kind, page = made ? `${kind}-${job}` : R.c(kind === 'real' ? from.real : from.packages[source]);
  try {
    if (!tab || ++loads % 40 === 0 || !browser.isConnected()) await fresh();
    if (!made) await tab.goto(from.base + page, { waitUntil: 'load', timeout: 8000 }).catch(() => {});
    for (let view = 0; view < (made ? 4 : SEEN); view++) {
      const [w, screen, most] = R.c(SIZES), width = w + R.i(-40, 40), single = R.p(.14), over = single && R.p(.6), text = made ? 'made' : R.p(.3) ? 'own' : R.p(.25) ? 'accents' : 'other';
      let css = freeze, colours = 'own', ratio = most, html = '', scrambled = null, faces = null;
      if (made) { if (view === 0) await from.blank(tab); html = from.html(kind, R, single ? 1 : TALL[kind]); }
      else {
        if (R.p(.5)) { const f = R.p(.4) || !from.fonts.length ? R.c(SYSTEM) : R.c(from.fonts); if (from.fonts.includes(f)) faces = [f, from.face(f)]; css += `body,p,a,span,div,td,th,li,button,input,h1,h2,h3,h4,h5,label,select{font-family:'${f}'!important}`; }
        if (R.p(.4)) css += `html{zoom:${R.i(70, 150) / 100}}`;
        if (R.p(.1)) { css += 'html{filter:invert(1) hue-rotate(180deg);background:#fff}'; colours = 'inverted'; }
        else if (R.p(.15)) { css += `html{filter:hue-rotate(${R.i(30, 330)}deg)}`; colours = 'turned'; }
        scrambled = { words: text === 'own' ? [] : Array.from({ length: 600 }, () => R.c(from.words)), seed: R.i(1, 1e6), accents: text === 'accents' ? R.c(ACCENTS) : null };
      }
      // Laid out once: at the height of a sheet, of which what the page is lower by is cut off.
      const limit = single ? screen : Math.min(HIGH * screen, Math.floor(MOST / (width * ratio * ratio)));
      const way = { html, scrambled, faces, css, dialog: over && R.p(.7) ? dialog(R) : '', off: over ? R.i(0, 4) : 0, width, screen, limit, scrolled: single && R.p(.6) ? R.f() : 0 };
      const drawing = tab.evaluate(`(${dress})(${JSON.stringify(way)}, ${scramble}, ${inside})`); // waits for the size, so that nothing is laid out in between
      const [put] = await soon(Promise.all([drawing, cdp.send('Emulation.setDeviceMetricsOverride', { width, height: limit, deviceScaleFactor: ratio, mobile: false })]));
      const { scroll, ...drawn } = JSON.parse(put);
      const picture = await soon(photograph({ ...(R.p(.15) ? { format: 'png' } : { format: 'jpeg', quality: R.i(80, 95) }), clip: { x: 0, y: scroll, width, height: drawn.height, scale: 1 }, optimizeForSpeed: true }));
      const data = scale(drawn, ratio);
      if (data.late) continue; // not all of it is labelled
      // A screen counts where something is on it.
      const on = (list, box) => n => list.filter(e => Math.floor((box(e)[1] + box(e)[3]) / 2 / data.screen) === n).length, letters = on(data.chars, c => c.slice(1, 5)), targets = on(data.targets, t => t.box);
      const screens = Array.from({ length: Math.max(1, Math.floor(data.height / data.screen)) }, (_, n) => n).filter(n => letters(n) >= 25 || targets(n) >= 3).length;
      const hash = crypto.createHash('sha1').update(picture).digest('base64').slice(0, 12);
      if (!screens || known.has(hash)) continue;
      known.add(hash);
      const id = `${SEED}-${String(job).padStart(6, '0')}-${view}-${kind}`;
      fs.writeFileSync(path.join(OUT, id + (picture.startsWith('iVBOR') ? '.png' : '.jpg')), Buffer.from(picture, 'base64'));
      fs.writeFileSync(path.join(OUT, id + '.json'), JSON.stringify({ ...data, source, page, scroll, ratio }));
      const line = { job, id, source, screens, width, ratio, how: over ? 'covered' : single ? 'single' : 'sheet', colours, words: text, hash };
      fs.appendFileSync(log, JSON.stringify(line) + '\n'); kept.push(line); total += screens; failed = 0;
    }
  } catch (e) {
    console.log('skip', page, String(e).split('\n')[0].slice(0, 120));
    if (++failed === 20) throw e; // it is not the pages
    tab = null; await browser?.close().catch(() => {});
  }
  if (loads % 100 === 0) tell();
}
tell();
await browser?.close(); from.close();
