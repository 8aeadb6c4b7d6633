/**
 * Hands out ranges of a model's files. Chunks come from the store or, several at a time, from the network; each is
 * checked before anyone sees it. Only a few chunks are in memory at once, whatever the model's size.
 */

import { abortable, Semaphore } from './abort.js';
import type { Source } from './bridge.js';
import { IntegrityError, ModelError, QuotaError } from './errors.js';
import type { Chunk, ListedFile, Listing } from './listing.js';
import { sha256 } from './manifest.js';
import type { Network } from './network.js';
import { readExactly, tooShort } from './network.js';
import type { ChunkStore } from './store.js';

export interface SourceOptions {
  /** Requests at once (default 4). */
  parallel?: number;
  /** Chunks that are fetched before they are asked for (default 4). */
  readAhead?: number;
  /** Whether to put what comes over the network into the store (default true). */
  keep?: boolean;
  /** Whether to fail where a chunk cannot be kept (default false: go on without keeping). */
  required?: boolean;
  /** Whether chunks from the store are checked as well (default true). */
  verify?: boolean;
  signal?: AbortSignal;
  /** Bytes of this model that storage has taken, for errors. */
  taken?: () => Promise<number>;
  /** Hears why chunks are not kept any more. */
  onProblem?: (problem: string) => void;
  /** Hears of chunks that were damaged and are fetched again. */
  onRetry?: (error: unknown) => void;
}

/** How often a chunk is fetched whose bytes are wrong. */
const ATTEMPTS = 3;

export class ModelSource implements Source {
  readonly files: { name: string; bytes: number }[];
  /** Milliseconds that hashing took, altogether. */
  hashing = 0;
  /** The first failure that ended a read; the bridge may wrap it in an error of its own. */
  failure: unknown;

  readonly #listing: Map<string, ListedFile>;
  readonly #store: ChunkStore;
  readonly #network: Network;
  readonly #options: SourceOptions;
  readonly #slots: Semaphore;
  readonly #readAhead: number;
  readonly #abort = new AbortController();
  readonly #unfollow: () => void;
  /** Chunks that were just read or fetched ahead, the oldest first. */
  readonly #ready = new Map<string, Uint8Array<ArrayBuffer>>();
  /** Chunks on their way. */
  readonly #pending = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();
  /** Chunks on their way into the store. */
  readonly #keeping = new Set<Promise<void>>();
  /** Files of servers that know no ranges. */
  readonly #whole = new Map<string, WholeFile>();
  readonly #stored: ReadonlyMap<string, number>;
  #keep: boolean;
  #fatal: unknown;
  #told = false;

  /** `stored`: the sizes of what the store has. */
  constructor(
    listing: Listing,
    stored: ReadonlyMap<string, number>,
    store: ChunkStore,
    network: Network,
    options: SourceOptions = {},
  ) {
    this.files = listing.files.map(({ name, bytes }) => ({ name, bytes }));
    this.#listing = new Map(listing.files.map((file) => [file.name, file]));
    this.#stored = stored;
    this.#store = store;
    this.#network = network;
    this.#options = options;
    this.#slots = new Semaphore(options.parallel ?? 4);
    this.#readAhead = options.readAhead ?? 4;
    this.#keep = options.keep !== false && store.kind !== 'none';
    const abort = () => this.#abort.abort(options.signal?.reason);
    if (options.signal?.aborted) abort();
    options.signal?.addEventListener('abort', abort, { once: true });
    this.#unfollow = () => options.signal?.removeEventListener('abort', abort);
  }

  /** Bytes `start` to `end` (exclusive) of a file. */
  async read(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const { signal } = this.#abort;
    try {
      signal.throwIfAborted();
      const file = this.#listing.get(name);
      if (!file) throw new ModelError(`there is no file ${name} in this model`);
      if (!(Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && start <= end && end <= file.bytes)) {
        throw new ModelError(`${name}: bytes ${start} to ${end} are not within its ${file.bytes}`);
      }
      const out = new Uint8Array(end - start);
      const { chunks } = file;
      // All chunks of a file are of one size, but for the last.
      const size = chunks[0]?.end ?? 1;
      for (let index = Math.floor(start / size); index * size < end; index += 1) {
        const chunk = chunks[index]!;
        const asked = this.#chunk(file, chunk);
        for (const ahead of chunks.slice(index + 1, index + 1 + this.#readAhead)) {
          // Whoever asks for it then will see its failure.
          this.#chunk(file, ahead).catch(() => undefined);
        }
        const bytes = await abortable(asked, signal);
        if (this.#fatal) throw this.#fatal;
        const from = Math.max(start, chunk.start);
        out.set(bytes.subarray(from - chunk.start, Math.min(end, chunk.end) - chunk.start), from - start);
      }
      return out;
    } catch (error) {
      this.failure ??= error;
      throw error;
    }
  }

  /** Settles when all that was fetched has been kept; throws what made keeping fail, if it is required. */
  async settled(): Promise<void> {
    await Promise.all([...this.#keeping]);
    if (this.#fatal) throw this.#fatal;
  }

  /** Ends all requests and lets go of the chunks in memory. */
  close(): void {
    this.#unfollow();
    this.#abort.abort(new DOMException('the download is closed', 'AbortError'));
    this.#ready.clear();
    for (const whole of this.#whole.values()) whole.close();
  }

  #chunk(file: ListedFile, chunk: Chunk): Promise<Uint8Array<ArrayBuffer>> {
    const { key } = chunk;
    const ready = this.#ready.get(key);
    if (ready) {
      this.#remember(key, ready);
      return Promise.resolve(ready);
    }
    const before = this.#pending.get(key);
    if (before) return before;
    const pending = this.#slots
      .run(() => this.#obtain(file, chunk))
      .then((bytes) => {
        if (!this.#abort.signal.aborted) this.#remember(key, bytes);
        return bytes;
      })
      .finally(() => this.#pending.delete(key));
    this.#pending.set(key, pending);
    return pending;
  }

  /** Puts a chunk last in the row, and drops the first ones: those before the present read. */
  #remember(key: string, bytes: Uint8Array<ArrayBuffer>): void {
    this.#ready.delete(key);
    this.#ready.set(key, bytes);
    for (const oldest of this.#ready.keys()) {
      if (this.#ready.size <= this.#readAhead + 2) break;
      this.#ready.delete(oldest);
    }
  }

  async #obtain(file: ListedFile, chunk: Chunk): Promise<Uint8Array<ArrayBuffer>> {
    const { signal } = this.#abort;
    signal.throwIfAborted();
    const stored = await this.#fromStore(chunk);
    if (stored) return stored;
    for (let attempt = 1; ; attempt += 1) {
      signal.throwIfAborted();
      const bytes = await this.#fromNetwork(file, chunk, attempt > 1);
      const actual = await this.#hash(chunk, bytes);
      if (actual === chunk.sha256) {
        await this.#intoStore(chunk, bytes);
        return bytes;
      }
      const error = new IntegrityError(
        `${file.name}: bytes ${chunk.start} to ${chunk.end} differ from what the manifest promises`,
        file.name,
        chunk.sha256 ?? '',
        actual ?? '',
      );
      if (attempt === ATTEMPTS) throw error;
      this.#options.onRetry?.(error);
    }
  }

  /** The hash of a chunk's bytes; without a manifest nothing is computed, and everything fits. */
  async #hash(chunk: Chunk, bytes: Uint8Array<ArrayBuffer>): Promise<string | undefined> {
    if (!chunk.sha256) return undefined;
    const start = performance.now();
    const hash = await sha256(bytes);
    this.hashing += performance.now() - start;
    return hash;
  }

  async #fromStore(chunk: Chunk): Promise<Uint8Array<ArrayBuffer> | undefined> {
    let bytes: Uint8Array<ArrayBuffer> | undefined;
    try {
      bytes = await this.#store.get(chunk.key);
    } catch {
      // Unreadable is as good as absent.
    }
    if (!bytes) return undefined;
    const whole = bytes.length === chunk.end - chunk.start;
    if (whole && (this.#options.verify === false || (await this.#hash(chunk, bytes)) === chunk.sha256)) return bytes;
    await this.#store.delete(chunk.key).catch(() => undefined);
    this.#options.onRetry?.(new Error(`a kept chunk of ${chunk.end - chunk.start} bytes was damaged`));
    return undefined;
  }

  async #fromNetwork(file: ListedFile, chunk: Chunk, again: boolean): Promise<Uint8Array<ArrayBuffer>> {
    const { signal } = this.#abort;
    // What is kept here needs no second copy in the HTTP cache, whose lock on an address would also put parallel
    // requests in line. Wrong bytes may have come from that cache: past it then.
    const cache: RequestCache = again ? 'reload' : this.#keep ? 'no-store' : 'default';
    const length = chunk.end - chunk.start;
    let whole = this.#whole.get(file.name);
    if (!whole) {
      const only = length === file.bytes;
      const range = only ? {} : { range: [chunk.start, chunk.end - 1] as const };
      const bytes = await this.#network.request(file.url, { signal, cache, ...range }, async (reply) => {
        if (only || reply.status === 206) return readExactly(reply, length);
        reply.cancel();
        return undefined;
      });
      if (bytes) return bytes;
      whole = this.#whole.get(file.name);
      if (!whole) {
        whole = new WholeFile(file, this.#network, (passing, bytes) => this.#passing(passing, bytes));
        this.#whole.set(file.name, whole);
      }
    }
    return whole.get(file.chunks.indexOf(chunk), cache);
  }

  /** A chunk that came by although nobody waits for it: worth keeping, if it can be kept. */
  async #passing(chunk: Chunk, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (!this.#keep || this.#stored.has(chunk.key)) return;
    if ((await this.#hash(chunk, bytes)) === chunk.sha256) await this.#intoStore(chunk, bytes);
  }

  /** Begins to keep a chunk. At most as many as there are requests are on their way, because the slot waits. */
  async #intoStore(chunk: Chunk, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (!this.#keep) return;
    // An older write that is not done yet holds this one up, so that memory stays bounded on slow disks.
    while (this.#keeping.size >= (this.#options.parallel ?? 4)) await Promise.race(this.#keeping);
    const keeping: Promise<void> = this.#store
      .put(chunk.key, bytes)
      // Chromium may say only that a pipe broke when storage is full; the second time it says why.
      .catch((error: unknown) => (isFull(error) ? Promise.reject(error) : this.#store.put(chunk.key, bytes)))
      .catch((error: unknown) => this.#unkept(error))
      .finally(() => this.#keeping.delete(keeping));
    this.#keeping.add(keeping);
  }

  async #unkept(error: unknown): Promise<void> {
    this.#keep = false;
    const needed = this.files.reduce((sum, { bytes }) => sum + bytes, 0);
    const taken = (await this.#options.taken?.().catch(() => undefined)) ?? 0;
    const message = isFull(error)
      ? `storage is full: of the model's ${needed} bytes it has taken ${taken}`
      : `storage fails: ${error instanceof Error ? error.message : String(error)}`;
    if (this.#options.required) this.#fatal ??= new QuotaError(message, needed, taken, { cause: error });
    else if (!this.#told) this.#options.onProblem?.(message);
    this.#told = true;
  }
}

const isFull = (error: unknown) => error instanceof Error && error.name === 'QuotaExceededError';

/**
 * A file of a server that sends nothing but whole files: read once from its beginning, no faster than chunks are asked
 * for. A chunk that has already gone by, and was not kept, makes it start again.
 */
class WholeFile {
  readonly #file: ListedFile;
  readonly #network: Network;
  readonly #passing: (chunk: Chunk, bytes: Uint8Array<ArrayBuffer>) => Promise<void>;
  readonly #waiting = new Map<
    number,
    { resolve: (bytes: Uint8Array<ArrayBuffer>) => void; reject: (error: unknown) => void }
  >();
  /** The chunk that arrives next. */
  #position = 0;
  #running = false;
  #closed = false;
  #cache: RequestCache = 'default';
  #abort = new AbortController();
  #wake: () => void = () => undefined;

  constructor(
    file: ListedFile,
    network: Network,
    passing: (chunk: Chunk, bytes: Uint8Array<ArrayBuffer>) => Promise<void>,
  ) {
    this.#file = file;
    this.#network = network;
    this.#passing = passing;
  }

  /** Bytes of a chunk, unchecked. Each is asked for by one caller at a time. */
  get(index: number, cache: RequestCache): Promise<Uint8Array<ArrayBuffer>> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(index, { resolve, reject });
      this.#cache = cache;
      if (!this.#running) void this.#run();
      else if (index < this.#position) this.#abort.abort();
      this.#wake();
    });
  }

  close(): void {
    this.#closed = true;
    this.#abort.abort();
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#waiting.size > 0 && !this.#closed) {
      this.#abort = new AbortController();
      const { signal } = this.#abort;
      try {
        await this.#network.request(this.#file.url, { signal, cache: this.#cache }, async (reply) => {
          this.#position = 0;
          let piece: Uint8Array | undefined = new Uint8Array();
          for (const chunk of this.#file.chunks) {
            const bytes = new Uint8Array(chunk.end - chunk.start);
            let filled = 0;
            while (filled < bytes.length) {
              if (piece.length === 0) {
                piece = await reply.next();
                if (!piece) throw tooShort(reply, this.#file.bytes, chunk.start + filled);
              }
              const part: Uint8Array = piece.subarray(0, bytes.length - filled);
              bytes.set(part, filled);
              filled += part.length;
              piece = piece.subarray(part.length);
            }
            await this.#arrived(chunk, bytes, signal);
          }
        });
      } catch (error) {
        // An abort here means only to start again, or to stop.
        if (signal.aborted) continue;
        for (const { reject } of this.#waiting.values()) reject(error);
        this.#waiting.clear();
      }
    }
    for (const { reject } of this.#waiting.values()) reject(new DOMException('the download is closed', 'AbortError'));
    this.#waiting.clear();
    this.#running = false;
    this.#position = 0;
  }

  async #arrived(chunk: Chunk, bytes: Uint8Array<ArrayBuffer>, signal: AbortSignal): Promise<void> {
    const index = this.#position;
    this.#position += 1;
    const waiting = this.#waiting.get(index);
    this.#waiting.delete(index);
    if (waiting) waiting.resolve(bytes);
    else await this.#passing(chunk, bytes);
    if (this.#position === this.#file.chunks.length) return;
    while (this.#waiting.size === 0) {
      const woken = new Promise<void>((wake) => (this.#wake = wake));
      await abortable(woken, signal);
    }
    // Somebody waits for a chunk that has gone by already.
    if (Math.max(...this.#waiting.keys()) < this.#position) this.#abort.abort();
    signal.throwIfAborted();
  }
}
