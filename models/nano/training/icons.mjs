// Icons of open sets and what people call them, and pages full of them.
import fs from 'fs'; import path from 'path';
// Names, then the files that show it: the first that a set has is its icon of that name.
export const CALLED = `Search|Find: search magnify magnifying-glass
Menu|Open menu: menu menu-2 bars list
Close|Dismiss: x close xmark x-lg
Profile|Account|User: user account person
Notifications|Alerts: bell
Cart|Shopping cart|Basket: shopping-cart cart cart-shopping
Favourites|Like|Love: heart
Settings|Preferences: settings cog gear
Delete|Remove|Trash: trash-2 trash delete trash-can
Edit|Change: pencil pen
Add|New|Create: plus plus-lg
Download: download
Upload: upload
Share: share-2 share share-variant share-nodes
Star|Rate: star
Previous|Left: chevron-left
Next|Right: chevron-right
Expand|Show more: chevron-down
Collapse|Show less: chevron-up
Back: arrow-left
Forward: arrow-right
Email|Mail: mail envelope email
Phone|Call: phone telephone
Calendar|Date: calendar
Filter: filter funnel
Lock: lock
Unlock: unlock lock-open
View|Show password: eye
Hide: eye-off eye-slash
Print: printer print
Copy: copy content-copy files
Save: save floppy device-floppy content-save floppy-disk
Home: house home
Log out|Sign out: log-out logout right-from-bracket box-arrow-right
Refresh|Reload: refresh-cw refresh rotate arrow-clockwise
Info: info info-circle circle-info information
Help: circle-question-mark help circle-help help-circle circle-question question-circle
Bookmark: bookmark
Camera: camera
Microphone|Record: mic microphone
Play: play
Pause: pause
Folder: folder
File|Document: file file-outline file-earmark
Language|Globe: globe world earth
Dark mode|Night: moon moon-waning-crescent
Light mode|Brightness: sun white-balance-sunny
Messages|Comment|Chat: message-circle comment chat
Attach|Attachment: paperclip
Send: send paper-plane
Image|Picture|Photo: image photo
Link: link link-45deg
Grid: layout-grid grid-3x3-gap view-grid table-cells-large grid
Location|Map: map-pin map-marker location-dot geo-alt
History|Time|Clock: clock
Check|Done|Confirm: check check-lg
Warning: triangle-alert alert-triangle triangle-exclamation exclamation-triangle alert
Cloud: cloud
Gift: gift
Key: key
Tag: tag
Flag: flag
Video: video videocam camera-video
Music: music music-note music-note-beamed
Volume|Sound: volume-2 volume volume-high volume-up
Undo: undo undo-2 arrow-back-up rotate-left arrow-counterclockwise
Scissors|Cut: scissors cut content-cut
Zoom in: zoom-in magnify-plus magnifying-glass-plus
Zoom out: zoom-out magnify-minus magnifying-glass-minus
Full screen|Maximize: maximize fullscreen expand
Users|Team|People: users account-group people
Credit card|Payment: credit-card
Chart|Statistics: chart-column bar-chart chart-bar chart-simple
Shop|Store: store shop building-store
Bold: bold format-bold type-bold
Italic: italic format-italic type-italic
Underline: underline format-underline type-underline
More|More options: ellipsis-vertical dots-vertical three-dots-vertical
Options|Actions: ellipsis dots three-dots dots-horizontal`.split('\n').map(l => { const [n, f] = l.split(': '); return { names: n.split('|'), files: f.split(' ') }; });
const SETS = { train: ['lucide-static/icons', '@tabler/icons/icons/outline', '@mdi/svg/svg', '@fortawesome/fontawesome-free/svgs/solid'], val: ['bootstrap-icons/icons'] };
// [{called, svgs: Map(file -> svg)}] of the sets of a split; those for validation are never trained on.
export function iconSets(modules, split) {
  return SETS[split].map(s => path.join(modules, s)).filter(d => fs.existsSync(d)).map(dir => {
    const has = new Set(fs.readdirSync(dir).filter(f => f.endsWith('.svg')).map(f => f.slice(0, -4)));
    const known = CALLED.map(c => ({ names: c.names, file: c.files.find(f => has.has(f)) })).filter(c => c.file);
    const used = new Set(CALLED.flatMap(c => c.files));
    const rest = [...has].filter(f => !used.has(f) && /^[a-z]+(-[a-z]+)?$/.test(f)).sort();
    const cache = new Map();
    const svg = f => { if (!cache.has(f)) cache.set(f, fs.readFileSync(path.join(dir, f + '.svg'), 'utf8').replace(/<!--[\s\S]*?-->\s*/g, '').replace(/<svg[^>]*>/, t => t.replace(/\s(width|height|class|id)="[^"]*"/g, '').replace('<svg', /fill="/.test(t) ? '<svg' : '<svg fill="currentColor"')).trim()); return cache.get(f); };
    return { known, rest, svg };
  });
}
// A page of toolbars: every named icon once (`tall` times), in any set, size and colours, between words that do not name it.
export function iconPage(R, words, fonts, sets, tall = 1, other = 0.3) {
  const cap = s => s.charAt(0).toUpperCase() + s.slice(1);
  const sent = n => cap(Array.from({ length: n }, () => R.c(words)).join(' '));
  const one = (svg, name) => ({ svg, name });
  const named = () => {
    let list = [];
    const own = R.c(sets); // most of a page comes from one set, as on real pages
    const count = Math.max(...sets.map(s => s.known.length));
    for (let i = 0; i < CALLED.length; i++) { const s = R.p(.7) ? own : R.c(sets), k = s.known.find(k => k.names === CALLED[i].names); if (k && R.p(.9)) list.push(one(s.svg(k.file), R.c(R.p(.6) ? k.names.slice(0, 1) : k.names))); }
    for (let i = 0; i < count * other; i++) { const s = R.c(sets), f = R.c(s.rest); list.push(one(s.svg(f), cap(f.replace(/-/g, ' ')))); }
    R.shuffle(list);
    const seen = new Set(); return list.filter(i => !seen.has(i.name.toLowerCase()) && seen.add(i.name.toLowerCase()));
  };
  const list = Array.from({ length: tall }, named).flat();
  const blocks = [];
  while (list.length) {
    const dark = R.p(.3), h = R.i(0, 359), bg = dark ? `hsl(${h} ${R.i(0, 80)}% ${R.i(8, 40)}%)` : R.p(.6) ? '#fff' : `hsl(${h} ${R.i(0, 70)}% ${R.i(84, 99)}%)`;
    const fg = dark ? `hsl(${R.i(0, 359)} ${R.i(0, 50)}% ${R.i(82, 100)}%)` : R.p(.6) ? `hsl(0 0% ${R.i(5, 45)}%)` : `hsl(${R.i(0, 359)} ${R.i(40, 100)}% ${R.i(20, 48)}%)`;
    const size = R.c([14, 16, 16, 18, 18, 20, 20, 22, 24, 24, 28, 32]), pad = R.i(2, 9), line = R.p(.35) ? `border:1px solid ${R.p(.5) ? 'currentColor' : '#8886'};` : '', rad = R.c([0, 3, 6, 99]), fill = R.p(.2) ? `background:hsl(${h} 40% ${dark ? 30 : 88}%);` : '';
    const row = list.splice(0, R.i(2, 9)), text = R.p(.6), tag = R.p(.7) ? 'button' : 'a';
    const b = i => `<${tag} ${tag === 'a' ? 'href="#"' : ''} aria-label="${i.name}" style="all:unset;cursor:pointer;display:inline-flex;padding:${pad}px;${line}${fill}border-radius:${rad}px;color:inherit">${i.svg.replace('<svg', `<svg width="${size}" height="${size}"`).replace(/stroke-width="[\d.]+"/, `stroke-width="${R.c([1.5, 2, 2, 2.5])}"`)}</${tag}>`;
    blocks.push(`<div style="display:flex;flex-wrap:wrap;gap:${R.i(0, 14)}px;align-items:center;justify-content:${R.c(['start', 'start', 'end', 'space-between', 'center'])};background:${bg};color:${fg};padding:${R.i(2, 12)}px ${R.i(4, 20)}px;margin:0 0 ${R.i(0, 20)}px;break-inside:avoid-column;font:${R.i(11, 18)}px '${R.p(.6) ? R.c(['Liberation Sans', 'DejaVu Sans', 'Liberation Serif']) : R.c(fonts)}',sans-serif">${text ? `<span>${sent(R.i(1, 4))}</span>` : ''}${row.map(b).join('')}${R.p(.3) ? `<span>${sent(R.i(1, 5))}</span>` : ''}</div>`);
    if (R.p(.35)) blocks.push(`<p style="font:${R.i(11, 17)}px/1.4 '${R.c(['Liberation Sans', 'DejaVu Sans'])}',sans-serif;margin:${R.i(2, 12)}px;break-inside:avoid-column">${sent(R.i(8, 30))}.</p>`);
  }
  return `<!doctype html><html lang=en><meta charset=utf-8><style>*{box-sizing:border-box}body{margin:0;columns:${R.i(1, 3)};column-gap:${R.i(0, 12)}px;background:${R.p(.8) ? '#fff' : '#1d2430'}}</style><body>${blocks.join('\n')}</body>`;
}
