// Pages on which one name stands many times, and only what is beside it tells which is meant: tables with actions in each row, cards with a button, lists of settings.
const ACTIONS = ['Edit', 'Delete', 'View', 'Open', 'Remove', 'Details', 'Download', 'Rename', 'Share', 'Archive', 'Copy', 'Pay', 'Reply', 'Approve', 'Reject', 'Follow', 'Change', 'Assign'];
const CARDS = ['Add to cart', 'Read more', 'Learn more', 'Buy now', 'Details', 'Book', 'Join', 'Subscribe', 'Try it', 'Download'];
const SETTINGS = ['Change', 'Edit', 'Manage', 'Turn on', 'Set up', 'Reset'];
export function tablePage(R, words, fonts, sets, tall = 1) {
  const cap = s => s.charAt(0).toUpperCase() + s.slice(1), taken = new Set();
  // No name twice on a page, nor within another.
  const name = () => { for (;;) { const s = Array.from({ length: R.c([1, 2, 2, 2, 3]) }, () => cap(R.c(words))).join(' '); if (s.length > 3 && ![...taken].some(t => t.includes(s) || s.includes(t))) { taken.add(s); return s; } } };
  const sent = n => cap(Array.from({ length: n }, () => R.c(words)).join(' ')) + '.';
  const font = R.p(.6) ? R.c(['Liberation Sans', 'DejaVu Sans', 'Liberation Serif']) : R.c(fonts), size = R.i(12, 17), dark = R.p(.2), hue = R.i(0, 359);
  const line = dark ? '#444' : '#ddd', accent = `hsl(${hue} 60% ${dark ? 65 : 38}%)`;
  const set = R.c(sets), shown = t => set.known.find(k => k.names.includes(t));
  const action = (t, look) => look === 'icon' ? `<button class="i" aria-label="${t}">${set.svg(shown(t).file).replace('<svg', '<svg width="18" height="18"')}</button>` : look === 'button' ? `<button class="b">${t}</button>` : `<a href="#">${t}</a>`;
  const some = (list, n) => R.shuffle([...list]).slice(0, n);
  const table = () => {
    const look = R.c(['link', 'link', 'button', 'button', 'icon']), own = some(look === 'icon' ? ACTIONS.filter(shown) : ACTIONS, R.i(1, 3)), columns = R.i(1, 3), pad = R.i(3, 12);
    const cell = [() => R.i(1, 9999), () => `$${R.i(1, 999)}.${R.i(10, 99)}`, () => `${R.i(1, 28)}/${R.i(1, 12)}/20${R.i(10, 29)}`, () => R.c(['Active', 'Pending', 'Paid', 'Draft', 'Closed']), () => `${R.i(1, 99)}%`];
    const kinds = Array.from({ length: columns }, () => R.c(cell));
    return `<table style="width:${R.i(55, 100)}%">${Array.from({ length: R.i(3, 9) }, () => `<tr>${[name(), ...kinds.map(k => k())].map(t => `<td style="padding:${pad}px">${t}</td>`).join('')}<td style="padding:${pad}px">${own.map(t => action(t, look)).join(' &nbsp; ')}</td></tr>`).join('')}</table>`;
  };
  const cards = () => { const t = R.c(CARDS), look = R.c(['link', 'button']), n = R.i(3, 5); return `<div class="r">${Array.from({ length: n }, () => `<div class="c"><b>${name()}</b><p>${sent(R.i(4, 12))}</p>${action(t, look)}</div>`).join('')}</div>`; };
  const settings = () => { const t = R.c(SETTINGS), look = R.c(['link', 'button']); return `<div style="max-width:${R.i(420, 900)}px">${Array.from({ length: R.i(3, 6) }, () => `<div class="s"><span>${name()}</span>${action(t, look)}</div>`).join('')}</div>`; };
  const blocks = Array.from({ length: tall }, () => R.shuffle([table, R.p(.5) ? cards : table, settings]).slice(0, R.i(2, 3))).flat();
  return `<!doctype html><html lang=en><meta charset=utf-8><style>*{box-sizing:border-box}body{margin:0;padding:${R.i(8, 30)}px;font:${size}px/1.4 '${font}',sans-serif;background:${dark ? '#1c1f26' : '#fff'};color:${dark ? '#ddd' : '#222'}}
  a{color:${accent}}.b{font:inherit;font-size:${size - 1}px;padding:${R.i(2, 6)}px ${R.i(6, 14)}px;border:1px solid ${accent};border-radius:${R.i(0, 8)}px;background:${R.p(.5) ? accent : 'transparent'};color:${dark ? '#fff' : 'inherit'}}.i{background:none;border:0;padding:3px;color:inherit}
  table{border-collapse:collapse;margin:8px 0}td{border-bottom:1px solid ${line}}.r{display:flex;gap:14px;margin:10px 0}.c{flex:1;border:1px solid ${line};padding:${R.i(8, 18)}px}.s{display:flex;justify-content:space-between;border-bottom:1px solid ${line};padding:${R.i(4, 12)}px 0}p{margin:6px 0}
  </style><body>${blocks.map(b => b()).join('\n')}</body>`;
}
