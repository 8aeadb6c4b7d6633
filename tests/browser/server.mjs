// A static file server for tests: byte ranges, a strict content security policy, and faults on demand.
//
//   const server = await serve({ '/': 'web/demo', '/models/nano/': 'models/nano' });
//   const fault = server.inject({ match: /model\.safetensors/, times: 1, status: 503 });
//   … use server.url …
//   await fault.hit;             // a request has met the fault
//   await server.close();

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root; the folders of mounts are relative to it. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** What the package promises to work under; nothing inline, nothing evaluated, nothing from elsewhere. */
export const STRICT_CSP = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data: blob:",
  "style-src 'self'",
].join('; ');

/** The strict policy with the hash of a page's import map, which is inline as it has to be. */
export async function strictCsp(page) {
  const html = await readFile(resolve(ROOT, page), 'utf8');
  const map = /<script type="importmap">([^]*?)<\/script>/.exec(html)[1];
  const hash = createHash('sha256').update(map).digest('base64');
  return STRICT_CSP.replace("'wasm-unsafe-eval'", `'wasm-unsafe-eval' 'sha256-${hash}'`);
}

const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.ico': 'image/x-icon',
  '.jpg': 'image/jpeg',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.map': 'application/json; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.ts': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.webp': 'image/webp',
};

/**
 * Serves folders (and generated files) on a free port of the loopback interface.
 *
 * `mounts` maps prefixes of the path to folders; the longest prefix that fits wins, and where it has no such file the
 * next one is tried. `/` answers with `index.html`.
 *
 * @param {Record<string, string>} mounts
 * @param {{ csp?: string | null, headers?: Record<string, string>, port?: number }} [options]
 */
export async function serve(mounts, { csp = STRICT_CSP, headers: extra = {}, port = 0 } = {}) {
  const prefixes = Object.entries(mounts)
    .map(([prefix, folder]) => ({ prefix, folder: resolve(ROOT, folder) }))
    .sort((a, b) => b.prefix.length - a.prefix.length);
  /** Files that are computed: path -> { bytes, type, read(start, end) -> Buffer, etag }. */
  const generated = new Map();
  /** Every request, in order: { method, path, range, status }. */
  const requests = [];
  const faults = [];

  const find = async (path) => {
    const made = generated.get(path);
    if (made) return made;
    for (const { prefix, folder } of prefixes) {
      if (!path.startsWith(prefix)) continue;
      let file = normalize(join(folder, path.slice(prefix.length)));
      if (file !== folder && !file.startsWith(folder + sep)) continue;
      let info = await stat(file).catch(() => undefined);
      if (info?.isDirectory()) {
        file = join(file, 'index.html');
        info = await stat(file).catch(() => undefined);
      }
      if (!info?.isFile()) continue;
      return {
        file,
        bytes: info.size,
        type: TYPES[extname(file)] ?? 'application/octet-stream',
        etag: `"${info.size.toString(16)}-${Math.floor(info.mtimeMs).toString(16)}"`,
      };
    }
    return undefined;
  };

  const answer = async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
    const entry = { method: request.method, path, range: request.headers.range, status: 0 };
    requests.push(entry);
    const fault = faults.find((fault) => fault.left > 0 && fault.match(path, request));
    if (fault) {
      fault.left -= 1;
      fault.hits += 1;
      fault.meet(entry);
    }
    if (fault?.drop) return request.socket.destroy();
    // A request that hangs is answered as usual once the fault is released.
    if (fault?.hang) await fault.released;

    const headers = { 'cache-control': 'no-cache', ...(csp ? { 'content-security-policy': csp } : {}), ...extra };
    const send = (status, more = {}, body = '') => {
      entry.status = status;
      response.writeHead(status, { ...headers, ...more });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    if (fault?.status) return send(fault.status, { 'content-type': 'text/plain', ...fault.headers }, 'fault');
    const found = await find(path);
    if (!found) return send(404, { 'content-type': 'text/plain' }, 'not found');

    let start = 0;
    let end = found.bytes;
    const range = fault?.ignoreRange ? undefined : /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    if (range) {
      start = Number(range[1]);
      end = Math.min(found.bytes, range[2] ? Number(range[2]) + 1 : found.bytes);
      if (start >= end) return send(416, { 'content-range': `bytes */${found.bytes}` });
    }
    Object.assign(headers, {
      'content-type': found.type,
      'content-length': end - start,
      'accept-ranges': 'bytes',
      ...(found.etag ? { etag: found.etag } : {}),
      ...(range ? { 'content-range': `bytes ${start}-${end - 1}/${found.bytes}` } : {}),
    });
    entry.status = range ? 206 : 200;
    if (!range && found.etag && request.headers['if-none-match'] === found.etag && !fault) return send(304);
    response.writeHead(entry.status, headers);
    if (request.method === 'HEAD') return response.end();

    // `short`: the connection breaks after so many bytes. `corrupt`: one bit of the first byte is flipped.
    let left = fault?.short ?? Infinity;
    let flip = fault?.corrupt ?? false;
    const pieces = found.read
      ? generate(found, start, end)
      : end > start
        ? createReadStream(found.file, { start, end: end - 1 })
        : [];
    for await (let piece of pieces) {
      if (response.destroyed) return;
      if (flip) {
        piece = Buffer.from(piece);
        piece[0] ^= 1;
        flip = false;
      }
      if (piece.length > left) {
        response.write(piece.subarray(0, left), () => response.destroy());
        return;
      }
      left -= piece.length;
      if (!response.write(piece)) {
        await new Promise((done) => {
          const go = () => {
            response.off('drain', go).off('close', go);
            done();
          };
          response.on('drain', go).on('close', go);
        });
      }
    }
    response.end();
  };

  const server = createServer((request, response) => {
    answer(request, response).catch((error) => {
      if (!response.headersSent) response.writeHead(500, { 'content-type': 'text/plain' });
      response.end(String(error));
    });
  });
  await new Promise((done, fail) => server.once('error', fail).listen(port, '127.0.0.1', done));

  return {
    /** `http://localhost:PORT/`: a secure context, so that WebGPU is there. */
    url: `http://localhost:${server.address().port}/`,
    requests,
    /** Requests whose path fits. */
    count: (match) => requests.filter(({ path }) => match.test(path)).length,
    /** Serves a computed file: `read(start, end)` yields its bytes as a `Buffer`. */
    generate: (path, file) => generated.set(path, { type: 'application/octet-stream', ...file }),
    /**
     * The next `times` requests whose path matches meet a fault: `status` (with `headers`), `drop` (connection broken
     * before any answer), `short` (after so many bytes), `corrupt` (one bit), `ignoreRange` (200 with the whole file),
     * `hang` (no answer until `release()`). `hit` settles with the first such request.
     *
     * @param {{ match: RegExp | ((path: string, request: import('node:http').IncomingMessage) => boolean),
     *   times?: number, status?: number, headers?: Record<string, string>, drop?: boolean, short?: number,
     *   corrupt?: boolean, ignoreRange?: boolean, hang?: boolean }} options
     */
    inject({ match, times = Infinity, ...what }) {
      let meet, release;
      const fault = {
        ...what,
        match: match instanceof RegExp ? (path) => match.test(path) : match,
        left: times,
        hits: 0,
        hit: new Promise((done) => (meet = done)),
        released: new Promise((done) => (release = done)),
        /** Ends the fault, and lets hanging requests go on. */
        release() {
          fault.left = 0;
          release();
        },
      };
      fault.meet = meet;
      faults.push(fault);
      return fault;
    },
    /** Ends all faults and forgets the requests. */
    reset() {
      for (const fault of faults.splice(0)) fault.release();
      requests.length = 0;
    },
    async close() {
      for (const fault of faults.splice(0)) fault.release();
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

/** The tests' own page with both packages; `more` mounts. */
export async function servePages(more = {}) {
  const pages = 'tests/browser/pages';
  const mounts = { '/': pages, '/dist/': 'web/js/dist', '/nano/': 'web/nano', '/samples/': 'models/nano/samples' };
  return serve({ ...mounts, ...more }, { csp: await strictCsp(`${pages}/index.html`) });
}

/** A generated file in pieces, so that no large range is ever whole in memory. */
function* generate(file, start, end) {
  const piece = 1 << 20;
  for (let at = start; at < end; at += piece) yield file.read(at, Math.min(end, at + piece));
}
