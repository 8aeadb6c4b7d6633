/** Calls across a message port: numbered requests, events while they run, aborts, and errors in their classes. */

import { DisposedError } from './errors.js';
import type { WireError } from './failures.js';
import { decodeError, encodeError, fromBridge } from './failures.js';
import type { CallContext, Emit, Events, Host, Listeners, Method, Params, Result } from './protocol.js';

type Request = { id: number; method: Method; params: unknown } | { id: number; abort: true };

type Reply =
  | { id: number; event: keyof Events; data: Events[keyof Events] }
  | { id: number; result: unknown }
  | { id: number; error: WireError }
  /** The engine broke down; nothing that was asked will be answered. */
  | { crash: WireError };

/** A worker, its scope, or a message port. */
export interface Port {
  postMessage(message: unknown, transfer: Transferable[]): void;
  addEventListener(type: 'message', listener: (event: MessageEvent) => void): void;
}

interface Pending {
  resolve(result: unknown): void;
  reject(error: unknown): void;
  listeners: Listeners;
}

/** The side that calls. */
export class Client {
  readonly #port: Port;
  readonly #pending = new Map<number, Pending>();
  readonly #onCrash: (error: Error) => void;
  #next = 1;
  #failed: unknown;

  constructor(port: Port, onCrash: (error: Error) => void) {
    this.#port = port;
    this.#onCrash = onCrash;
    port.addEventListener('message', ({ data }) => this.#receive(data as Reply));
  }

  /** An abort rejects at once with the signal's reason; the other side hears of it and stops. */
  call<M extends Method>(method: M, params: Params<M>, context: CallContext = {}): Promise<Result<M>> {
    const { signal, listeners = {}, transfer = [] } = context;
    return new Promise((resolve, reject) => {
      if (this.#failed) return reject(this.#failed);
      if (signal?.aborted) return reject(signal.reason);
      const id = this.#next;
      this.#next += 1;
      const abort = () => {
        this.#pending.delete(id);
        this.#port.postMessage({ id, abort: true } satisfies Request, []);
        reject(signal?.reason);
      };
      const done = () => signal?.removeEventListener('abort', abort);
      this.#port.postMessage({ id, method, params } satisfies Request, transfer);
      signal?.addEventListener('abort', abort, { once: true });
      this.#pending.set(id, {
        resolve: (result) => (done(), resolve(result as Result<M>)),
        reject: (error) => (done(), reject(error)),
        listeners,
      });
    });
  }

  /** Rejects everything that is under way, and whatever is called later. */
  fail(error: unknown): void {
    this.#failed ??= error;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(error);
  }

  #receive(reply: Reply): void {
    if ('crash' in reply) return this.#onCrash(decodeError(reply.crash));
    // An answer that crossed with an abort has nobody to hear it.
    const pending = this.#pending.get(reply.id);
    if (!pending) return;
    if ('event' in reply) {
      const listener = pending.listeners[reply.event] as ((data: Events[keyof Events]) => void) | undefined;
      return listener?.(reply.data);
    }
    this.#pending.delete(reply.id);
    if ('error' in reply) pending.reject(decodeError(reply.error));
    else pending.resolve(reply.result);
  }
}

/** The side that answers, for calls on `host`. Gives the way to tell that it broke down. */
export function answer(port: Port, host: Host): { crash(error: unknown): void } {
  const running = new Map<number, AbortController>();
  port.addEventListener('message', ({ data }) => {
    const request = data as Request;
    if ('abort' in request) {
      running.get(request.id)?.abort();
      return;
    }
    const { id, method, params } = request;
    const controller = new AbortController();
    running.set(id, controller);
    const send = (reply: Reply, transfer: Transferable[] = []) => port.postMessage(reply, transfer);
    const emit: Emit = (event, data) => {
      if (!controller.signal.aborted) send({ id, event, data });
    };
    // Who calls `method` gives its parameters; TypeScript cannot follow that across the port.
    Promise.resolve()
      .then(() => host.call(method, params as never, { signal: controller.signal, emit }))
      .then(
        (result) => send({ id, result }),
        // Of a call that was aborted nobody hears: what else goes wrong has a code.
        (error: unknown) => send({ id, error: encodeError(fromBridge(error)) }),
      )
      .finally(() => running.delete(id));
  });
  return {
    crash: (error) => port.postMessage({ crash: encodeError(error) } satisfies Reply, []),
  };
}

/** The same calls on a host in the same thread. */
export class Direct {
  readonly #host: Host;
  readonly #pending = new Set<(error: unknown) => void>();
  #failed: unknown;

  constructor(host: Host) {
    this.#host = host;
  }

  call<M extends Method>(method: M, params: Params<M>, context: CallContext = {}): Promise<Result<M>> {
    const { signal, listeners = {} } = context;
    return new Promise((resolve, reject) => {
      if (this.#failed) return reject(this.#failed);
      if (signal?.aborted) return reject(signal.reason);
      const controller = new AbortController();
      const stop = (reason: unknown) => {
        controller.abort(reason);
        reject(reason);
      };
      const abort = () => stop(signal?.reason);
      signal?.addEventListener('abort', abort, { once: true });
      this.#pending.add(stop);
      const emit: Emit = (event, data) => {
        if (controller.signal.aborted) return;
        try {
          (listeners[event] as ((data: Events[keyof Events]) => void) | undefined)?.(data);
        } catch (error) {
          // As with a worker, what a listener throws is its page's business and not the call's.
          reportError(error);
        }
      };
      Promise.resolve()
        .then(() => this.#host.call(method, params, { signal: controller.signal, emit }))
        .then(resolve, (error: unknown) => reject(controller.signal.aborted ? error : fromBridge(error)))
        .finally(() => {
          signal?.removeEventListener('abort', abort);
          this.#pending.delete(stop);
        });
    });
  }

  fail(error: unknown = new DisposedError()): void {
    this.#failed ??= error;
    for (const stop of [...this.#pending]) stop(error);
  }
}
