/** Requests that are repeated when they fail in a way that may pass. */

import { follow, sleep } from './abort.js';
import { DownloadError } from './errors.js';
import { shown } from './location.js';

export interface NetworkOptions {
  /** Attempts for a request, the first included (default 6). */
  attempts?: number;
  /** Milliseconds without a byte after which an attempt has failed (default 30 000). */
  stall?: number;
  /** Hears of each attempt that failed and is repeated. */
  onRetry?: (error: unknown) => void;
  /** Hears how many bytes have arrived. */
  onBytes?: (bytes: number) => void;
  /** Instead of the browser's own. */
  fetch?: typeof fetch;
  /** Sent with every request. */
  headers?: Record<string, string>;
  credentials?: RequestCredentials;
  /** Replaced by tests. */
  sleep?: typeof sleep;
  random?: () => number;
}

export interface RequestOptions {
  signal?: AbortSignal;
  cache?: RequestCache;
  method?: 'GET' | 'HEAD';
  /** First and last byte, both inclusive. */
  range?: readonly [number, number];
  /** Fewer attempts than usual. */
  attempts?: number;
}

/** One attempt's failure. */
class Failure extends Error {
  readonly status: number;
  /** Whether another attempt may help. */
  readonly passing: boolean;
  /** Milliseconds that the server asks to wait. */
  readonly wait: number;

  constructor(message: string, status: number, passing: boolean, wait = 0, cause?: unknown) {
    super(message, { cause });
    this.status = status;
    this.passing = passing;
    this.wait = wait;
  }
}

/** An answer whose body is still to be read. */
export interface Reply {
  status: number;
  headers: Headers;
  /** The next piece of the body, or `undefined` at its end. */
  next(): Promise<Uint8Array | undefined>;
  /** Lets go of what has not been read. */
  cancel(): void;
}

export class Network {
  readonly #options: NetworkOptions;

  constructor(options: NetworkOptions = {}) {
    this.#options = options;
  }

  /**
   * Asks for a URL and hands the answer to `read`, again and again until that succeeds, a failure is final, or attempts
   * run out: then it throws {@link DownloadError}.
   */
  async request<T>(url: string, options: RequestOptions, read: (reply: Reply) => Promise<T>): Promise<T> {
    const attempts = options.attempts ?? this.#options.attempts ?? 6;
    for (let attempt = 1; ; attempt += 1) {
      options.signal?.throwIfAborted();
      try {
        return await this.#attempt(url, options, read);
      } catch (error) {
        options.signal?.throwIfAborted();
        // What `read` itself throws, such as a broken manifest, is no failure of the network.
        if (!(error instanceof Failure)) throw error;
        if (!error.passing || attempt >= attempts) {
          const times = attempt > 1 ? `, after ${attempt} attempts` : '';
          const said = withoutSecrets(error.message, url);
          const { cause } = error;
          const quiet = cause instanceof Error && withoutSecrets(cause.message, url) === cause.message;
          throw new DownloadError(`${shown(url)}: ${said}${times}`, shown(url), error.status, quiet ? { cause } : {});
        }
        this.#options.onRetry?.(error);
        // Exponential backoff with jitter, so that many tabs do not come back in step.
        const backoff = Math.min(10_000, 250 * 2 ** attempt) * (0.5 + (this.#options.random ?? Math.random)() / 2);
        await (this.#options.sleep ?? sleep)(Math.max(backoff, error.wait), options.signal);
      }
    }
  }

  async #attempt<T>(url: string, options: RequestOptions, read: (reply: Reply) => Promise<T>): Promise<T> {
    if (url.startsWith('data:')) return read(fromDataUrl(url));
    const { controller, release } = follow(options.signal);
    // A connection that says nothing for long is as good as broken.
    const stall = this.#options.stall ?? 30_000;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const awaited = async <R>(step: Promise<R>): Promise<R> => {
      timer = setTimeout(() => controller.abort(new Failure(`no byte for ${stall / 1000} s`, 0, true)), stall);
      try {
        return await step;
      } catch (error) {
        options.signal?.throwIfAborted();
        const reason: unknown = controller.signal.reason;
        if (reason instanceof Failure) throw reason;
        throw new Failure(error instanceof Error ? error.message : String(error), 0, true, 0, error);
      } finally {
        clearTimeout(timer);
      }
    };
    let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
    try {
      const headers: Record<string, string> = { ...this.#options.headers };
      if (options.range) headers.range = `bytes=${options.range[0]}-${options.range[1]}`;
      const init: RequestInit = {
        method: options.method ?? 'GET',
        headers,
        cache: options.cache ?? 'default',
        signal: controller.signal,
        ...(this.#options.credentials ? { credentials: this.#options.credentials } : {}),
      };
      const response = await awaited((this.#options.fetch ?? fetch)(url, init));
      const { status } = response;
      if (!response.ok) {
        const passing = status >= 500 || status === 429 || status === 408;
        const said = response.headers.get('retry-after');
        throw new Failure(`the server answered ${status}`, status, passing, passing ? waitOf(said) : 0);
      }
      reader = response.body?.getReader();
      const reply: Reply = {
        status,
        headers: response.headers,
        next: async () => {
          if (!reader) return undefined;
          const { done, value } = await awaited(reader.read());
          if (done) return undefined;
          this.#options.onBytes?.(value.length);
          return value;
        },
        cancel: () => controller.abort(),
      };
      return await read(reply);
    } finally {
      release();
      // Frees the connection if `read` stopped early; at the end of a body it does nothing.
      controller.abort();
      reader?.releaseLock();
    }
  }
}

/** A message that may repeat the address, without what is secret in it. */
function withoutSecrets(message: string, url: string): string {
  const query = /\?.*$/s.exec(url)?.[0];
  const plain = message.replaceAll(url, shown(url));
  return query ? plain.replaceAll(query, '') : plain;
}

/** Exactly `length` bytes of a body; fewer or more is a failure that may pass. */
export async function readExactly(reply: Reply, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  let filled = 0;
  for (let piece = await reply.next(); piece; piece = await reply.next()) {
    if (filled + piece.length > length) {
      throw new Failure(`expected ${length} bytes, but more arrived`, reply.status, true);
    }
    bytes.set(piece, filled);
    filled += piece.length;
  }
  if (filled < length) throw new Failure(`expected ${length} bytes, but the body ended after ${filled}`, reply.status, true);
  return bytes;
}

/** A body that ended too early. */
export function tooShort(reply: Reply, expected: number, got: number): Error {
  return new Failure(`expected ${expected} bytes, but the body ended after ${got}`, reply.status, true);
}

/** A whole body that is known to be small; more than `most` bytes is a failure. */
export async function readAll(reply: Reply, most: number): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for (let piece = await reply.next(); piece; piece = await reply.next()) {
    length += piece.length;
    if (length > most) throw new Failure(`more than ${most} bytes`, reply.status, false);
    pieces.push(piece);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** Milliseconds of a Retry-After header, seconds or a date; at most a minute, for nobody waits longer. */
function waitOf(header: string | null): number {
  if (!header) return 0;
  const seconds = Number(header);
  const milliseconds = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(milliseconds) ? Math.min(60_000, Math.max(0, milliseconds)) : 0;
}

/**
 * Bundlers put small files into the code as `data:` addresses. They are decoded here, because a content security policy
 * may forbid to fetch them.
 */
function fromDataUrl(url: string): Reply {
  const comma = url.indexOf(',');
  const body = decodeURIComponent(url.slice(comma + 1));
  const bytes = url.slice(0, comma).endsWith(';base64')
    ? Uint8Array.from(atob(body), (character) => character.charCodeAt(0))
    : new TextEncoder().encode(body);
  let read = false;
  return {
    status: 200,
    headers: new Headers({ 'content-length': String(bytes.length) }),
    next: async () => {
      if (read) return undefined;
      read = true;
      return bytes;
    },
    cancel: () => undefined,
  };
}
