/** Small helpers for promises that an `AbortSignal` ends. */

/** The promise's outcome, or the signal's reason as soon as it aborts. What the promise does later is ignored. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** Waits; an abort ends it at once with the signal's reason. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const done = () => {
      signal?.removeEventListener('abort', abort);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    signal?.addEventListener('abort', abort, { once: true });
  });
}

/** A signal that follows all of these, without relying on `AbortSignal.any`. `release` lets go of them. */
export function follow(...signals: (AbortSignal | undefined)[]): { controller: AbortController; release(): void } {
  const controller = new AbortController();
  const undo: (() => void)[] = [];
  for (const signal of signals) {
    if (!signal) continue;
    const abort = () => controller.abort(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    undo.push(() => signal.removeEventListener('abort', abort));
  }
  return { controller, release: () => undo.forEach((undo) => undo()) };
}

/** Runs tasks one after the other. */
export class Queue {
  #last: Promise<unknown> = Promise.resolve();
  #length = 0;

  /** Whether nothing runs or waits. */
  get idle(): boolean {
    return this.#length === 0;
  }

  /** The task's outcome, once those before it have settled. An abort before its turn rejects at once, and skips it. */
  run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    let started = false;
    this.#length += 1;
    const turn = this.#last
      .then(() => {
        signal?.throwIfAborted();
        started = true;
        return task();
      })
      .finally(() => (this.#length -= 1));
    this.#last = turn.catch(() => undefined);
    if (!signal) return turn;
    return new Promise<T>((resolve, reject) => {
      const abort = () => {
        if (!started) reject(signal.reason);
      };
      if (signal.aborted) abort();
      signal.addEventListener('abort', abort, { once: true });
      turn.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
    });
  }

  /** Settles when all that was queued so far has. */
  drained(): Promise<void> {
    return this.#last.then(() => undefined);
  }
}

/** Lets at most so many tasks run at once; the others wait in order. */
export class Semaphore {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(slots: number) {
    this.#free = slots;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((go) => this.#waiting.push(go));
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}
