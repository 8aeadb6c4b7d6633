/** Which files a model has, how long they are, and how their chunks are checked and kept. */

import { DownloadError, IntegrityError, ModelError } from './errors.js';
import type { Location } from './location.js';
import { shown, urlOf } from './location.js';
import { CHUNK, isFileName, LARGEST_FILE, MOST_FILES, parseManifest, sha256 } from './manifest.js';
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

/** What is kept of a model, and where its files are just now. */
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
  'vocab.json',
  'merges.txt',
  'added_tokens.json',
  'special_tokens_map.json',
  'chat_template.json',
  'chat_template.jinja',
  'additional_chat_templates/tool_use.jinja',
];

/** Milliseconds to wait for a manifest's news when a kept one would do. */
const PATIENCE = 3000;
/** The largest manifest or index that is read. */
const MOST = 64 * 1024 * 1024;

export interface ListingOptions {
  signal?: AbortSignal;
  /** Milliseconds to wait for news about a model that is kept (default 3000). */
  patience?: number;
  /** SHA-256 that the manifest must have, in hexadecimal. */
  integrity?: string | undefined;
}

/**
 * Finds a model's files: from its manifest, or else by asking for what a published checkpoint has. The network comes
 * first, so that new versions are seen; without it, or where it is slow, what was kept serves.
 */
export async function resolveListing(
  location: Location,
  network: Network,
  store: ChunkStore,
  { signal, patience = PATIENCE, integrity }: ListingOptions = {},
): Promise<Listing> {
  const kept = (await store.records()).find((record) => record.location === location.id);
  // With a manifest of a known hash there is no news: what was kept of that one is it.
  if (integrity !== undefined && kept?.manifest === integrity) return listingOf(kept, location);
  if (!kept || integrity !== undefined) return find(location, network, { signal, integrity });
  const controller = new AbortController();
  const late = setTimeout(() => controller.abort(new DownloadError('no answer in time', location.id, 0)), patience);
  const abort = () => controller.abort(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    signal?.throwIfAborted();
    return await find(location, network, { signal: controller.signal, attempts: 1 });
  } catch {
    signal?.throwIfAborted();
    // Unreachable, broken, or a captive portal's page: go on with what is kept.
    return listingOf(kept, location);
  } finally {
    clearTimeout(late);
    signal?.removeEventListener('abort', abort);
  }
}

/** What was kept, with the addresses that the files have now. */
function listingOf(kept: StoredListing, location: Location): Listing {
  const files = kept.files.map((file): ListedFile => {
    const url = urlOf(location, file.name);
    if (url === undefined) throw new ModelError(`${location.id}: what was kept of it lists ${file.name}, which it does not have`);
    return { ...file, url };
  });
  return { ...kept, files };
}

/** Keeps the listing for the next time, and deletes chunks that only its predecessor had. */
export async function keepListing(listing: Listing, store: ChunkStore): Promise<void> {
  const records = await store.records();
  const before = records.find((record) => record.location === listing.location);
  const name = await recordName(listing.location);
  // Without addresses: the next load has its own, and a query may be a secret.
  const kept: StoredListing = { ...listing, files: listing.files.map(({ name, bytes, chunks }) => ({ name, bytes, chunks })) };
  if (before && JSON.stringify(before) === JSON.stringify(kept)) return;
  await store.putRecord(name, kept);
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

async function find(
  location: Location,
  network: Network,
  { signal, attempts, integrity }: { signal?: AbortSignal | undefined; attempts?: number; integrity?: string | undefined },
): Promise<Listing> {
  const options = { cache: 'no-cache' as const, ...(signal ? { signal } : {}), ...(attempts ? { attempts } : {}) };
  const bytesOf = async (name: string): Promise<Uint8Array<ArrayBuffer> | undefined> => {
    const url = urlOf(location, name);
    if (!url) return undefined;
    return absentIfMissing(() =>
      network.request(url, options, async (reply) => {
        // Servers of single-page applications answer everything with their page.
        return isPage(reply) ? undefined : readAll(reply, MOST);
      }),
    );
  };
  const parsed = (name: string, bytes: Uint8Array): unknown => {
    try {
      return JSON.parse(new TextDecoder().decode(bytes));
    } catch (cause) {
      throw new ModelError(`${location.id}: ${name} is not JSON`, { cause });
    }
  };

  const manifest = await bytesOf('manifest.json');
  if (manifest === undefined && integrity !== undefined) {
    throw new ModelError(`${location.id}: there is no manifest.json, whose hash the option \`integrity\` gives`);
  }
  if (manifest !== undefined) {
    const hash = await sha256(manifest);
    if (integrity !== undefined && hash !== integrity) {
      const text = `${location.id}: manifest.json is not the one whose hash the option \`integrity\` gives`;
      throw new IntegrityError(text, 'manifest.json', integrity, hash);
    }
    const { chunk, files } = parseManifest(parsed('manifest.json', manifest), `${location.id}: manifest.json`);
    return {
      location: location.id,
      manifest: hash,
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
  const INDEX = 'model.safetensors.index.json';
  const index = await bytesOf(INDEX);
  const names = [...SMALL_FILES];
  if (index === undefined) names.push('model.safetensors');
  else names.push(INDEX, ...shards(parsed(INDEX, index), location));
  const sizeOf = async (name: string) => {
    const url = urlOf(location, name);
    return url && absentIfMissing(() => probe(url, network, options));
  };
  const missing = (name: string) => {
    const served = location.urls ? ': a bundler has not copied it, or it is not served' : '';
    return new ModelError(`${location.id}: there is no ${name}${served}`);
  };
  // First: where it is missing, nothing else is looked for, nor said to be missing.
  const configuration = await sizeOf('config.json');
  if (!configuration) {
    if (!(await sizeOf('adapter_config.json'))) throw missing('config.json');
    throw new ModelError(`${location.id}: this is a PEFT adapter, not a whole model: merge it into its base model and use that`);
  }
  const files = await Promise.all(
    names.map(async (name): Promise<ListedFile | undefined> => {
      const url = urlOf(location, name);
      const size = name === 'config.json' ? configuration : await sizeOf(name);
      if (!url || !size) {
        if (SMALL_FILES.includes(name)) return undefined;
        throw missing(name);
      }
      const chunks: Chunk[] = [];
      for (let start = 0; start < size.bytes; start += CHUNK) {
        const end = Math.min(size.bytes, start + CHUNK);
        // The query may be a token that changes. Where nothing else tells versions apart, it counts.
        const address = size.version ? shown(url) : url;
        const named = new TextEncoder().encode(`${address}\n${size.version}\n${size.bytes}\n${start}`);
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
  if (names.length === 0 || names.length > MOST_FILES || !names.every(isFileName)) {
    throw new ModelError(`${location.id}: model.safetensors.index.json has no weight_map of 1 to ${MOST_FILES} file names`);
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
    for (let piece = await reply.next(); piece && bytes <= LARGEST_FILE; piece = await reply.next()) bytes += piece.length;
    return { bytes, version };
  });
  if (!answer) return undefined;
  const known = (bytes: number) => {
    if (Number.isSafeInteger(bytes) && bytes >= 0 && bytes <= LARGEST_FILE) return { ...answer, bytes };
    const address = shown(url);
    const text = Number.isNaN(bytes) ? 'the server does not tell the file\'s size' : `${bytes} bytes, more than ${LARGEST_FILE}`;
    throw new DownloadError(`${address}: ${text}`, address, 200);
  };
  if (!Number.isNaN(answer.bytes)) return known(answer.bytes);
  // Another origin's Content-Range can be hidden from us; Content-Length never is.
  const bytes = await network.request(url, { ...options, method: 'HEAD' }, async ({ headers }) =>
    Number(headers.get('content-length') ?? NaN),
  );
  return known(bytes);
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
