/**
 * Where downloaded chunks are kept. Each chunk is an entry of its own, addressed by its SHA-256: two tabs, two versions
 * of a model and a download that goes on later cannot get in each other's way.
 */

/** What is kept of one model. */
export interface StoredListing {
  /** The model's {@link Location.id}. */
  location: string;
  /** SHA-256 of its manifest, if it has one. */
  manifest?: string;
  files: { name: string; bytes: number; chunks: { key: string; start: number; end: number; sha256?: string }[] }[];
}

export interface ChunkStore {
  readonly kind: 'opfs' | 'cache-api' | 'memory' | 'none';
  /** A chunk's bytes, unchecked, or `undefined`. */
  get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Keeps a chunk, wholly or not at all. Throws a `QuotaExceededError` where storage is full. */
  put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  delete(key: string): Promise<void>;
  /** Sizes of all chunks, by key. */
  sizes(): Promise<Map<string, number>>;
  /** The models of which something is kept. */
  records(): Promise<StoredListing[]>;
  /** `name` is a file name made of the location. */
  putRecord(name: string, record: StoredListing): Promise<void>;
  deleteRecord(name: string): Promise<void>;
}

/** What a browser offers to keep files in. */
export interface StorageEnvironment {
  storage?: Pick<StorageManager, 'getDirectory' | 'estimate'> | undefined;
  caches?: Pick<CacheStorage, 'open'> | undefined;
}

/** This browser's. Reading `caches` throws in a sandboxed frame. */
export function environment(): StorageEnvironment {
  let caches: CacheStorage | undefined;
  try {
    caches = globalThis.caches;
  } catch {
    // No access to storage here.
  }
  return { storage: globalThis.navigator?.storage, caches };
}

/** The best store that works here. */
export async function openStore({ storage, caches }: StorageEnvironment = environment()): Promise<ChunkStore> {
  try {
    if (storage?.getDirectory) return await OpfsStore.open(await storage.getDirectory());
  } catch {
    // Private windows of some browsers refuse; others lack createWritable.
  }
  try {
    if (caches) return new CacheApiStore(await caches.open('fovea'));
  } catch {
    // Private windows refuse this as well.
  }
  return new MemoryStore();
}

/** Whether a name is a chunk's: unfinished files of a browser have others. */
const isKey = (name: string) => /^[0-9a-f]{64}$/.test(name);

/** Files in the origin private file system: `fovea/chunks/<key>` and `fovea/models/<name>`. */
export class OpfsStore implements ChunkStore {
  readonly kind = 'opfs';
  readonly #chunks: FileSystemDirectoryHandle;
  readonly #models: FileSystemDirectoryHandle;

  private constructor(chunks: FileSystemDirectoryHandle, models: FileSystemDirectoryHandle) {
    this.#chunks = chunks;
    this.#models = models;
  }

  static async open(root: FileSystemDirectoryHandle): Promise<OpfsStore> {
    const fovea = await root.getDirectoryHandle('fovea', { create: true });
    const chunks = await fovea.getDirectoryHandle('chunks', { create: true });
    const models = await fovea.getDirectoryHandle('models', { create: true });
    const probe = await fovea.getFileHandle('probe', { create: true });
    if (typeof probe.createWritable !== 'function') throw new TypeError('no createWritable here');
    return new OpfsStore(chunks, models);
  }

  get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return readFile(this.#chunks, key);
  }

  put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    return writeFile(this.#chunks, key, bytes);
  }

  delete(key: string): Promise<void> {
    return removeFile(this.#chunks, key);
  }

  async sizes(): Promise<Map<string, number>> {
    const sizes = new Map<string, number>();
    const files: Promise<void>[] = [];
    for await (const [name, handle] of this.#chunks.entries()) {
      if (handle.kind !== 'file' || !isKey(name)) continue;
      const file = (handle as FileSystemFileHandle).getFile();
      // A file that another tab deletes meanwhile is none.
      files.push(file.then(({ size }) => void sizes.set(name, size)).catch(() => undefined));
    }
    await Promise.all(files);
    return sizes;
  }

  async records(): Promise<StoredListing[]> {
    const records: StoredListing[] = [];
    for await (const name of this.#models.keys()) {
      const bytes = await readFile(this.#models, name);
      const record = bytes && parseRecord(bytes);
      if (record) records.push(record);
    }
    return records;
  }

  putRecord(name: string, record: StoredListing): Promise<void> {
    return writeFile(this.#models, name, new TextEncoder().encode(JSON.stringify(record)));
  }

  deleteRecord(name: string): Promise<void> {
    return removeFile(this.#models, name);
  }
}

const isNotFound = (error: unknown) => error instanceof Error && error.name === 'NotFoundError';

async function readFile(folder: FileSystemDirectoryHandle, name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    const file = await (await folder.getFileHandle(name)).getFile();
    return new Uint8Array(await file.arrayBuffer());
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** What is written appears when the file is closed, all at once. */
async function writeFile(folder: FileSystemDirectoryHandle, name: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const handle = await folder.getFileHandle(name, { create: true });
  try {
    const writable = await handle.createWritable();
    try {
      await writable.write(bytes);
      await writable.close();
    } catch (error) {
      await writable.abort().catch(() => undefined);
      throw error;
    }
  } catch (error) {
    // Creating the handle has made an empty file; another tab may have filled it by now.
    const size = await handle.getFile().then(
      (file) => file.size,
      () => 0,
    );
    if (size === 0) await removeFile(folder, name).catch(() => undefined);
    throw error;
  }
}

async function removeFile(folder: FileSystemDirectoryHandle, name: string): Promise<void> {
  try {
    await folder.removeEntry(name);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

function parseRecord(bytes: Uint8Array): StoredListing | undefined {
  try {
    const record = JSON.parse(new TextDecoder().decode(bytes)) as StoredListing;
    return typeof record.location === 'string' && Array.isArray(record.files) ? record : undefined;
  } catch {
    // Not ours, or of another version: as if it were not there.
    return undefined;
  }
}

/** Entries of the Cache API, under addresses that no server has. */
export class CacheApiStore implements ChunkStore {
  readonly kind = 'cache-api';
  readonly #cache: Pick<Cache, 'match' | 'put' | 'delete' | 'keys'>;

  constructor(cache: Pick<Cache, 'match' | 'put' | 'delete' | 'keys'>) {
    this.#cache = cache;
  }

  async #read(url: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const response = await this.#cache.match(url);
    return response && new Uint8Array(await response.arrayBuffer());
  }

  #write(url: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    return this.#cache.put(url, new Response(bytes, { headers: { 'content-length': String(bytes.length) } }));
  }

  get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.#read(CHUNKS + key);
  }

  put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    return this.#write(CHUNKS + key, bytes);
  }

  async delete(key: string): Promise<void> {
    await this.#cache.delete(CHUNKS + key);
  }

  async sizes(): Promise<Map<string, number>> {
    const sizes = new Map<string, number>();
    for (const { url } of await this.#cache.keys()) {
      if (!url.startsWith(CHUNKS)) continue;
      const response = await this.#cache.match(url);
      if (response) sizes.set(url.slice(CHUNKS.length), Number(response.headers.get('content-length')));
    }
    return sizes;
  }

  async records(): Promise<StoredListing[]> {
    const records: StoredListing[] = [];
    for (const { url } of await this.#cache.keys()) {
      const bytes = url.startsWith(MODELS) ? await this.#read(url) : undefined;
      const record = bytes && parseRecord(bytes);
      if (record) records.push(record);
    }
    return records;
  }

  putRecord(name: string, record: StoredListing): Promise<void> {
    return this.#write(MODELS + name, new TextEncoder().encode(JSON.stringify(record)));
  }

  async deleteRecord(name: string): Promise<void> {
    await this.#cache.delete(MODELS + name);
  }
}

// `.invalid` is reserved never to exist.
const CHUNKS = 'https://fovea.invalid/chunks/';
const MODELS = 'https://fovea.invalid/models/';

/** As long as the page lives, and only so much. */
export class MemoryStore implements ChunkStore {
  readonly kind = 'memory';
  readonly #most: number;
  readonly #chunks = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly #records = new Map<string, StoredListing>();
  #bytes = 0;

  constructor(most = 128 * 1024 * 1024) {
    this.#most = most;
  }

  async get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.#chunks.get(key);
  }

  async put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (this.#chunks.has(key)) return;
    if (this.#bytes + bytes.length > this.#most) {
      throw new DOMException(`no more than ${this.#most} bytes are kept in memory`, 'QuotaExceededError');
    }
    this.#chunks.set(key, bytes);
    this.#bytes += bytes.length;
  }

  async delete(key: string): Promise<void> {
    this.#bytes -= this.#chunks.get(key)?.length ?? 0;
    this.#chunks.delete(key);
  }

  async sizes(): Promise<Map<string, number>> {
    return new Map([...this.#chunks].map(([key, bytes]) => [key, bytes.length]));
  }

  async records(): Promise<StoredListing[]> {
    return [...this.#records.values()];
  }

  async putRecord(name: string, record: StoredListing): Promise<void> {
    this.#records.set(name, record);
  }

  async deleteRecord(name: string): Promise<void> {
    this.#records.delete(name);
  }
}

/** Keeps nothing. */
export class NoStore implements ChunkStore {
  readonly kind = 'none';
  async get(): Promise<undefined> {}
  async put(): Promise<void> {}
  async delete(): Promise<void> {}
  async sizes(): Promise<Map<string, number>> {
    return new Map();
  }
  async records(): Promise<StoredListing[]> {
    return [];
  }
  async putRecord(): Promise<void> {}
  async deleteRecord(): Promise<void> {}
}
