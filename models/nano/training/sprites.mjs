// Draws the icons of many open sets as masks, so that the training programs can put them anywhere in any colour:
// node sprites.mjs --pages DIR --out FILE. FILE.bin holds SIDE x SIDE bytes of coverage for each icon, FILE.json what it is called:
// [{names, known, set}]. Sets are the @iconify-json packages in DIR/npm/node_modules; bootstrap-icons, kept for validation, is left out.
import fs from 'fs'; import path from 'path'; import { createRequire } from 'module';
import { rng } from './synth.mjs'; import { CALLED } from './icons.mjs';
const arg = (k, d) => { const i = process.argv.indexOf('--' + k); return i < 0 ? d : process.argv[i + 1]; };
const modules = path.resolve(arg('pages'), 'npm/node_modules'), OUT = arg('out'), SIDE = 48, REST = 350;
const { Resvg } = createRequire(modules + path.sep)('@resvg/resvg-js');
// More file names than the sets of icons.mjs need, by the first name.
const ALSO = Object.fromEntries(`Search: search-alt search-small magnifying-glass-small magnifer
Menu: hamburger hamburger-menu burger menu-hamburger list-bulleted reorder menu-alt navicon
Close: cross multiply close-circle xmark-circle cancel x-mark dismiss clear
Profile: profile user-circle account-circle avatar user-alt person-circle user-round
Notifications: notification notifications bell-notification alarm-bell
Cart: cart-outline shopping cart-large basket shopping-basket
Favourites: favorite heart-alt like love
Settings: setting settings-outline cog-6-tooth gear-six preferences cog-outline
Delete: trash-bin trash-alt bin delete-bin trash-bin-trash trashcan trash-empty garbage delete-forever recycle-bin trash-full trash-can-outline remove
Edit: edit pencil-alt pen-2 edit-pencil edit-2 compose pencil-outline
Add: add plus-circle plus-sign add-circle
Download: download-alt download-simple arrow-down-tray file-download cloud-download
Upload: upload-alt upload-simple arrow-up-tray publish
Share: share-alt share-android share-network share-1 share-ios
Star: star-outline grade favorite-star
Previous: chevron-left-outline caret-left arrow-ios-back left angle-left nav-arrow-left arrow-left-s keyboard-arrow-left chevron-back alt-arrow-left
Next: chevron-right-outline caret-right arrow-ios-forward right angle-right nav-arrow-right arrow-right-s keyboard-arrow-right chevron-forward alt-arrow-right
Expand: caret-down arrow-ios-downward down angle-down nav-arrow-down arrow-down-s keyboard-arrow-down chevron-down-outline alt-arrow-down
Collapse: caret-up arrow-ios-upward up angle-up nav-arrow-up arrow-up-s keyboard-arrow-up chevron-up-outline alt-arrow-up
Back: arrow-back arrow-left-alt left-arrow long-arrow-left arrow-small-left
Forward: arrow-right arrow-forward right-arrow long-arrow-right arrow-small-right
Email: mail-outline letter mail-alt envelope-alt mailbox-letter at-mail
Phone: call phone-call phone-alt telephone-handset phone-handset
Calendar: calendar-blank calendar-alt event date calendar-month
Filter: filter-list funnel-simple filter-alt filter-outline
Lock: lock-closed lock-alt locked padlock lock-outline lock-simple lock-on
Unlock: lock-open-outline unlocked lock-off lock-alt-open lock-simple-open
View: visibility eye-open show eye-outline view eye-alt preview
Hide: visibility-off eye-closed eye-off-outline view-off eye-slashed eye-crossed eye-close
Print: printer-outline print-outline
Copy: copy-outline copy-alt duplicate documents document-duplicate content-copy-outline
Save: save-outline floppy-disk-back diskette save-floppy disk
Home: home-alt home-outline home-simple house-simple home-2
Log out: logout-outline sign-out exit log-out-circle arrow-right-on-rectangle leave door-exit
Refresh: reload sync arrow-path refresh-outline refresh-double arrow-clockwise repeat update rotate-right
Info: information-circle info-outline information-outline info-square about
Help: help-outline question help-circle-outline question-mark-circle question-mark info-question help-square
Bookmark: bookmark-outline bookmark-simple bookmark-border bookmark-alt ribbon
Camera: camera-outline photo-camera camera-alt
Microphone: mic-outline microphone-outline microphone-alt voice
Play: play-outline play-arrow play-circle media-play
Pause: pause-outline pause-circle media-pause
Folder: folder-outline folder-simple folder-alt
File: document file-text page file-alt document-outline insert-drive-file paper file-blank draft
Language: globe-outline language earth-outline global globe-alt world-www planet translate web
Dark mode: dark-mode moon-outline night-mode half-moon moon-alt nights-stay
Light mode: light-mode sunny sun-outline sun-alt sun-light brightness day
Messages: message chatbubble chat-bubble comment-outline chat-alt message-square chat-circle comments messages message-alt chat-round
Attach: attachment paperclip-outline attach attach-file attachment-alt clip
Send: send-outline paper-plane-tilt paper-airplane send-alt plane telegram-send send-message
Image: picture image-outline photo-outline media-image gallery image-alt
Link: link-outline link-alt link-simple chain insert-link link-2 hyperlink
Grid: grid-outline apps view-grid-outline squares-four grid-view grid-alt dashboard layout-grid squares-2x2
Location: location pin location-pin location-on location-outline map-pin-outline marker place location-marker pin-location
History: time clock-outline schedule access-time time-outline time-circle
Check: checkmark tick check-outline done check-circle check-mark
Warning: warning-outline exclamation-triangle-outline alert-outline warning-triangle danger warning-alt triangle-warning danger-triangle caution
Cloud: cloud-outline cloud-alt
Gift: gift-outline present gift-box
Key: key-outline vpn-key key-alt
Tag: tag-outline pricetag label price-tag local-offer tag-alt
Flag: flag-outline flag-alt flag-banner
Video: videocam-outline video-camera video-outline video-alt camera-movie film-camera
Music: music-notes musical-note musical-notes music-note-outline musical-notes-outline music-alt
Volume: volume-high-outline speaker-high volume-full volume-max sound-max speaker volume-loud speaker-wave audio volume-outline
Undo: undo-outline arrow-undo arrow-counter-clockwise undo-alt arrow-u-turn-left undo-left
Scissors: cut-outline scissors-alt scissor content-cut-outline
Zoom in: magnifying-glass-plus-outline search-plus zoom-in-outline magnify-plus-outline search-zoom-in
Zoom out: magnifying-glass-minus-outline search-minus zoom-out-outline magnify-minus-outline search-zoom-out
Full screen: arrows-out expand-outline fullscreen-outline full-screen arrows-maximize open-in-full maximise enlarge expand-arrows
Users: group users-three user-group people-outline user-multiple users-alt user-friends users-group
Credit card: creditcard card credit-card-outline payment card-outline bank-card
Chart: chart-outline bar-chart-outline stats-bars chart-bars analytics bar-graph graph-bar barchart chart-histogram stats-chart poll
Shop: storefront shop-outline store-outline building-shop market
Bold: text-bold bold-text text-b editor-bold
Italic: text-italic italic-text text-italic-style
Underline: text-underline underline-text text-underlined format-underlined
More: more-vertical more-vert dots-three-vertical ellipsis-v kebab menu-kebab overflow-menu-vertical menu-dots-vertical more-vertical-outline
Options: more-horizontal more-horiz dots-three ellipsis-h meatballs overflow-menu-horizontal menu-dots more`.split('\n').map(l => { const [n, f] = l.split(': '); return [n, f.split(' ')]; }));
const known = new Map();
for (const c of CALLED) for (const f of [...c.files, ...(ALSO[c.names[0]] || [])]) if (!known.has(f)) known.set(f, c.names);
for (const n of Object.keys(ALSO)) if (!CALLED.some(c => c.names[0] === n)) throw new Error(`no icon is called ${n}`);
// What a set's name says of style and size, not of the thing.
const STYLE = /^(outline|outlined|line|linear|solid|fill|filled|bold|thin|light|duotone|regular|rounded|round|sharp|twotone|baseline|broken|alt|sm|lg|stroke|dual|light|mini|\d+|\d+px|\d+w)$/;
const plain = f => { const w = f.split('-'); while (w.length > 1 && STYLE.test(w.at(-1))) w.pop(); while (w.length > 1 && STYLE.test(w[0])) w.shift(); return w.join('-'); };
const R = rng(5), dir = path.join(modules, '@iconify-json'), out = fs.openSync(OUT + '.bin', 'w'), names = [];
for (const set of fs.readdirSync(dir).sort()) {
  if (set === 'bi') continue;
  const { icons, aliases = {}, width = 16, height = 16, ...own } = JSON.parse(fs.readFileSync(path.join(dir, set, 'icons.json')));
  const all = Object.keys(icons).filter(f => !icons[f].hidden).sort(), rest = [];
  const called = new Map(); // a set's drawings of one thing: not more than six
  for (const f of all) {
    const p = plain(f), n = known.get(f) || known.get(p);
    if (n) { if (!called.has(n)) called.set(n, []); called.get(n).push(f); } else if (/^[a-z]{2,}(-[a-z]+){0,2}$/.test(p)) rest.push([f, p]);
  }
  R.shuffle(rest);
  const list = [...called].flatMap(([n, fs]) => R.shuffle(fs).slice(0, 6).map(f => [f, n, true])).concat(rest.slice(0, REST).map(([f, p]) => [f, [p[0].toUpperCase() + p.slice(1).replace(/-/g, ' ')], false]));
  let count = 0;
  for (const [f, n, is] of list) {
    const i = icons[f], w = i.width || width, h = i.height || height;
    const side = Math.max(w, h), x = (i.left || own.left || 0) - (side - w) / 2, y = (i.top || own.top || 0) - (side - h) / 2;
    try {
      const px = new Resvg(`<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="${x} ${y} ${side} ${side}" color="#000">${i.body}</svg>`, { fitTo: { mode: 'width', value: SIDE } }).render().pixels;
      const a = Buffer.alloc(SIDE * SIDE); let sum = 0;
      for (let k = 0; k < a.length; k++) sum += a[k] = px[4 * k + 3];
      if (px.length !== 4 * a.length || sum < 255 * a.length * 0.01 || sum > 255 * a.length * 0.85) continue;
      fs.writeSync(out, a); names.push({ names: n, known: is, set }); count++;
    } catch (e) { console.log('skip', set, f, String(e).slice(0, 80)); }
  }
  console.log(set, count, 'of them known', names.slice(-count).filter(n => n.known).length);
}
fs.closeSync(out); fs.writeFileSync(OUT + '.json', JSON.stringify(names));
console.log(names.length, 'icons,', names.filter(n => n.known).length, 'known');
