/** Which files a model has, how long they are, and how their chunks are checked and kept. */

import { DownloadError, ModelError } from './errors.js';
import type { Location } from './location.js';
import { urlOf } from './location.js';
import { CHUNK, isFileName, parseManifest, sha256 } from './manifest.js';
import type { Network, Reply } from './network.js';
import { readAll } from './network.js';
import type { ChunkStore, StoredListing } from './store.js';

/** A part of a file that is fetched, checked and kept as one. */
export interface Chunk {
  /** What it is kept under: its SHA-256, or without a manifest a hash of address, version and place. */
  key: string;
  start: number;
  /** Exclusive. */
  end: number;
  /** Absent without a manifest: then it is not checked. */
  sha256?: string;
}

export interface ListedFile {
  name: string;
  bytes: number;
  url: string;
  chunks: Chunk[];
}

export interface Listing extends StoredListing {
  files: ListedFile[];
}

/** Files of a published checkpoint beside its weights; only the first has to be there. */
export const SMALL_FILES = [
  'config.json',
  'generation_config.json',
  'preprocessor_config.json',
  'processor_config.json',
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'chat_template.json',
  'chat_template.jinja',
];

/** Milliseconds to wait for a manifest's news when a kept one would do. */
const PATIENCE = 3000;
/** The largest manifest or index that is read. */
const MOST = 64 * 1024 * 1024;

export interface ListingOptions {
  signal?: AbortSignal;
  /** Milliseconds to wait for news about a model that is kept (default 3000). */
  patience?: number;
}

/**
 * Finds a model's files: from its manifest, or else by asking for what a published checkpoint has. The network comes
 * first, so that new versions are seen; without it, or where it is slow, what was kept serves.
 */
export async function resolveListing(
  location: Location,
  network: Network,
  store: ChunkStore,
  { signal, patience = PATIENCE }: ListingOptions = {},
): Promise<Listing> {
  const records = (await store.records()) as Listing[];
  const kept = records.find((record) => record.location === location.id);
  if (!kept) return find(location, network, signal);
  const controller = new AbortController();
  const late = setTimeout(() => controller.abort(new DownloadError('no answer in time', location.id, 0)), patience);
  const abort = () => controller.abort(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    signal?.throwIfAborted();
    return await find(location, network, controller.signal, 1);
  } catch {
    signal?.throwIfAborted();
    // Unreachable, broken, or a captive portal's page: go on with what is kept. Its addresses may have changed since.
    return { ...kept, files: kept.files.map((file) => ({ ...file, url: urlOf(location, file.name) ?? file.url })) };
  } finally {
    clearTimeout(late);
    signal?.removeEventListener('abort', abort);
  }
}

/** Keeps the listing for the next time, and deletes chunks that only its predecessor had. */
export async function keepListing(listing: Listing, store: ChunkStore): Promise<void> {
  const records = await store.records();
  const before = records.find((record) => record.location === listing.location);
  const name = await recordName(listing.location);
  if (before && JSON.stringify(before) === JSON.stringify(listing)) return;
  await store.putRecord(name, listing);
  if (before) await sweep(before, store);
}

/** Deletes a model's record, and the chunks that no other model shares. */
export async function forget(record: StoredListing, store: ChunkStore): Promise<void> {
  await store.deleteRecord(await recordName(record.location));
  await sweep(record, store);
}

async function sweep(gone: StoredListing, store: ChunkStore): Promise<void> {
  const needed = new Set<string>();
  for (const { files } of await store.records()) {
    for (const { chunks } of files) for (const { key } of chunks) needed.add(key);
  }
  for (const { chunks } of gone.files) {
    for (const { key } of chunks) if (!needed.has(key)) await store.delete(key);
  }
}

async function recordName(location: string): Promise<string> {
  return `${await sha256(new TextEncoder().encode(location))}.json`;
}

async function find(location: Location, network: Network, signal?: AbortSignal, attempts?: number): Promise<Listing> {
  const options = { cache: 'no-cache' as const, ...(signal ? { signal } : {}), ...(attempts ? { attempts } : {}) };
  const json = async (name: string): Promise<unknown> => {
    const url = urlOf(location, name);
    if (!url) return undefined;
    const text = await absentIfMissing(() =>
      network.request(url, options, async (reply) => {
        // Servers of single-page applications answer everything with their page.
        if (isPage(reply)) return undefined;
        return new TextDecoder().decode(await readAll(reply, MOST));
      }),
    );
    if (text === undefined) return undefined;
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new ModelError(`${url}: this is not JSON`, { cause });
    }
  };

  const found = await json('manifest.json');
  if (found !== undefined) {
    const { chunk, files } = parseManifest(found, urlOf(location, 'manifest.json') ?? location.id);
    return {
      location: location.id,
      files: files.map(({ name, bytes, chunks }) => {
        const url = urlOf(location, name);
        if (!url) throw new ModelError(`${location.id}: the manifest lists ${name}, which this model does not have`);
        const cut = chunks.map((hash, index) => ({
          key: hash,
          start: index * chunk,
          end: Math.min(bytes, (index + 1) * chunk),
          sha256: hash,
        }));
        return { name, bytes, url, chunks: cut };
      }),
    };
  }

  // A published checkpoint, without a manifest.
  const index = await json('model.safetensors.index.json');
  const names = [...SMALL_FILES];
  if (index === undefined) names.push('model.safetensors');
  else names.push('model.safetensors.index.json', ...shards(index, location));
  const files = await Promise.all(
    names.map(async (name): Promise<ListedFile | undefined> => {
      const url = urlOf(location, name);
      const size = url && (await absentIfMissing(() => probe(url, network, options)));
      if (!size) {
        if (SMALL_FILES.indexOf(name) > 0) return undefined;
        throw new ModelError(`${location.id}: there is no ${name}`);
      }
      const chunks: Chunk[] = [];
      for (let start = 0; start < size.bytes; start += CHUNK) {
        const end = Math.min(size.bytes, start + CHUNK);
        const named = new TextEncoder().encode(`${url}\n${size.version}\n${size.bytes}\n${start}`);
        chunks.push({ key: await sha256(named), start, end });
      }
      return { name, bytes: size.bytes, url, chunks };
    }),
  );
  return { location: location.id, files: files.filter((file) => file !== undefined) };
}

function shards(index: unknown, location: Location): string[] {
  const map = (index as { weight_map?: unknown } | null)?.weight_map;
  const names = typeof map === 'object' && map !== null ? [...new Set(Object.values(map))] : [];
  if (names.length === 0 || !names.every(isFileName)) {
    throw new ModelError(`${location.id}: model.safetensors.index.json has no weight_map of file names`);
  }
  return (names as string[]).sort();
}

/** Bytes and version of a file, without fetching it. */
async function probe(
  url: string,
  network: Network,
  options: { cache: RequestCache; signal?: AbortSignal; attempts?: number },
): Promise<{ bytes: number; version: string } | undefined> {
  const answer = await network.request(url, { ...options, range: [0, 0] }, async (reply) => {
    if (isPage(reply)) return undefined;
    const { headers } = reply;
    const version = headers.get('etag') ?? headers.get('last-modified') ?? '';
    const total = Number(/\/(\d+)$/.exec(headers.get('content-range') ?? '')?.[1] ?? NaN);
    if (Number.isSafeInteger(total)) return { bytes: total, version };
    if (reply.status === 206) return { bytes: NaN, version };
    // The whole file comes. Its length is known beforehand unless it is compressed on the way.
    const length = headers.get('content-length');
    if (length !== null && !headers.get('content-encoding')) return { bytes: Number(length), version };
    let bytes = 0;
    for (let piece = await reply.next(); piece; piece = await reply.next()) bytes += piece.length;
    return { bytes, version };
  });
  if (!answer || !Number.isNaN(answer.bytes)) return answer;
  // Another origin's Content-Range can be hidden from us; Content-Length never is.
  const bytes = await network.request(url, { ...options, method: 'HEAD' }, async ({ headers }) =>
    Number(headers.get('content-length') ?? NaN),
  );
  if (!Number.isSafeInteger(bytes)) throw new DownloadError(`${url}: the server does not tell the file's size`, url, 200);
  return { ...answer, bytes };
}

const isPage = ({ headers }: Reply) => (headers.get('content-type') ?? '').startsWith('text/html');

/** `undefined` where the server says that there is no such file. S3 answers 403 for what it will not list. */
async function absentIfMissing<T>(request: () => Promise<T>): Promise<T | undefined> {
  try {
    return await request();
  } catch (error) {
    if (error instanceof DownloadError && [403, 404, 410].includes(error.status)) return undefined;
    throw error;
  }
}
