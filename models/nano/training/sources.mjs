// What pages are rendered from: page folders, words, fonts and icon sets, and a browser and a server for them.
// Folders expected: real/ (real-pages.tar.xz unpacked), pk/NAME/ (npm packages), npm/node_modules (@fontsource, lucide-static, playwright-core).
import fs from 'fs'; import path from 'path'; import http from 'http'; import { createRequire } from 'module';
import { page, dense } from './synth.mjs'; import { iconSets, iconPage } from './icons.mjs'; import { tablePage } from './tables.mjs';
const TRAIN = ['stisla', 'equation-admin-template', 'themekit', 'sneat-bootstrap-html-admin-template-free', 'uikit', 'foundation-sites'];
const VALIDATION = ['material-design-lite', 'startbootstrap-sb-admin-2'];
// The old headless browser draws when it is told to only, which is faster.
const SHELL = '/usr/bin/chromium-headless-shell', ON_DEMAND = ['--enable-begin-frame-control', '--run-all-compositor-stages-before-draw', '--disable-checker-imaging'];
const MIME = { html: 'text/html', css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml', png: 'image/png', jpg: 'image/jpeg', woff2: 'font/woff2', woff: 'font/woff', ttf: 'font/ttf' };
const walk = d => fs.readdirSync(d, { withFileTypes: true }).flatMap(e => e.isDirectory() ? walk(path.join(d, e.name)) : [path.join(d, e.name)]);
const list = dir => fs.existsSync(dir) ? fs.readdirSync(dir).sort() : [];
const strip = s => s.replace(/<(script|style)[\s\S]*?<\/\1>/gi, ' ').replace(/<[^>]*>/g, ' ').replace(/&[a-z#0-9]+;/gi, ' ');

// `split`: 'train' or 'val'.
export async function sources(folder, split) {
  const pages = path.resolve(folder), modules = path.join(pages, 'npm/node_modules');
  const { chromium } = createRequire(modules + '/')('playwright-core');
  const html = dir => walk(path.join(pages, dir)).filter(f => f.endsWith('.html')).map(f => path.relative(pages, f)).sort();
  const all = html('real').map(f => [f, +path.basename(f, '.html')]);
  const mine = split === 'val' ? VALIDATION : TRAIN, aside = split === 'val' ? /snippets|docs\/_|_pages\/|node_modules/ : /\/(docs?\/assets|test|tests\/js)\//;
  const server = http.createServer((request, response) => {
    if (request.url === '/blank.html') { response.writeHead(200, { 'content-type': 'text/html' }); return response.end('<!doctype html><body>'); }
    const f = path.join(pages, decodeURIComponent(new URL(request.url, 'http://x').pathname));
    if (!f.startsWith(pages) || !fs.existsSync(f) || !fs.statSync(f).isFile()) { response.writeHead(404); return response.end(); }
    response.writeHead(200, { 'content-type': (MIME[f.split('.').pop()] || 'application/octet-stream') + (/(html|css|js)$/.test(f) ? ';charset=utf-8' : ''), 'access-control-allow-origin': '*' });
    fs.createReadStream(f).pipe(response);
  });
  await new Promise(done => server.listen(0, '127.0.0.1', done));
  const base = `http://127.0.0.1:${server.address().port}/`;
  const fonts = list(path.join(modules, '@fontsource'));
  const faces = new Map(), read = f => [400, 700].map(weight => `@font-face{font-family:'${f}';font-weight:${weight};src:url(data:font/woff2;base64,${fs.readFileSync(path.join(modules, '@fontsource', f, `files/${f}-latin-${weight}-normal.woff2`)).toString('base64')})}`).join('');
  const face = f => faces.get(f) || faces.set(f, read(f)).get(f);
  let shell = false;
  process.once('SIGTERM', () => process.exit(143)); // left to the driver, it would close the browser only, and the renderers take a new one
  const drawings = path.join(modules, 'lucide-static/icons');
  const icons = Object.fromEntries(list(drawings).filter(f => f.endsWith('.svg')).map(f => [f.slice(0, -4), fs.readFileSync(path.join(drawings, f), 'utf8').replace(/<!--.*?-->\s*/s, '')]));
  const sets = iconSets(modules, split);
  // Words of the training pages' own text, whatever is rendered.
  const count = new Map();
  for (const [f, n] of all) if (n % 10) for (const w of strip(fs.readFileSync(path.join(pages, f), 'utf8')).split(/\s+/)) if (/^[A-Za-z][A-Za-z'-]{0,13}$/.test(w)) count.set(w.toLowerCase(), (count.get(w.toLowerCase()) || 0) + 1);
  const words = [...count].filter(e => e[1] > 1).map(e => e[0]).sort();
  const made = { synth: (R, tall) => page(R, words, fonts, icons, tall), dense: (R, tall) => dense(R, words, fonts, tall), icons: (R, tall) => iconPage(R, words, fonts, sets, tall), tables: (R, tall) => tablePage(R, words, fonts, sets, tall) };
  return {
    base, fonts, face, words, made,
    real: all.filter(e => (e[1] % 10 === 0) === (split === 'val')).map(e => e[0]),
    packages: Object.fromEntries(mine.map(p => [p, html('pk/' + p).filter(f => !aside.test(f))])),
    // A page that is made here, about `tall` screens high; what it needs comes from this origin, so it is to be written where `blank` was called.
    html(kind, R, tall) {
      const content = made[kind](R, tall), used = fonts.filter(f => content.includes(`'${f}'`));
      return content.replace('<style>', '<style>' + used.map(face).join(''));
    },
    async blank(tab) { if (!tab.url().startsWith(base + 'blank')) await tab.goto(base + 'blank.html'); },
    // `still`: for pages that are photographed and need not move.
    browser(still) {
      const executablePath = process.env.CHROMIUM || (still && fs.existsSync(SHELL) ? SHELL : '/usr/bin/chromium');
      shell = still && /headless.shell/.test(executablePath);
      return chromium.launch({ executablePath, headless: true, handleSIGTERM: false, args: [...(shell ? ON_DEMAND : []), '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1', '--hide-scrollbars'] });
    },
    // A page of such a browser, its protocol session, and what photographs it: from options of Page.captureScreenshot to base64.
    async still(browser) {
      const context = await browser.newContext({ viewport: null });
      let tab = await context.newPage(), cdp = await context.newCDPSession(tab);
      const photograph = async options => (await cdp.send('Page.captureScreenshot', options)).data;
      if (!shell) return { tab, cdp, photograph };
      const { targetInfo: { browserContextId } } = await cdp.send('Target.getTargetInfo'), first = tab, root = await browser.newBrowserCDPSession();
      [tab] = await Promise.all([context.waitForEvent('page'), root.send('Target.createTarget', { url: 'about:blank', browserContextId, enableBeginFrameControl: true })]);
      cdp = await context.newCDPSession(tab); await first.close(); await root.detach();
      return { tab, cdp, async photograph(options) {
        let done = false; const taken = photograph(options).finally(() => { done = true; });
        taken.catch(() => {});
        for (let n = 0; !done && n < 30; n++) await cdp.send('HeadlessExperimental.beginFrame', {}); // the first draws, one of the next is taken
        return taken;
      } };
    },
    close: () => server.close(),
  };
}

// What comes within nine seconds.
export const soon = work => Promise.race([work, new Promise((_, no) => setTimeout(() => no(new Error('slow')), 9000))]);
// The source of collect.js, a function to be called in a page of which `screen` CSS pixels are seen at a time.
export const inside = fs.readFileSync(new URL('collect.js', import.meta.url), 'utf8');
// As JSON, which takes a tenth of the time of objects.
export const collect = async (tab, screen) => JSON.parse(await soon(tab.evaluate(`JSON.stringify((${inside})(${screen}))`)));
export const freeze = '*,*::before,*::after{animation:none!important;transition:none!important;caret-color:transparent!important}';
// From CSS pixels to those of a picture.
export function scale(data, ratio) {
  const to = v => Math.round(v * ratio * 2) / 2;
  for (const k of ['width', 'height', 'screen']) data[k] = Math.round(data[k] * ratio);
  for (const c of data.chars) for (let k = 1; k < 5; k++) c[k] = to(c[k]);
  for (const t of data.targets) t.box = t.box.map(to);
  return data;
}
