// Writes one random page: layout, theme, fonts and words all come from the seeded generator `R`.
export function rng(seed) {
  let s = seed >>> 0;
  const f = () => { s = (s + 0x6D2B79F5) >>> 0; let t = s; t = Math.imul(t ^ (t >>> 15), t | 1); t ^= t + Math.imul(t ^ (t >>> 7), t | 61); return ((t ^ (t >>> 14)) >>> 0) / 4294967296; };
  const R = { f, i: (a, b) => a + Math.floor(f() * (b - a + 1)), p: x => f() < x, c: a => a[Math.floor(f() * a.length)] };
  R.shuffle = a => { for (let i = a.length - 1; i > 0; i--) { const j = R.i(0, i); [a[i], a[j]] = [a[j], a[i]]; } return a; };
  return R;
}
const UI = ['Sign in', 'Sign up', 'Log in', 'Log out', 'Register', 'Home', 'About', 'About us', 'Contact', 'Contact us', 'Pricing', 'Products', 'Services', 'Blog', 'News', 'Support', 'Help', 'FAQ', 'Search', 'Settings', 'Profile', 'Account', 'My account', 'Dashboard', 'Reports', 'Orders', 'Customers', 'Messages', 'Notifications', 'Save', 'Save changes', 'Cancel', 'Delete', 'Edit', 'Add', 'Add to cart', 'Checkout', 'Buy now', 'Subscribe', 'Download', 'Upload', 'Submit', 'Send', 'Send message', 'Reset', 'Next', 'Previous', 'Back', 'Continue', 'Apply', 'Filter', 'Sort', 'Export', 'Import', 'Print', 'Share', 'View all', 'Read more', 'Learn more', 'Show more', 'Details', 'Privacy policy', 'Terms of use', 'Cookies', 'Careers', 'Press', 'Partners', 'Features', 'Gallery', 'Events', 'Calendar', 'Documents', 'Projects', 'Tasks', 'Teams', 'Users', 'Roles', 'Billing', 'Invoices', 'Payments', 'Analytics', 'Integrations', 'API', 'Docs', 'Forum', 'Community', 'Feedback', 'Inbox', 'Drafts', 'Archive', 'Trash', 'Favourites', 'Wish list', 'Cart', 'Store', 'Categories', 'Tags', 'Comments', 'Reply', 'Like', 'Follow', 'Join', 'Create', 'New project', 'New file', 'Open', 'Close', 'Copy', 'Paste', 'Undo', 'Redo', 'Refresh', 'Sync', 'Email', 'Password', 'First name', 'Last name', 'Full name', 'Username', 'Phone', 'Address', 'City', 'Country', 'State', 'Zip code', 'Company', 'Website', 'Message', 'Subject', 'Date', 'Time', 'Amount', 'Quantity', 'Price', 'Total', 'Status', 'Type', 'Name', 'Description', 'Title', 'Remember me', 'I agree', 'Newsletter', 'Language', 'Currency', 'Theme', 'Today', 'Week', 'Month', 'Year', 'All', 'Active', 'Pending', 'Completed', 'Overview', 'Activity', 'Security', 'General', 'Advanced'];
const ICONL = { search: 'Search', menu: 'Menu', x: 'Close', user: 'Profile', bell: 'Notifications', 'shopping-cart': 'Cart', heart: 'Favourites', settings: 'Settings', 'trash-2': 'Delete', pencil: 'Edit', plus: 'Add', download: 'Download', upload: 'Upload', share: 'Share', star: 'Star', 'chevron-left': 'Previous', 'chevron-right': 'Next', mail: 'Email', phone: 'Phone', calendar: 'Calendar', filter: 'Filter', lock: 'Lock', eye: 'View', printer: 'Print', copy: 'Copy', save: 'Save', house: 'Home', 'log-out': 'Log out', 'refresh-cw': 'Refresh', info: 'Info', 'circle-question-mark': 'Help', bookmark: 'Bookmark', camera: 'Camera', mic: 'Microphone', play: 'Play', pause: 'Pause', folder: 'Folder', file: 'File', globe: 'Language', moon: 'Dark mode', sun: 'Light mode', 'message-circle': 'Messages', paperclip: 'Attach', send: 'Send', image: 'Image', link: 'Link', list: 'List', 'layout-grid': 'Grid', 'map-pin': 'Location', clock: 'History' };
// `tall`: how many screens of it, about.
export function page(R, words, fonts, icons, tall = 1) {
  const esc = s => s.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/"/g, '&quot;');
  const syl = () => R.c(['ba', 'ko', 'ri', 'ten', 'lu', 'mar', 'so', 'vi', 'den', 'qua', 'xe', 'jo', 'py', 'gra', 'fle', 'win', 'zo', 'hu', 'cy', 'bri']);
  const w = () => R.p(0.06) ? syl() + syl() + (R.p(.5) ? syl() : '') : R.p(0.05) ? String(R.i(0, 99999)) : R.c(words);
  const cap = s => s.charAt(0).toUpperCase() + s.slice(1);
  const cased = s => { const k = R.f(); return k < .5 ? cap(s) : k < .65 ? s : k < .9 ? s.split(' ').map(cap).join(' ') : s.toUpperCase(); };
  const name = () => esc(R.p(0.3) ? R.c(UI) : cased(Array.from({ length: R.c([1, 1, 1, 2, 2, 3]) }, w).join(' ')));
  const sent = n => esc(cap(Array.from({ length: n }, w).join(' ')) + R.c(['.', '.', '.', '!', '?', '']));
  const font = R.p(0.45) ? R.c(['Liberation Sans', 'Liberation Serif', 'DejaVu Sans', 'DejaVu Serif', 'Liberation Sans Narrow', 'Liberation Mono', 'DejaVu Sans Mono']) : R.c(fonts);
  const hf = R.p(0.6) ? font : R.c(fonts);
  const dark = R.p(0.22), hue = R.i(0, 359), acc = `hsl(${hue} ${R.i(45, 95)}% ${R.i(28, 52)}%)`;
  const bg = dark ? `hsl(${R.i(0, 359)} ${R.i(0, 30)}% ${R.i(5, 18)}%)` : R.p(0.55) ? '#fff' : `hsl(${R.i(0, 359)} ${R.i(0, 50)}% ${R.i(90, 99)}%)`;
  const fg = dark ? `hsl(0 0% ${R.i(78, 98)}%)` : `hsl(${hue} ${R.i(0, 30)}% ${R.i(5, 32)}%)`;
  const mute = dark ? '#aab' : R.c(['#555', '#666', '#777', '#6c757d', '#5a6b7b']);
  const card = dark ? `hsl(${hue} 15% ${R.i(14, 24)}%)` : R.c(['#fff', '#fff', '#f8f9fa', '#f3f6f9', '#fffdf5']);
  const line = dark ? '#3a3f48' : R.c(['#ddd', '#e5e7eb', '#ccc', '#bbb']);
  const fs = R.i(11, 18), pad = R.i(4, 14), rad = R.c([0, 0, 3, 4, 6, 10, 20]);
  const ic = () => { const k = R.c(Object.keys(ICONL).filter(k => icons[k])); return [icons[k].replace(/width="24" height="24"/, `width="${R.i(16, 24)}" height="24"`).replace(/class="[^"]*"/, ''), ICONL[k]]; };
  const btn = (t = name()) => { const k = R.f(); return `<button class="${k < .5 ? 'b1' : k < .8 ? 'b2' : 'b3'}" style="font-size:${fs + R.i(-2, 3)}px;padding:${R.i(2, 10)}px ${R.i(6, 20)}px">${t}</button>`; };
  const icb = () => { const [s, l] = ic(); return `<button class="ib" aria-label="${l}">${s}</button>`; };
  const link = () => `<a href="#">${name()}</a>`;
  const field = () => { const l = name(), k = R.f(); const id = 'f' + R.i(0, 1e9);
    if (k < .35) return `<div class="fl"><label for="${id}">${l}</label><input id="${id}" ${R.p(.5) ? `placeholder="${name()}"` : R.p(.4) ? `value="${name()}"` : ''}></div>`;
    if (k < .6) return `<div class="fl"><input placeholder="${l}"></div>`;
    if (k < .75) return `<div class="fl"><label for="${id}">${l}</label><select id="${id}"><option>${name()}</option></select></div>`;
    if (k < .92) return `<div class="fl"><label><input type="${R.p(.6) ? 'checkbox' : 'radio'}" ${R.p(.5) ? 'checked' : ''}> ${l}</label></div>`;
    return `<div class="fl"><label for="${id}">${l}</label><textarea id="${id}" rows=2></textarea></div>`; };
  const rep = (n, f) => Array.from({ length: n }, f);
  const nav = () => `<nav class="nav" style="background:${R.p(.5) ? acc : card};${R.p(.5) ? 'color:#fff' : ''}"><b style="font-size:${fs + R.i(2, 8)}px">${name()}</b>${rep(R.i(2, 7), link).join('')}<span style="flex:1"></span>${R.p(.5) ? `<input placeholder="${R.p(.6) ? 'Search' : name()}" style="width:${R.i(100, 200)}px">` : ''}${rep(R.i(0, 3), icb).join('')}${R.p(.6) ? btn() : ''}</nav>`;
  const cardB = () => `<div class="card"><h3>${name()}</h3><p>${sent(R.i(4, 22))}</p>${R.p(.5) ? btn() : link()}</div>`;
  const blocks = [
    () => `<h2>${sent(R.i(1, 6))}</h2><p>${rep(R.i(1, 5), () => sent(R.i(5, 16))).map(s => R.p(.15) ? s + ' ' + link() : s).join(' ')}</p>`,
    () => `<div class="row">${rep(R.i(2, 4), cardB).join('')}</div>`,
    () => `<form class="card" style="max-width:${R.i(220, 560)}px"><h3>${name()}</h3>${rep(R.i(2, 5), field).join('')}${btn()} ${R.p(.5) ? btn() : ''} ${R.p(.4) ? link() : ''}</form>`,
    () => { const c = R.i(3, 6); return `<table><tr>${rep(c, () => `<th>${name()}</th>`).join('')}</tr>${rep(R.i(3, 9), () => `<tr>${rep(c, () => `<td>${R.p(.3) ? (R.p(.5) ? '$' : '') + R.i(1, 9999) + (R.p(.4) ? '.' + R.i(10, 99) : '') : R.p(.25) ? link() : R.p(.1) ? icb() : name()}</td>`).join('')}</tr>`).join('')}</table>`; },
    () => `<div class="tabs" role="tablist">${rep(R.i(3, 6), () => `<a href="#" role="tab" class="tab">${name()}</a>`).join('')}</div>`,
    () => `<ul style="columns:${R.i(1, 4)}">${rep(R.i(4, 14), () => `<li>${R.p(.7) ? link() : name()}</li>`).join('')}</ul>`,
    () => `<div class="bar">${rep(R.i(2, 6), () => R.p(.4) ? icb() : btn()).join(' ')}</div>`,
    () => `<div class="row">${rep(R.i(3, 5), () => `<div class="card"><small>${name()}</small><div style="font-size:${fs + R.i(4, 14)}px;font-weight:700">${R.i(1, 99999)}</div></div>`).join('')}</div>`,
    () => `<div style="background:linear-gradient(${R.i(0, 180)}deg,${acc},hsl(${R.i(0, 359)} 60% 40%));color:#fff;padding:${R.i(10, 40)}px;text-align:${R.c(['left', 'center'])}"><h1>${sent(R.i(2, 5))}</h1><p style="color:#fff">${sent(R.i(4, 14))}</p>${btn()} ${btn()}</div>`,
    () => `<dl>${rep(R.i(2, 6), () => `<dt><b>${name()}</b></dt><dd>${sent(R.i(2, 10))}</dd>`).join('')}</dl>`,
  ];
  const main = rep(R.i(5, 9) * tall, () => R.c(blocks)()).join('\n');
  const side = R.p(.4) ? `<aside style="width:${R.i(130, 240)}px;background:${card}">${rep(R.i(5, 16) * tall, () => `<a href="#" class="sl">${R.p(.3) ? ic()[0].replace('<svg', '<svg style="vertical-align:middle;margin-right:6px"') : ''}${name()}</a>`).join('')}</aside>` : '';
  return `<!doctype html><html lang=en><meta charset=utf-8><title>p</title><style>
  *{box-sizing:border-box}body{margin:0;font:${fs}px/${R.i(12, 18) / 10} '${font}',sans-serif;background:${bg};color:${fg}}
  h1,h2,h3{font-family:'${hf}';margin:${R.i(2, 12)}px 0;font-weight:${R.c([400, 600, 700])}}h1{font-size:${fs + R.i(8, 22)}px}h2{font-size:${fs + R.i(3, 14)}px}h3{font-size:${fs + R.i(0, 8)}px}
  p,td,dd{color:${mute}}p{margin:${R.i(2, 12)}px 0}a{color:${acc};${R.p(.4) ? '' : 'text-decoration:none'}}
  .nav{display:flex;gap:${R.i(8, 24)}px;align-items:center;padding:${pad}px ${R.i(8, 30)}px;flex-wrap:wrap}.nav a,.nav b{color:inherit}
  .row{display:flex;gap:${R.i(6, 20)}px;margin:${pad}px 0}.card{flex:1;background:${card};border:1px solid ${line};border-radius:${rad}px;padding:${pad + 4}px;${R.p(.3) ? 'box-shadow:0 2px 6px #0003' : ''}}
  button{font-family:inherit;border-radius:${rad}px;cursor:pointer}.b1{background:${acc};color:#fff;border:0}.b2{background:transparent;color:${dark ? '#fff' : acc};border:1px solid ${acc}}.b3{background:${dark ? '#444' : '#e4e6ea'};color:${dark ? '#fff' : '#222'};border:1px solid ${line}}
  .ib{background:none;border:0;color:inherit;padding:${R.i(2, 8)}px}input:not([type=checkbox]):not([type=radio]),select,textarea{font:inherit;font-size:${fs + R.i(-2, 1)}px;padding:${R.i(2, 9)}px ${R.i(4, 12)}px;border:1px solid ${line};border-radius:${Math.min(rad, 8)}px;background:${dark ? '#222' : '#fff'};color:inherit}
  .fl{margin:${R.i(3, 12)}px 0}.fl label{display:${R.c(['block', 'inline-block'])};${R.p(.4) ? 'min-width:110px' : ''}}.fl input:not([type=checkbox]):not([type=radio]){width:${R.i(50, 100)}%}
  table{border-collapse:collapse;width:${R.i(60, 100)}%;margin:${pad}px 0}th,td{border-bottom:1px solid ${line};padding:${R.i(2, 9)}px;text-align:left}
  .tabs{display:flex;border-bottom:1px solid ${line}}.tab{padding:${R.i(4, 10)}px ${R.i(8, 18)}px}.sl{display:block;padding:${R.i(2, 9)}px 12px;color:inherit}
  .wrap{display:flex}.main{flex:1;padding:${R.i(6, 26)}px;max-width:${R.c([9999, 9999, 1100, 900])}px;${R.p(.3) ? 'margin:auto' : ''};min-width:0}ul{margin:${pad}px 0;padding-left:${R.i(0, 26)}px;${R.p(.5) ? 'list-style:none' : ''}}li{margin:${R.i(0, 7)}px 0}.bar{margin:${pad}px 0}
  </style><body>${R.p(.85) ? nav() : ''}<div class="wrap">${side}<div class="main">${main}</div></div></body>`;
}
// A page that is text everywhere, each block in its own font, size and colours: the most labels for a render's cost.
export function dense(R, words, fonts, tall = 1) {
  const SYSTEM = ['Liberation Sans', 'Liberation Sans', 'Liberation Sans', 'Liberation Serif', 'Liberation Serif', 'DejaVu Sans', 'DejaVu Sans', 'DejaVu Serif', 'Liberation Mono', 'DejaVu Sans Mono', 'Liberation Sans Narrow'];
  const esc = s => s.replace(/&/g, '&amp;').replace(/</g, '&lt;');
  const cap = s => s.charAt(0).toUpperCase() + s.slice(1);
  const letters = n => Array.from({ length: n }, () => String.fromCharCode(97 + R.i(0, 25))).join('');
  const w = () => { const k = R.f(); return k < .74 ? R.c(words) : k < .82 ? letters(R.i(2, 9)) : k < .9 ? String(R.i(0, 10 ** R.i(1, 6))) : k < .93 ? `${R.i(1, 31)}/${R.i(1, 12)}/${R.i(1990, 2030)}` : k < .95 ? `$${R.i(1, 999)}.${R.i(10, 99)}` : k < .97 ? `${R.c(words)}@${R.c(words)}.com` : `(${R.c(words)})`; };
  const term = () => { const n = R.c([1, 1, 2, 2, 3, 4]), k = R.f(), s = Array.from({ length: n }, w); return esc(k < .35 ? cap(s.join(' ')) : k < .55 ? s.join(' ') : k < .85 ? s.map(cap).join(' ') : s.join(' ').toUpperCase()); };
  const sent = () => esc(cap(Array.from({ length: R.i(4, 14) }, () => R.p(.1) ? w() + R.c([',', ';', ':', '!', '?', "'s", '"', ' -', ' &']) : R.p(.1) ? cap(w()) : w()).join(' ')) + '.');
  const many = (n, f) => Array.from({ length: n }, f);
  const block = () => {
    const dark = R.p(.25), h = R.i(0, 359), grey = R.p(.55);
    const bg = dark ? `hsl(${h} ${R.i(0, 90)}% ${R.i(5, 45)}%)` : R.p(.6) ? '#fff' : `hsl(${h} ${R.i(0, 80)}% ${R.i(82, 99)}%)`;
    const fg = dark ? `hsl(${R.i(0, 359)} ${R.i(0, 60)}% ${R.i(82, 100)}%)` : grey ? `hsl(0 0% ${R.i(0, 48)}%)` : `hsl(${R.i(0, 359)} ${R.i(30, 100)}% ${R.i(15, 46)}%)`;
    const size = R.p(.8) ? R.i(20, 34) / 2 : R.i(17, 28), k = R.f();
    const style = `font:${R.p(.1) ? 'italic ' : ''}${R.c([400, 400, 400, 400, 700, 700, 300])} ${size}px/${R.i(11, 19) / 10} '${R.p(.72) ? R.c(SYSTEM) : R.c(fonts)}',sans-serif;background:${bg};color:${fg};padding:${R.i(2, 14)}px ${R.i(2, 16)}px;margin:0 0 ${R.i(0, 8)}px;${R.p(.1) ? `letter-spacing:${R.i(1, 4) / 4}px;` : ''}${R.p(.12) ? 'text-transform:uppercase;' : ''}${R.p(.15) ? 'text-align:center;' : ''}`;
    const links = R.p(.5) ? 'text-decoration:underline' : '';
    const one = () => `<a href="#" style="color:inherit;${links}">${term()}</a>`;
    if (k < .3) return `<div style="${style}">${many(R.i(2, 6), sent).join(' ')}</div>`;
    if (k < .6) return `<div style="${style}">${many(R.i(3, 9), () => `<div style="padding:${R.i(0, 4)}px 0">${one()}</div>`).join('')}</div>`;
    if (k < .8) return `<div style="${style};display:flex;flex-wrap:wrap;gap:${R.i(3, 12)}px ${R.i(8, 28)}px">${many(R.i(4, 12), one).join('')}</div>`;
    return `<div style="${style};display:grid;grid-template-columns:repeat(${R.i(2, 4)},auto);gap:${R.i(2, 8)}px ${R.i(6, 20)}px">${many(R.i(6, 16), () => R.p(.3) ? one() : `<span>${term()}</span>`).join('')}</div>`;
  };
  return `<!doctype html><html lang=en><meta charset=utf-8><style>*{box-sizing:border-box}body{margin:0;columns:${R.i(2, 5)};column-gap:${R.i(0, 12)}px;background:${R.p(.8) ? '#fff' : '#223'}}div{break-inside:avoid-column}</style><body>${many(70 * tall, block).join('\n')}</body>`;
}
