// Runs inside the page: returns what is drawn (characters with boxes) and what can be acted on (targets).
// Everything is in CSS pixels of the viewport, which may be as high as a page; `screen` is how much of it is seen at a time.
(screen => {
  const W = innerWidth, H = innerHeight;
  const r1 = v => Math.round(v * 2) / 2;
  const shown = el => {
    for (let e = el; e && e.nodeType === 1; e = e.parentElement) {
      const s = getComputedStyle(e);
      if (s.visibility !== 'visible' && e === el) return false;
      if (s.display === 'none' || +s.opacity < 0.35) return false;
    }
    return true;
  };
  const transparent = c => /rgba\(.*, 0(\.[0-2]\d*)?\)$/.test(c) || c === 'transparent';
  const cache = new Map();
  const shownCached = el => { if (!cache.has(el)) cache.set(el, shown(el)); return cache.get(el); };
  const onTop = (el, x, y) => {
    const t = document.elementFromPoint(x, y);
    return !!t && (t === el || el.contains(t) || t.contains(el));
  };
  const chars = []; // [codepoint, x0, y0, x1, y1, word id, line id]
  let word = 0, line = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  // How wide letters are, by font: to ask the page for each one's place takes most of the time otherwise.
  const cv = document.createElement('canvas').getContext('2d'), widths = new Map();
  const advances = (st, word) => {
    const font = `${st.fontStyle} ${st.fontWeight} ${st.fontSize} ${st.fontFamily}`, spaced = parseFloat(st.letterSpacing) || 0;
    if (!widths.has(font)) widths.set(font, new Map());
    const known = widths.get(font);
    return [...word].map(c => { if (!known.has(c)) { cv.font = font; known.set(c, cv.measureText(c).width); } return known.get(c) + spaced; });
  };
  const deadline = performance.now() + 6000;
  let late = false;
  while (!late && walker.nextNode()) {
    late = chars.length > 40000 || performance.now() > deadline;
    const n = walker.currentNode, p = n.parentElement, text = n.data;
    if (!p || !text.trim() || /^(SCRIPT|STYLE|NOSCRIPT|OPTION|TEXTAREA|TITLE)$/.test(p.tagName)) continue;
    range.selectNodeContents(n);
    const bb = range.getBoundingClientRect();
    if (bb.bottom < 0 || bb.top > H || bb.right < 0 || bb.left > W || bb.width < 2) continue;
    if (!shownCached(p)) continue;
    const st = getComputedStyle(p);
    if (transparent(st.color) || parseFloat(st.fontSize) < 7) continue;
    const up = st.textTransform === 'uppercase';
    line++;
    let last = null, wordOk = null;
    const put = (ch, x0, y0, x1, y1) => {
      const cx = (x0 + x1) / 2, cy = (y0 + y1) / 2;
      if (x1 - x0 < 0.5 || x0 < 0 || x1 > W || cy < 0 || cy >= H) return;
      if (wordOk === null) wordOk = onTop(p, cx, cy);
      if (wordOk) chars.push([ch.codePointAt(0), r1(x0), r1(y0), r1(x1), r1(y1), word, line]);
    };
    const newLine = q => { if (last !== null && Math.abs(q.top - last) > 3) { line++; word++; wordOk = null; } last = q.top; };
    for (const { 0: w, index } of text.matchAll(/\S+/g)) {
      word++; wordOk = null;
      range.setStart(n, index); range.setEnd(n, index + w.length);
      const rects = range.getClientRects();
      if (!rects.length) continue;
      if (rects[0].top > H) break;
      const shownText = up ? w.toUpperCase() : w;
      if (rects.length === 1 && shownText.length === w.length && st.direction === 'ltr') {
        const q = rects[0], each = advances(st, shownText), scale = q.width / each.reduce((a, b) => a + b, 0);
        newLine(q);
        let x = q.left, i = 0;
        for (const ch of shownText) { const to = x + each[i++] * scale; put(ch, x, q.top, to, q.bottom); x = to; }
      } else for (let i = 0; i < w.length; i++) { // broken over lines
        range.setStart(n, index + i); range.setEnd(n, index + i + 1);
        const q = range.getClientRects()[0];
        if (!q) continue;
        newLine(q);
        put(up ? w[i].toUpperCase() : w[i], q.left, q.top, q.right, q.bottom);
      }
    }
  }
  // Text drawn inside form fields has no ranges: measured with a canvas, left-aligned or centred.
  const fieldText = (el, text, rect, centred) => {
    const s = getComputedStyle(el);
    cv.font = `${s.fontStyle} ${s.fontWeight} ${s.fontSize} ${s.fontFamily}`;
    const fs = parseFloat(s.fontSize);
    let x = rect.left + parseFloat(s.borderLeftWidth) + parseFloat(s.paddingLeft);
    if (centred) x = (rect.left + rect.right) / 2 - cv.measureText(text).width / 2;
    let top = (rect.top + rect.bottom) / 2 - fs * 0.58;
    if (el.tagName === 'TEXTAREA') top = rect.top + parseFloat(s.borderTopWidth) + parseFloat(s.paddingTop);
    const right = rect.right - parseFloat(s.paddingRight);
    line++; word++;
    for (let i = 0; i < text.length && i < 60; i++) {
      const a = x + cv.measureText(text.slice(0, i)).width, b = x + cv.measureText(text.slice(0, i + 1)).width;
      if (/\s/.test(text[i])) { word++; continue; }
      if (b > right || a < 0 || b > W || top < 0 || top + fs * 1.16 > H) break;
      chars.push([text.codePointAt(i), r1(a), r1(top), r1(b), r1(top + fs * 1.16), word, line]);
    }
  };
  const clean = s => (s || '').replace(/\s+/g, ' ').trim();
  const targets = [], seen = new Set();
  const sel = 'a,button,input,select,textarea,summary,[role=button],[role=link],[role=tab],[role=checkbox],[role=switch],[role=menuitem],[role=radio],[onclick]';
  for (const el of document.querySelectorAll(sel)) {
    late ||= targets.length > 4000;
    if (late) break;
    const rs = el.getClientRects();
    if (!rs.length) continue;
    let b = el.getBoundingClientRect();
    const tag = el.tagName, type = (el.getAttribute('type') || '').toLowerCase(), role = el.getAttribute('role') || '';
    if (b.bottom < 0 || b.top > H || b.right < 0 || b.left > W) continue;
    if (tag === 'INPUT' && type === 'hidden') continue;
    if (!shownCached(el)) continue;
    let kind = 'link';
    if (tag === 'BUTTON' || role === 'button' || /^(submit|button|reset|image)$/.test(type)) kind = 'button';
    if (tag === 'INPUT' && !/^(submit|button|reset|image|checkbox|radio|range|color|file)$/.test(type)) kind = 'field';
    if (tag === 'TEXTAREA') kind = 'field';
    if (type === 'checkbox' || role === 'checkbox' || role === 'switch') kind = 'checkbox';
    if (type === 'radio' || role === 'radio') kind = 'radio';
    if (tag === 'SELECT') kind = 'select';
    if (role === 'tab') kind = 'tab';
    if (role === 'menuitem') kind = 'menu item';
    if (/^(range|color|file)$/.test(type)) continue;
    if (el.querySelector && kind === 'link' && el.querySelector('a,button,input,select')) continue;
    const s = getComputedStyle(el);
    let drawn = '', isText = true;
    if (tag === 'INPUT' && kind === 'button') { drawn = clean(el.value); if (drawn) fieldText(el, drawn, b, true); }
    else if (kind === 'field') {
      drawn = clean(el.value) || clean(el.placeholder);
      if (type === 'password' && el.value) drawn = '';
      if (drawn) fieldText(el, drawn, b, false);
    } else if (kind === 'select') {
      drawn = clean(el.selectedOptions && el.selectedOptions[0] && el.selectedOptions[0].text);
      if (drawn) fieldText(el, drawn, b, false);
    } else if (kind !== 'checkbox' && kind !== 'radio') drawn = clean(el.innerText);
    let name = clean(el.getAttribute('aria-label'));
    let label = '';
    if (el.labels && el.labels.length) label = clean(el.labels[0].innerText);
    if (!name && label) name = label;
    if (!name && drawn && !(kind === 'field' && el.value)) name = drawn;
    if (!name) name = clean(el.getAttribute('title')) || clean(el.getAttribute('placeholder'));
    if (!name) { const im = el.querySelector && el.querySelector('img[alt],svg[aria-label]'); if (im) name = clean(im.getAttribute('alt') || im.getAttribute('aria-label')); }
    if (!name || name.length > 48 || !/[A-Za-z0-9]/.test(name)) continue;
    isText = !!drawn && drawn.toLowerCase().includes(name.toLowerCase());
    // Inline elements broken over lines have several boxes; their bounding box would cover others' text.
    if (rs.length > 1 && s.display === 'inline') {
      const tall = Math.max(...[...rs].map(r => r.height));
      if (b.height > 1.6 * tall) continue;
    }
    if (isText && s.display === 'inline' && /\n/.test((el.innerText || '').trim())) continue;
    const x0 = Math.max(0, b.left), y0 = Math.max(0, b.top), x1 = Math.min(W, b.right), y1 = Math.min(H, b.bottom);
    if (x1 - x0 < 6 || y1 - y0 < 6 || (x1 - x0) * (y1 - y0) < 0.7 * b.width * b.height) continue;
    if ((x1 - x0) * (y1 - y0) > 0.2 * W * screen) continue;
    const top = document.elementFromPoint((x0 + x1) / 2, (y0 + y1) / 2);
    if (!top || !(top === el || el.contains(top) || (top.contains(el) && top.tagName === 'LABEL'))) continue;
    const key = [x0, y0, x1, y1].map(Math.round).join();
    if (seen.has(key)) continue;
    seen.add(key);
    targets.push({ name, kind, text: isText, drawn: drawn.slice(0, 60), box: [r1(x0), r1(y0), r1(x1), r1(y1)] });
  }
  const count = {};
  for (const t of targets) { const k = t.name.toLowerCase(); count[k] = (count[k] || 0) + 1; }
  for (const t of targets) t.unique = count[t.name.toLowerCase()] === 1;
  const language = document.documentElement.lang.slice(0, 2).toLowerCase();
  return { width: W, height: H, screen, language, late, chars, targets };
})
