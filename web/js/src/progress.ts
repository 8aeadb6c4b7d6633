/** Counts bytes and tells how far loading is, about ten times a second. */

import type { CacheState, Progress } from './types.js';

/** Milliseconds between two reports. */
const PAUSE = 100;
/** Milliseconds over which the rate is taken. */
const WINDOW = 3000;

export class Tracker {
  phase: Progress['phase'] = 'open';
  loaded = 0;
  total = 0;
  downloaded = 0;
  retries = 0;
  /** Bytes that are to come over the network altogether. */
  missing = 0;
  cache: CacheState = { kind: 'none' };

  readonly #report: ((progress: Progress) => void) | undefined;
  readonly #now: () => number;
  /** Arrivals within the window: time, bytes. */
  readonly #arrivals: [number, number][] = [];
  #last = -Infinity;

  constructor(report?: (progress: Progress) => void, now: () => number = () => performance.now()) {
    this.#report = report;
    this.#now = now;
  }

  /** Bytes have arrived over the network. */
  arrived(bytes: number): void {
    this.downloaded += bytes;
    const now = this.#now();
    const last = this.#arrivals.at(-1);
    // Pieces of a few KiB are put together, so that the window stays short.
    if (last && now - last[0] < PAUSE / 2) last[1] += bytes;
    else this.#arrivals.push([now, bytes]);
    this.tell();
  }

  /** Reports, unless the last report was just now. `now` reports always. */
  tell(now = false): void {
    if (!this.#report) return;
    const time = this.#now();
    if (!now && time - this.#last < PAUSE) return;
    this.#last = time;
    this.#report(this.#progress(time));
  }

  #progress(time: number): Progress {
    while (this.#arrivals.length > 0 && time - this.#arrivals[0]![0] > WINDOW) this.#arrivals.shift();
    const bytes = this.#arrivals.reduce((sum, [, bytes]) => sum + bytes, 0);
    const span = this.#arrivals.length > 0 ? Math.max(PAUSE, time - this.#arrivals[0]![0]) : 0;
    const rate = span > 0 ? (bytes * 1000) / span : 0;
    const { phase, loaded, total, downloaded, retries } = this;
    const left = Math.max(0, this.missing - downloaded);
    const remaining = phase === 'ready' ? 0 : rate > 0 ? left / rate : undefined;
    return {
      phase,
      loaded: Math.min(loaded, total),
      total,
      downloaded,
      rate,
      ...(remaining === undefined ? {} : { remaining }),
      cache: { ...this.cache },
      retries,
    };
  }
}
