// Stand-ins for what a browser has: a server behind `fetch`, the origin private file system, the Cache API.

import { createHash } from 'node:crypto';

export const hashOf = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** Bytes that differ everywhere, from a seed. */
export function noise(length, seed = 1) {
  const bytes = new Uint8Array(length);
  let state = seed >>> 0 || 1;
  for (let at = 0; at < length; at += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

/** A manifest with chunks of any size, so that tests stay small. */
export function manifestOf(files, chunk) {
  return {
    version: 1,
    chunk,
    files: Object.entries(files).map(([name, bytes]) => {
      const chunks = [];
      for (let start = 0; start < bytes.length; start += chunk) chunks.push(hashOf(bytes.subarray(start, start + chunk)));
      return { name, bytes: bytes.length, sha256: hashOf(bytes), chunks };
    }),
  };
}

/**
 * A server: `fetch` answers for `https://host/model/NAME`. `faults` is asked first: a function of the request's name and
 * range that returns a `Response`, throws, or returns nothing.
 */
export class FakeServer {
  base = 'https://host/model/';
  requests = [];
  ranges = true;
  faults = () => undefined;
  /** Requests that are unanswered now, and the most there ever were. */
  open = 0;
  mostOpen = 0;

  constructor(files) {
    this.files = files;
  }

  fetch = async (url, { headers = {}, signal, cache, method = 'GET' } = {}) => {
    const name = String(url).slice(this.base.length);
    const range = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '');
    const request = { name, cache, method, start: range ? Number(range[1]) : undefined, headers };
    this.requests.push(request);
    this.open += 1;
    this.mostOpen = Math.max(this.open, this.mostOpen);
    try {
      // A turn of the loop, so that parallel requests are.
      await new Promise((done) => setImmediate(done));
      signal?.throwIfAborted();
      const fault = await this.faults(request, signal);
      signal?.throwIfAborted();
      if (fault) return fault;
      const bytes = this.files[name];
      if (!bytes) return new Response('not found', { status: 404 });
      const etag = { etag: `"${hashOf(bytes).slice(0, 8)}"` };
      const whole = { ...etag, 'content-length': String(bytes.length) };
      if (method === 'HEAD') return new Response(null, { headers: whole });
      if (!range || !this.ranges) return new Response(streamOf(bytes, signal), { headers: whole });
      const [start, end] = [Number(range[1]), Math.min(bytes.length, Number(range[2]) + 1)];
      const part = { ...etag, 'content-length': String(end - start), 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` };
      return new Response(streamOf(bytes.subarray(start, end), signal), { status: 206, headers: part });
    } finally {
      this.open -= 1;
    }
  };

  count(name) {
    return this.requests.filter((request) => request.name === name).length;
  }
}

/** A body in pieces of 1000 bytes. `breakAfter`: an error after so many bytes. */
export function streamOf(bytes, signal, breakAfter = Infinity) {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (signal?.aborted) return controller.error(signal.reason);
      if (at >= breakAfter) return controller.error(new TypeError('connection reset'));
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(at, at + 1000));
      at += 1000;
    },
  });
}

const notFound = (name) => new DOMException(`${name} not found`, 'NotFoundError');

/** A folder of the origin private file system. `quota` bounds all files below it together. */
export class FakeFolder {
  kind = 'directory';
  entriesByName = new Map();

  constructor(root) {
    this.root = root ?? this;
    this.quota ??= Infinity;
  }

  async getDirectoryHandle(name, { create } = {}) {
    if (!this.entriesByName.has(name)) {
      if (!create) throw notFound(name);
      this.entriesByName.set(name, new FakeFolder(this.root));
    }
    return this.entriesByName.get(name);
  }

  async getFileHandle(name, { create } = {}) {
    if (!this.entriesByName.has(name)) {
      if (!create) throw notFound(name);
      this.entriesByName.set(name, new FakeFile(this.root));
    }
    return this.entriesByName.get(name);
  }

  async removeEntry(name) {
    if (!this.entriesByName.delete(name)) throw notFound(name);
  }

  async *entries() {
    yield* [...this.entriesByName];
  }

  async *keys() {
    yield* [...this.entriesByName.keys()];
  }

  get used() {
    let sum = 0;
    for (const entry of this.entriesByName.values()) sum += entry.kind === 'file' ? entry.bytes.length : entry.used;
    return sum;
  }

  /** All files by path, for assertions. */
  list(prefix = '') {
    const paths = {};
    for (const [name, entry] of this.entriesByName) {
      if (entry.kind === 'file') paths[prefix + name] = entry.bytes;
      else Object.assign(paths, entry.list(`${prefix}${name}/`));
    }
    return paths;
  }
}

class FakeFile {
  kind = 'file';
  bytes = new Uint8Array();

  constructor(root) {
    this.root = root;
  }

  async getFile() {
    return new Blob([this.bytes]);
  }

  async createWritable() {
    const pieces = [];
    return {
      write: async (bytes) => void pieces.push(bytes.slice()),
      close: async () => {
        const whole = new Uint8Array(await new Blob(pieces).arrayBuffer());
        if (this.root.used - this.bytes.length + whole.length > this.root.quota) {
          throw new DOMException('no room', 'QuotaExceededError');
        }
        this.bytes = whole;
      },
      abort: async () => undefined,
    };
  }
}

/** A browser's storage with OPFS. */
export function fakeStorage(quota = Infinity) {
  const root = new FakeFolder();
  root.quota = quota;
  return {
    root,
    storage: {
      getDirectory: async () => root,
      estimate: async () => ({ quota: Number.isFinite(root.quota) ? root.quota : 1e12, usage: root.used }),
    },
  };
}

/** The Cache API. */
export function fakeCaches() {
  const entries = new Map();
  return {
    entries,
    open: async () => ({
      match: async (url) => entries.get(String(url))?.clone(),
      put: async (url, response) => void entries.set(String(url), new Response(await response.arrayBuffer(), response)),
      delete: async (url) => entries.delete(String(url)),
      keys: async () => [...entries.keys()].map((url) => ({ url })),
    }),
  };
}
