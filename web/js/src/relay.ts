/** Lets a worker fetch through a function of the page: requests cross a port, and bodies come in pieces, as they are read. */

/** What the worker asks. */
type Ask = { id: number; url: string; init: RequestInit } | { id: number; pull: true } | { id: number; abort: true };

/** What the page answers. */
type Told =
  | { id: number; status: number; headers: [string, string][]; body: boolean }
  | { id: number; piece: Uint8Array | undefined }
  | { id: number; error: string };

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

/** The page's side: answers what comes by `port` with `fetch`. */
export function serveFetch(port: MessagePort, fetch: typeof globalThis.fetch): void {
  const running = new Map<number, { controller: AbortController; reader?: ReadableStreamDefaultReader<Uint8Array> | undefined }>();
  const send = (told: Told) => port.postMessage(told);
  const fail = (id: number, error: unknown) => {
    running.delete(id);
    send({ id, error: messageOf(error) });
  };
  const ask = async (id: number, url: string, init: RequestInit) => {
    const controller = new AbortController();
    const entry: NonNullable<ReturnType<typeof running.get>> = { controller };
    running.set(id, entry);
    try {
      const response = await fetch(url, { ...init, signal: controller.signal });
      const { status, body } = response;
      entry.reader = body?.getReader();
      if (!entry.reader) running.delete(id);
      send({ id, status, headers: [...response.headers], body: Boolean(entry.reader) });
    } catch (error) {
      fail(id, error);
    }
  };
  const pull = async (id: number) => {
    try {
      const { done, value } = (await running.get(id)?.reader?.read()) ?? { done: true, value: undefined };
      if (done) running.delete(id);
      send({ id, piece: done ? undefined : value });
    } catch (error) {
      fail(id, error);
    }
  };
  port.onmessage = ({ data }: MessageEvent<Ask>) => {
    if ('url' in data) void ask(data.id, data.url, data.init);
    else if ('pull' in data) void pull(data.id);
    else {
      running.get(data.id)?.controller.abort();
      running.delete(data.id);
    }
  };
}

/** The worker's side: a `fetch` that asks the page. */
export function relayedFetch(port: MessagePort): typeof globalThis.fetch {
  const waiting = new Map<number, { resolve(told: Told): void; reject(error: unknown): void }>();
  let next = 1;
  port.onmessage = ({ data }: MessageEvent<Told>) => {
    const waiter = waiting.get(data.id);
    waiting.delete(data.id);
    if ('error' in data) waiter?.reject(new TypeError(data.error));
    else waiter?.resolve(data);
  };
  const ask = (message: Ask, signal: AbortSignal | null | undefined) =>
    new Promise<Told>((resolve, reject) => {
      const abort = () => {
        waiting.delete(message.id);
        port.postMessage({ id: message.id, abort: true } satisfies Ask);
        reject(signal?.reason);
      };
      if (signal?.aborted) return abort();
      signal?.addEventListener('abort', abort, { once: true });
      const done = () => signal?.removeEventListener('abort', abort);
      waiting.set(message.id, {
        resolve: (told) => (done(), resolve(told)),
        reject: (error) => (done(), reject(error)),
      });
      port.postMessage(message);
    });
  return async (input, { signal, ...init } = {}) => {
    const id = next;
    next += 1;
    const url = input instanceof Request ? input.url : String(input);
    const head = await ask({ id, url, init }, signal);
    if (!('status' in head)) throw new TypeError('the page answered out of turn');
    const body = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const told = await ask({ id, pull: true }, signal);
          const piece = 'piece' in told ? told.piece : undefined;
          if (piece) controller.enqueue(piece);
          else controller.close();
        },
        cancel: () => port.postMessage({ id, abort: true } satisfies Ask),
      },
      { highWaterMark: 0 },
    );
    // What a service worker or another origin hides has status 0, which no response can be made with.
    const status = head.status >= 200 && head.status <= 599 ? head.status : 502;
    const empty = !head.body || [204, 205, 304].includes(status);
    return new Response(empty ? null : body, { status, headers: head.headers });
  };
}
