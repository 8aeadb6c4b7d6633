/** The package's face: what a page calls. */

import { abortable, follow } from './abort.js';
import { Engine } from './engine.js';
import { DisposedError, FoveaError, ImageError, PromptError, WebGpuUnavailableError } from './errors.js';
import { numbered, toWire } from './image.js';
import { forget } from './listing.js';
import { locate } from './location.js';
import type { CallContext, LoadParams, Method, Params, Result, WirePicture } from './protocol.js';
import { Client, Direct } from './rpc.js';
import { openStore } from './store.js';
import type {
  CallOptions,
  Capabilities,
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
  Tier,
  Token,
} from './types.js';

/** An engine, here or in a worker. */
interface Backend {
  call<M extends Method>(method: M, params: Params<M>, context?: CallContext): Promise<Result<M>>;
  /** Rejects what is under way, and frees everything. */
  stop(error: Error): void;
}

/** `ended` is called if the worker breaks down. */
function startWorker(ended: () => void): Backend {
  const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'fovea' });
  const stop = (error: Error) => {
    worker.terminate();
    client.fail(error);
  };
  const crashed = (error: Error) => {
    ended();
    stop(error);
  };
  const client = new Client(worker, crashed);
  worker.addEventListener('error', (event) => {
    event.preventDefault();
    // A script that cannot be fetched gives a plain event without a message.
    const why = event.message ? `broke down: ${event.message}` : 'does not start';
    crashed(new FoveaError('internal', `the worker ${why}; the next call starts anew`, { cause: event.error }));
  });
  worker.addEventListener('messageerror', () => {
    crashed(new FoveaError('internal', 'an answer of the worker cannot be read; the next call starts anew'));
  });
  return { call: (method, params, context) => client.call(method, params, context), stop };
}

/** The engine starts anew by itself if its module breaks down. */
function startHere(): Backend {
  const engine = new Engine();
  const direct = new Direct(engine);
  return {
    call: (method, params, context) => direct.call(method, params, context),
    stop: (error) => {
      direct.fail(error);
      void engine.dispose();
    },
  };
}

/** Why this page has no WebGPU, if it has none. */
function missing(): string | undefined {
  if (globalThis.navigator?.gpu) return undefined;
  return globalThis.isSecureContext === false
    ? 'WebGPU needs a secure page: one from https:// or from localhost'
    : 'this browser has no WebGPU (navigator.gpu is missing)';
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
  readonly #params: LoadParams;
  #backend: Backend | undefined;
  #starting: Promise<Backend> | undefined;
  #info: ModelInfo | undefined;
  #disposed = false;

  private constructor(options: LoadOptions) {
    const { model = 'nano', quantisation = 'q4', tier = {}, cache = 'auto', parallel = 4 } = options;
    this.#options = options;
    this.#params = { location: locate(model), quantisation, tier, cache, parallel };
  }

  /**
   * Opens the GPU and loads a model: from the network the first time, from what this browser kept afterwards.
   *
   * @throws {@link WebGpuUnavailableError}, {@link AdapterTooSmallError} if it cannot run here;
   *   {@link DownloadError}, {@link IntegrityError}, {@link QuotaError} if the files do not come, or cannot be kept;
   *   {@link ModelError} if they are not a model that this package runs; {@link OutOfMemoryError},
   *   {@link DeviceLostError}; the signal's reason.
   */
  static async load(options: LoadOptions = {}): Promise<Fovea> {
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
      fovea.#stop(error instanceof Error ? error : new DisposedError());
      throw error;
    }
  }

  /** Whether this browser can run the engine, and if not, why. It never throws for lack of WebGPU. */
  static async capabilities(tier: Tier = {}): Promise<Capabilities> {
    const reason = missing();
    if (reason) {
      const none = { f16: false, subgroups: false, timestamps: false, software: false };
      return { supported: false, reason, ...none, maxBufferSize: 0, maxStorageBufferBindingSize: 0 };
    }
    const backend = startWorker(() => undefined);
    try {
      return await backend.call('capabilities', { tier });
    } finally {
      backend.stop(new DisposedError());
    }
  }

  /** The models of which this browser keeps files. */
  static async stored(): Promise<StoredModel[]> {
    const store = await openStore();
    const sizes = await store.sizes();
    return (await store.records()).map(({ location, files }) => ({
      location,
      bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
      stored: files
        .flatMap(({ chunks }) => chunks)
        .reduce((sum, { key, start, end }) => sum + (sizes.get(key) === end - start ? end - start : 0), 0),
    }));
  }

  /** Deletes kept files: of one model, or without an argument of all. Models that are loaded stay loaded. */
  static async clear(model?: ModelLocation): Promise<void> {
    const store = await openStore();
    const wanted = model === undefined ? undefined : locate(model).id;
    for (const record of await store.records()) {
      if (wanted === undefined || record.location === wanted) await forget(record, store);
    }
    if (wanted !== undefined) return;
    // Chunks of downloads that ended before their record was written.
    for (const key of (await store.sizes()).keys()) await store.delete(key);
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
    const { maxTokens = 128, heat = false, free = false } = options;
    checkCount('maxTokens', maxTokens);
    return this.#see([image], options, ([picture], call) =>
      call('ground', { image: picture!, instruction, maxTokens, heat, free }, options.onToken),
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
    const turns: Message[] =
      typeof messages === 'string'
        ? [{ role: 'user', content: [...images.map(() => ({ type: 'image' as const })), { type: 'text', text: messages }] }]
        : [...messages];
    const sampling = { max_tokens: maxTokens, temperature, top_k: topK, top_p: topP, seed, ...(grammar ? { grammar } : {}) };

    const { controller, release } = follow(options.signal);
    const tokens: Token[] = [];
    let wake = () => {};
    const outcome = this.#see(images, { ...options, signal: controller.signal }, (pictures, call) =>
      call('generate', { messages: turns, images: pictures, sampling }, (token) => {
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
    this.#stop(new DisposedError());
  }

  #stop(error: Error): void {
    this.#disposed = true;
    this.#backend?.stop(error);
    this.#backend = undefined;
  }

  /** The engine with the model; started anew if the last one broke down. */
  #start(signal?: AbortSignal): Promise<Backend> {
    if (this.#starting) return this.#starting;
    const launch = async () => {
      const backend =
        this.#options.thread === 'page'
          ? startHere()
          : startWorker(() => {
              // What runs is rejected by the worker's client; the next call finds nothing here, and starts another.
              if (this.#backend === backend) this.#backend = this.#starting = undefined;
            });
      // Known from the beginning, so that `dispose` and `memory` reach it while it loads.
      this.#backend = backend;
      const { onProgress } = this.#options;
      const listeners = onProgress ? { progress: onProgress } : {};
      this.#info = await backend.call('load', this.#params, { signal, listeners });
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
          throw new ImageError(`the picture cannot be handed over: ${error.message}`, { cause: error });
        }
      },
      backend,
    );
  }
}

function checkCount(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 1) throw new PromptError(`${name}: expected a positive whole number`);
}
