/** The package's face: what a page calls. */

import { abortable, follow } from './abort.js';
import { missing, probe } from './adapter.js';
import { assetsFolder, startWorkerScript, workerMissing } from './assets.js';
import {
  AssetError,
  DisposedError,
  FoveaError,
  ImageError,
  OptionError,
  PromptError,
  StorageError,
  WebGpuUnavailableError,
} from './errors.js';
import { numbered, toWire } from './image.js';
import { forget } from './listing.js';
import { idOf, locate } from './locate.js';
import { localTime, withPictures } from './messages.js';
import { checkCount, checkNumber, checkTier, loadParams } from './options.js';
import type { CallContext, LoadParams, Method, Params, Result, WirePicture } from './protocol.js';
import { serveFetch } from './relay.js';
import { Client } from './rpc.js';
import type { ChunkStore } from './store.js';
import { openStore } from './store.js';
import type {
  CallOptions,
  Capabilities,
  CapabilityOptions,
  EncodedImageHandle,
  GenerateOptions,
  Generation,
  Grounding,
  GroundOptions,
  ImageInput,
  LoadOptions,
  Memory,
  Message,
  ModelInfo,
  ModelLocation,
  StoredModel,
  Token,
} from './types.js';

/** An engine, here or in a worker. */
interface Backend {
  call<M extends Method>(method: M, params: Params<M>, context?: CallContext): Promise<Result<M>>;
  /** Rejects what is under way, and frees everything; settles when that is done. */
  stop(error: Error): Promise<void>;
}

/** `ended` is called if the worker breaks down. */
function startWorker({ worker: given, assets }: Pick<LoadOptions, 'worker' | 'assets'>, ended: () => void): Backend {
  const { worker, url } = startWorkerScript(given, assetsFolder(assets));
  const stop = async (error: Error) => {
    worker.terminate();
    client.fail(error);
  };
  const crashed = (error: Error) => {
    ended();
    void stop(error);
  };
  const client = new Client(worker, crashed);
  let heard = false;
  worker.addEventListener('message', () => (heard = true), { once: true });
  worker.addEventListener('error', (event) => {
    event.preventDefault();
    // A script that cannot be fetched gives a plain event without a message.
    if (!event.message && !heard) return crashed(workerMissing(url));
    const why = event.message ? `broke down: ${event.message}` : 'broke down';
    crashed(new FoveaError('internal', `the worker ${why}; the next call starts anew`, { cause: event.error }));
  });
  worker.addEventListener('messageerror', () => {
    crashed(new FoveaError('internal', 'an answer of the worker cannot be read; the next call starts anew'));
  });
  return { call: (method, params, context) => client.call(method, params, context), stop };
}

/** In this thread. What it takes is loaded only now. */
function startHere(fetch: LoadOptions['fetch']): Backend {
  const started = import('./here.js').then(
    ({ startEngine }) => startEngine(fetch),
    (cause: unknown) => {
      throw new AssetError(`the engine cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`, '');
    },
  );
  return {
    call: async (method, params, context) => (await abortable(started, context?.signal)).direct.call(method, params, context),
    stop: async (error) => {
      const { direct, engine } = await started;
      direct.fail(error);
      await engine.dispose();
    },
  };
}

/** A picture that stays encoded. */
class EncodedImage implements EncodedImageHandle {
  readonly id: number;
  readonly width: number;
  readonly height: number;
  readonly tokens: number;
  /** The engine that has it; a worker that broke down took its pictures along. */
  readonly backend: Backend;
  released = false;

  constructor(backend: Backend, { id, width, height, tokens }: Result<'encode'>) {
    this.backend = backend;
    this.id = id;
    this.width = width;
    this.height = height;
    this.tokens = tokens;
  }

  release(): void {
    if (this.released) return;
    this.released = true;
    // Whatever has become of the engine: the picture is gone.
    this.backend.call('release', { id: this.id }).catch(() => undefined);
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/**
 * A model that is loaded and ready to look at pictures.
 *
 * Calls are answered one after the other, in their order. Every call takes an `AbortSignal`; aborting it rejects the
 * promise at once with the signal's reason. Everything else that goes wrong is a {@link FoveaError}. If the GPU goes
 * away, the call that runs rejects with {@link DeviceLostError}, and the next call loads the model again from what was
 * kept, before it does its work.
 *
 * @example
 * ```ts
 * import { Fovea } from 'fovea';
 *
 * const fovea = await Fovea.load({ model: 'nano', onProgress: (p) => console.log(p.loaded / p.total) });
 * const { point, box, action } = await fovea.ground(imageBlob, 'click Sign in');
 * ```
 */
export class Fovea {
  readonly #options: LoadOptions;
  readonly #params: Omit<LoadParams, 'location'>;
  #backend: Backend | undefined;
  #starting: Promise<Backend> | undefined;
  #info: ModelInfo | undefined;
  #disposed = false;

  private constructor(options: LoadOptions) {
    this.#options = options;
    this.#params = loadParams(options);
  }

  /**
   * Opens the GPU and loads a model: from the network the first time, from what this browser kept afterwards.
   *
   * @throws {@link OptionError}; {@link WebGpuUnavailableError}, {@link AdapterTooSmallError} if it cannot run here;
   *   {@link AssetError} if the worker or the WebAssembly module is not where it is looked for;
   *   {@link DownloadError}, {@link IntegrityError}, {@link QuotaError} if the files do not come, or cannot be kept;
   *   {@link ModelError} if they are not a model that this package runs; {@link OutOfMemoryError},
   *   {@link DeviceLostError}; the signal's reason.
   */
  static async load(options: LoadOptions = {}): Promise<Fovea> {
    if (typeof options !== 'object' || options === null) throw new OptionError('expected an object of options');
    options.signal?.throwIfAborted();
    const why = missing();
    if (why) throw new WebGpuUnavailableError(why);
    const fovea = new Fovea(options);
    try {
      // Only the page can ask. A refusal is no failure: files are kept all the same, if less safely.
      if (options.persist) await navigator.storage?.persist?.().catch(() => false);
      await fovea.#start(options.signal);
      return fovea;
    } catch (error) {
      void fovea.#stop(error instanceof Error ? error : new DisposedError());
      throw error;
    }
  }

  /**
   * Whether this browser can run the engine, and if not, why: as the adapter says, with no device opened and nothing
   * fetched. It does not throw for lack of WebGPU.
   *
   * @throws {@link OptionError}; with `device` {@link AssetError} too.
   */
  static async capabilities(options: CapabilityOptions = {}): Promise<Capabilities> {
    const tier = checkTier(options.tier);
    const found = await probe(tier);
    if (!options.device || !found.supported) return found;
    const assets = assetsFolder(options.assets);
    const backend = startWorker(options, () => undefined);
    try {
      return await backend.call('capabilities', { tier, ...(assets === undefined ? {} : { assets }) });
    } finally {
      void backend.stop(new DisposedError());
    }
  }

  /**
   * The models of which this browser keeps files.
   *
   * @throws {@link StorageError}
   */
  static async stored(): Promise<StoredModel[]> {
    return withStore(async (store) => {
      const sizes = await store.sizes();
      return (await store.records()).map(({ location, files }) => ({
        location,
        bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
        stored: files
          .flatMap(({ chunks }) => chunks)
          .reduce((sum, { key, start, end }) => sum + (sizes.get(key) === end - start ? end - start : 0), 0),
      }));
    });
  }

  /**
   * Deletes kept files: of one model, or without an argument of all. Models that are loaded stay loaded.
   *
   * @throws {@link OptionError}, {@link ModelError} for the argument; {@link StorageError}
   */
  static async clear(model?: ModelLocation): Promise<void> {
    const wanted = model === undefined ? undefined : idOf(model);
    return withStore(async (store) => {
      for (const record of await store.records()) {
        if (wanted === undefined || record.location === wanted) await forget(record, store);
      }
      if (wanted !== undefined) return;
      // Chunks of downloads that ended before their record was written.
      for (const key of (await store.sizes()).keys()) await store.delete(key);
    });
  }

  /** What is loaded, and on which adapter. */
  get info(): ModelInfo {
    if (!this.#info) throw new DisposedError();
    return this.#info;
  }

  /**
   * Says where to carry out an instruction on a picture. Boxes and points are in pixels of the picture as it is shown,
   * that is, after an orientation that its file may ask for.
   *
   * @throws {@link ImageError} if the picture cannot be read; {@link PromptError} for the instruction;
   *   {@link AnswerError} if the model's answer does not follow its grammar; {@link DeviceLostError},
   *   {@link OutOfMemoryError}; {@link DisposedError}; the signal's reason.
   */
  async ground(
    image: ImageInput | EncodedImageHandle,
    instruction: string,
    options: GroundOptions = {},
  ): Promise<Grounding> {
    if (typeof instruction !== 'string' || !instruction.trim()) throw new PromptError('the instruction is empty');
    const { maxTokens = 128, heat = false, free = false, now = new Date() } = options;
    checkCount('maxTokens', maxTokens);
    const time = localTime(now);
    return this.#see([image], options, ([picture], call) =>
      call('ground', { image: picture!, instruction, maxTokens, heat, free, time }, options.onToken),
    );
  }

  /**
   * Answers in words: yields tokens as they are written, and returns the whole text. Nothing happens before the first
   * one is asked for; leaving the loop early ends the call.
   *
   * @param messages A conversation, or just a question about the pictures.
   * @throws As {@link Fovea.ground}, but for {@link AnswerError}.
   */
  async *generate(
    messages: string | readonly Message[],
    options: GenerateOptions = {},
  ): AsyncGenerator<Token, Generation, void> {
    const { images = [], maxTokens = 256, temperature = 0, topK = 0, topP = 1, seed = 0, grammar } = options;
    checkCount('maxTokens', maxTokens);
    checkNumber('temperature', temperature, 0, Number.MAX_VALUE);
    checkNumber('topK', topK, 0, 2 ** 32 - 1);
    checkNumber('topP', topP, Number.MIN_VALUE, 1);
    checkNumber('seed', seed, 0, 2 ** 32 - 1);
    if (!Array.isArray(images)) throw new PromptError('images: expected a list');
    if (typeof messages !== 'string' && !Array.isArray(messages)) {
      throw new PromptError('expected a question, or a list of messages');
    }
    const asked: readonly Message[] =
      typeof messages === 'string'
        ? [{ role: 'user', content: [...images.map(() => ({ type: 'image' as const })), { type: 'text', text: messages }] }]
        : messages;
    const { messages: turns, pictures } = withPictures(asked, images);
    const time = localTime(options.now ?? new Date());
    const drawn = { max_tokens: maxTokens, temperature, top_k: topK, top_p: topP, seed };
    const sampling = { ...drawn, time, ...(grammar ? { grammar } : {}) };

    const { controller, release } = follow(options.signal);
    const tokens: Token[] = [];
    let wake = () => {};
    const outcome = this.#see(pictures, { ...options, signal: controller.signal }, (held, call) =>
      call('generate', { messages: turns, images: held, sampling }, (token) => {
        tokens.push(token);
        wake();
      }),
    ).then(
      (result) => ({ result }),
      (error: unknown) => ({ error }),
    );
    let settled = false;
    void outcome.then(() => {
      settled = true;
      wake();
    });
    try {
      while (true) {
        const token = tokens.shift();
        if (token) yield token;
        else if (settled) break;
        else await new Promise<void>((woken) => (wake = woken));
      }
      const ended = await outcome;
      if ('error' in ended) throw ended.error;
      return ended.result;
    } finally {
      controller.abort();
      release();
    }
  }

  /**
   * Encodes a picture once, for several questions. Release it when it is no longer needed: it holds memory of the GPU,
   * and its pixels, from which another device can encode it again.
   *
   * @throws {@link ImageError}; {@link DeviceLostError}, {@link OutOfMemoryError}; {@link DisposedError}; the signal's
   *   reason.
   */
  async encodeImage(image: ImageInput, options: CallOptions = {}): Promise<EncodedImageHandle> {
    if (image instanceof EncodedImage) throw new ImageError('this picture is encoded already');
    const { backend, result } = await this.#see([image], options, async ([picture], call, backend) => ({
      backend,
      result: await call('encode', { image: picture as Exclude<WirePicture, number> }),
    }));
    return new EncodedImage(backend, result);
  }

  /** What is in use just now; also while a call runs. */
  async memory(): Promise<Memory> {
    if (this.#disposed) throw new DisposedError();
    const backend = this.#backend;
    if (!backend) return { gpu: 0, weights: 0, kvCache: 0, wasm: 0, stored: 0 };
    return backend.call('memory', undefined);
  }

  /**
   * Ends what runs with a {@link DisposedError}, and gives the GPU's memory back. Other devices of the page stay as they
   * are. A second time does nothing.
   */
  dispose(): void {
    void this.#stop(new DisposedError());
  }

  /** The same at the end of a block, `await using fovea = await Fovea.load()`; settles when all is given back. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop(new DisposedError());
  }

  async #stop(error: Error): Promise<void> {
    this.#disposed = true;
    const backend = this.#backend;
    this.#backend = undefined;
    // What it had is gone with it, whatever it says.
    await backend?.stop(error).catch(() => undefined);
  }

  /** The engine with the model; started anew if the last one broke down. */
  #start(signal?: AbortSignal): Promise<Backend> {
    if (this.#starting) return this.#starting;
    const launch = async () => {
      const { model = 'nano', onProgress, fetch, thread } = this.#options;
      const location = await abortable(locate(model), signal);
      if (this.#disposed) throw new DisposedError();
      const here = thread === 'page';
      const backend = here
        ? startHere(fetch)
        : startWorker(this.#options, () => {
            // What runs is rejected by the worker's client; the next call finds nothing here, and starts another.
            if (this.#backend === backend) this.#backend = this.#starting = undefined;
          });
      // Known from the beginning, so that `dispose` and `memory` reach it while it loads.
      this.#backend = backend;
      const listeners = onProgress ? { progress: onProgress } : {};
      const params: LoadParams = { ...this.#params, location };
      const transfer: Transferable[] = [];
      if (fetch && !here) {
        const { port1, port2 } = new MessageChannel();
        serveFetch(port1, fetch);
        params.fetch = port2;
        transfer.push(port2);
      }
      this.#info = await backend.call('load', params, { signal, listeners, transfer });
      return backend;
    };
    const starting = launch();
    this.#starting = starting;
    starting.catch(() => {
      if (this.#starting === starting) this.#starting = undefined;
    });
    return starting;
  }

  /** Makes pictures ready, and calls the engine about them. */
  async #see<T>(
    images: readonly (ImageInput | EncodedImageHandle)[],
    options: CallOptions,
    ask: (
      pictures: WirePicture[],
      call: <M extends Method>(method: M, params: Params<M>, onToken?: (token: Token) => void) => Promise<Result<M>>,
      backend: Backend,
    ) => Promise<T>,
  ): Promise<T> {
    const { signal, onStage, transfer: take = false } = options;
    if (this.#disposed) throw new DisposedError();
    signal?.throwIfAborted();
    // First the pictures: a frame of a video may be gone when a lost engine has loaded.
    const wired = await abortable(
      Promise.all(
        images.map(async (image, index) =>
          image instanceof EncodedImage ? image : numbered(index, images.length, toWire(image as ImageInput, take)),
        ),
      ),
      signal,
    );
    const backend = await abortable(this.#start(), signal);
    if (this.#disposed) throw new DisposedError();
    const transfer: Transferable[] = [];
    const pictures = wired.map((wired): WirePicture => {
      if (!(wired instanceof EncodedImage)) {
        transfer.push(...wired.transfer);
        return wired.image;
      }
      if (wired.released) throw new ImageError('this picture was released');
      if (wired.backend !== backend) throw new ImageError('this picture was lost with its worker; encode it again');
      return wired.id;
    });
    const { onProgress } = this.#options;
    return ask(
      pictures,
      async (method, params, onToken) => {
        const listeners = {
          ...(onProgress ? { progress: onProgress } : {}),
          ...(onStage ? { stage: onStage } : {}),
          ...(onToken ? { token: onToken } : {}),
        };
        try {
          return await backend.call(method, params, { signal, listeners, transfer });
        } catch (error) {
          // What the browser says if a picture may not leave its thread, as from another origin without its consent.
          if (!(error instanceof DOMException && error.name === 'DataCloneError')) throw error;
          const what = pictures.length > 0 ? 'the picture' : 'the conversation';
          const text = `${what} cannot be handed over: ${error.message}`;
          throw pictures.length > 0 ? new ImageError(text, { cause: error }) : new PromptError(text, { cause: error });
        }
      },
      backend,
    );
  }
}

/** Work on what this browser keeps; what goes wrong with it is told in one class. */
async function withStore<T>(work: (store: ChunkStore) => Promise<T>): Promise<T> {
  try {
    return await work(await openStore());
  } catch (cause) {
    if (cause instanceof FoveaError) throw cause;
    throw new StorageError(`storage fails: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}
