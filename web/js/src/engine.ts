/** Runs the calls: one model on one device, in whichever thread it was made. */

import { follow, Queue } from './abort.js';
import { adapterName } from './adapter.js';
import type { Bridge, BridgeDevice, BridgeImage, BridgeModel } from './bridge.js';
import { DeviceLostError, DisposedError, FoveaError, ImageError, QuotaError } from './errors.js';
import { fromBridge } from './failures.js';
import type { PictureFile, Pixels } from './image.js';
import { numbered, toPixels, unreadableFile } from './image.js';
import type { Listing } from './listing.js';
import { keepListing, resolveListing } from './listing.js';
import { Network } from './network.js';
import { Tracker } from './progress.js';
import type { Emit, Host, LoadParams, Method, Params, Result, WirePicture } from './protocol.js';
import { relayedFetch } from './relay.js';
import { ModelSource } from './source.js';
import type { ChunkStore, StorageEnvironment } from './store.js';
import { environment, NoStore, openStore } from './store.js';
import type { withSubgroups } from './subgroups.js';
import type { Capabilities, Generation, Grounding, Memory, ModelInfo, Tier, Timings } from './types.js';

/** What the engine stands on; tests put their own in. */
export interface EngineOptions {
  /**
   * Instantiates the WebAssembly module. `attempt` counts from 0; a later one follows a breakdown. `assets`: the folder
   * that has the package's files, if it is not where they are by themselves.
   */
  bridge: (attempt: number, assets: string | undefined) => Promise<Bridge>;
  storage?: StorageEnvironment;
  fetch?: typeof fetch;
  pixels?: typeof toPixels;
  /** Opens a device with subgroups where the adapter has them; without it, there are none (see `subgroups.ts`). */
  subgroups?: typeof withSubgroups;
}

/** A model on its device. */
interface Loaded {
  bridge: Bridge;
  device: BridgeDevice;
  model: BridgeModel;
  info: ModelInfo;
}

/** A picture in use. Its pixels stay, so that another device can encode it again. */
interface Held {
  pixels: Pixels | PictureFile;
  encoded?: { by: Loaded; image: BridgeImage };
  /** Holders: the caller's handle, and calls that wait or run. The last one to leave lets go of it. */
  uses: number;
  /** What decoding took, in milliseconds, if this call did it. */
  milliseconds: number;
}

interface Context {
  signal: AbortSignal;
  emit: Emit;
}

export class Engine implements Host {
  readonly #options: EngineOptions;
  /** Hears that the module broke down: nothing that is under way will end. */
  readonly #onCrash: (error: FoveaError) => void;
  readonly #queue = new Queue();
  readonly #held = new Map<number, Held>();
  /** Aborted when the module breaks down; then there is another. */
  #life = new AbortController();
  /** Ends what runs, and refuses what comes, when the engine is disposed of. */
  readonly #end = new AbortController();
  #attempt = 0;
  #bridge: Promise<Bridge> | undefined;
  #store: Promise<ChunkStore> | undefined;
  #params: LoadParams | undefined;
  /** The page's, for a worker. */
  #fetch: typeof fetch | undefined;
  #loaded: Loaded | undefined;
  /** The device while a model loads onto it. */
  #device: BridgeDevice | undefined;
  #next = 1;
  #memory: Memory = { gpu: 0, weights: 0, kvCache: 0, wasm: 0, stored: 0 };

  constructor(options: EngineOptions, onCrash: (error: FoveaError) => void = () => undefined) {
    this.#options = options;
    this.#onCrash = onCrash;
    globalThis.addEventListener?.('error', this.#uncaught);
    globalThis.addEventListener?.('unhandledrejection', this.#uncaught);
  }

  call<M extends Method>(method: M, params: Params<M>, context: Context): Promise<Result<M>> {
    const methods: { [N in Method]: (params: Params<N>, context: Context) => Promise<Result<N>> } = {
      load: (params, context) => this.#load(params, context),
      encode: ({ image }, context) => this.#encode(image, context),
      release: async ({ id }) => this.#release(id),
      ground: (params, context) => this.#ground(params, context),
      generate: (params, context) => this.#generate(params, context),
      memory: () => this.#measure(),
      capabilities: (params) => this.#capabilities(params),
    };
    return methods[method](params, context);
  }

  /** Gives the device back, once what runs has ended; other devices of the page stay as they are. */
  async dispose(): Promise<void> {
    this.#end.abort(new DisposedError());
    globalThis.removeEventListener?.('error', this.#uncaught);
    globalThis.removeEventListener?.('unhandledrejection', this.#uncaught);
    await this.#queue.drained();
    this.#held.clear();
    this.#drop();
  }

  // ---------------------------------------------------------------------------------------------------- methods

  #load(params: LoadParams, context: Context): Promise<ModelInfo> {
    return this.#turn(context, async (signal) => {
      this.#params = params;
      this.#drop();
      return (await this.#ready(signal, context.emit)).info;
    });
  }

  #encode(image: WirePicture, context: Context): Promise<Result<'encode'>> {
    return this.#look([image], context, async (loaded, [held], signal) => {
      const { width, height, tokens } = (await this.#encoded(loaded, held!, signal, context.emit)).image;
      const id = this.#next;
      this.#next += 1;
      held!.uses += 1;
      this.#held.set(id, held!);
      return { id, width, height, tokens };
    });
  }

  #release(id: number): void {
    const held = this.#held.get(id);
    this.#held.delete(id);
    if (held) this.#leave(held);
  }

  #ground({ image, instruction, maxTokens, heat, free, time }: Params<'ground'>, context: Context): Promise<Grounding> {
    const { emit } = context;
    return this.#look([image], context, async (loaded, [held], signal) => {
      const start = performance.now();
      const { image, milliseconds } = await this.#encoded(loaded, held!, signal, emit);
      const options = { max_tokens: maxTokens, heat, free, time };
      const token = onToken(emit, maxTokens);
      const answer = await loaded.model.ground(image, instruction, options, onStage(emit), token, signal);
      emit('stage', { stage: 'decode', done: 1 });
      const { found, action, text, heat: map } = answer;
      return {
        found,
        action,
        ...('box' in action ? { box: action.box, point: action.point } : {}),
        text,
        ...(map ? { heat: map } : {}),
        timings: timingsOf(answer, held!.milliseconds, milliseconds, image.tokens, start),
      };
    });
  }

  #generate({ messages, images, sampling }: Params<'generate'>, context: Context): Promise<Generation> {
    const { emit } = context;
    return this.#look(images, context, async (loaded, pictures, signal) => {
      const start = performance.now();
      const encoded: BridgeImage[] = [];
      let [decode, encode, tokens] = [0, 0, 0];
      for (const [index, held] of pictures.entries()) {
        const work = this.#encoded(loaded, held, signal, emit);
        const { image, milliseconds } = await numbered(index, pictures.length, work);
        decode += held.milliseconds;
        encode += milliseconds;
        tokens += image.tokens;
        encoded.push(image);
      }
      const token = onToken(emit, sampling.max_tokens);
      const answer = await loaded.model.generate(messages, encoded, sampling, onStage(emit), token, signal);
      emit('stage', { stage: 'decode', done: 1 });
      return { text: answer.text, timings: timingsOf(answer, decode, encode, tokens, start) };
    });
  }

  /** Answers also while something runs: then with the last figures where the module is busy. */
  async #measure(): Promise<Memory> {
    const bridge = await this.#bridge?.catch(() => undefined);
    const ask = (current: number, value: () => number | undefined) => {
      try {
        return value() ?? current;
      } catch {
        return current;
      }
    };
    const last = this.#memory;
    const model = this.#loaded?.model;
    const device = this.#loaded?.device ?? this.#device;
    const store = await this.#store?.catch(() => undefined);
    const sizes = await store?.sizes().catch(() => undefined);
    let stored = 0;
    for (const size of sizes?.values() ?? []) stored += size;
    this.#memory = {
      gpu: device ? ask(last.gpu, () => device.gpu_bytes()) : 0,
      weights: model ? ask(last.weights, () => model.weight_bytes()) : 0,
      kvCache: model ? ask(last.kvCache, () => model.kv_bytes()) : 0,
      wasm: bridge ? ask(last.wasm, () => bridge.wasm_bytes()) : 0,
      stored,
    };
    return this.#memory;
  }

  async #capabilities({ tier, assets }: Params<'capabilities'>): Promise<Capabilities> {
    const bridge = await this.#module(assets);
    try {
      const device = await this.#open(bridge, tier);
      const capabilities = device.capabilities();
      device.destroy();
      device.free();
      return { ...capabilities, adapter: capabilities.adapter || (await adapterName()) };
    } catch (thrown) {
      const error = fromBridge(thrown);
      const { message } = error;
      const limit = 'limit' in error && 'has' in error && 'needs' in error;
      return {
        supported: false,
        reason: message,
        ...(limit ? { limit: { name: String(error.limit), has: Number(error.has), needs: Number(error.needs) } } : {}),
        f16: false,
        subgroups: false,
        timestamps: false,
        software: false,
        maxBufferSize: 0,
        maxStorageBufferBindingSize: 0,
      };
    }
  }

  // ---------------------------------------------------------------------------------------------- turns, failures

  /** Runs a task in its turn; what it throws becomes one of this package's errors, and a lost device is let go. */
  #turn<T>({ signal }: Context, task: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#queue.run(async () => {
      const end = this.#end.signal;
      end.throwIfAborted();
      const life = this.#life.signal;
      const { controller, release } = follow(signal, end, life);
      try {
        return await new Promise<T>((resolve, reject) => {
          // A trap leaves the module's promises pending for ever.
          life.addEventListener('abort', () => reject(life.reason), { once: true });
          task(controller.signal).then(resolve, reject);
        });
      } catch (error) {
        controller.signal.throwIfAborted();
        if (isTrap(error)) {
          this.#crashed(error);
          life.throwIfAborted();
        }
        throw this.#failed(error);
      } finally {
        release();
      }
    }, signal);
  }

  /** After a failure of the device nothing on it can be trusted: the next call opens another. */
  #failed(thrown: unknown): FoveaError {
    const error = fromBridge(thrown);
    const lost = this.#deviceFailure();
    if (lost || error instanceof DeviceLostError) this.#drop();
    // What went wrong first on a lost device is often only a consequence.
    return lost && error.code === 'internal' ? lost : error;
  }

  #deviceFailure(): FoveaError | undefined {
    try {
      const failure = (this.#loaded?.device ?? this.#device)?.failure();
      return failure && fromBridge(failure);
    } catch (error) {
      return fromBridge(error);
    }
  }

  readonly #uncaught = (event: Event) => {
    const { error, reason } = event as { error?: unknown; reason?: unknown };
    const thrown = error ?? reason;
    // Other modules of a page may break as well: that is none of our business.
    if (isTrap(thrown) && /fovea_web|wasm/.test((thrown as Error).stack ?? '')) this.#crashed(thrown);
  };

  /** The module is in an unknown state: it is thrown away with everything in it. */
  #crashed(cause: unknown): void {
    const message = cause instanceof Error ? cause.message : String(cause);
    const error = new FoveaError('internal', `the engine broke down: ${message}; the next call starts anew`, { cause });
    const life = this.#life;
    this.#life = new AbortController();
    this.#attempt += 1;
    this.#bridge = undefined;
    this.#device = undefined;
    this.#loaded = undefined;
    for (const held of this.#held.values()) delete held.encoded;
    life.abort(error);
    this.#onCrash(error);
  }

  /** Lets go of model and device. */
  #drop(): void {
    const loaded = this.#loaded;
    const device = loaded?.device ?? this.#device;
    this.#loaded = undefined;
    this.#device = undefined;
    const quietly = (step: () => void) => {
      try {
        step();
      } catch {
        // It may be in use by a call that was aborted, or broken: it goes with the module then.
      }
    };
    for (const held of this.#held.values()) {
      const image = held.encoded?.image;
      delete held.encoded;
      if (image) quietly(() => image.free());
    }
    if (loaded) quietly(() => loaded.model.free());
    if (device) {
      quietly(() => device.destroy());
      quietly(() => device.free());
    }
  }

  // ---------------------------------------------------------------------------------------------------- pictures

  /** A call about pictures, which are held as long as it waits and runs. */
  async #look<T>(
    images: readonly WirePicture[],
    context: Context,
    task: (loaded: Loaded, pictures: Held[], signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    // Decoded at once, before the call's turn: frames of a video are scarce, and must be closed soon.
    const outcomes = await Promise.allSettled(
      images.map((image, index) => numbered(index, images.length, this.#picture(image, context.emit))),
    );
    const pictures = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    try {
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
      return await this.#turn(context, async (signal) => task(await this.#ready(signal, context.emit), pictures, signal));
    } finally {
      pictures.forEach((held) => this.#leave(held));
    }
  }

  async #picture(image: WirePicture, emit: Emit): Promise<Held> {
    if (typeof image === 'number') {
      const held = this.#held.get(image);
      if (!held) throw new ImageError('the picture was released, or lost with its worker; encode it again');
      held.uses += 1;
      held.milliseconds = 0;
      return held;
    }
    emit('stage', { stage: 'image', done: 0 });
    const start = performance.now();
    const pixels = await (this.#options.pixels ?? toPixels)(image);
    emit('stage', { stage: 'image', done: 1 });
    return { pixels, uses: 1, milliseconds: performance.now() - start };
  }

  #leave(held: Held): void {
    held.uses -= 1;
    if (held.uses > 0) return;
    const { encoded } = held;
    delete held.encoded;
    // A device that is gone took its pictures along.
    if (encoded && encoded.by === this.#loaded) encoded.image.free();
  }

  /** The picture's embeddings on this device, and what making them took just now. */
  async #encoded(
    loaded: Loaded,
    held: Held,
    signal: AbortSignal,
    emit: Emit,
  ): Promise<{ image: BridgeImage; milliseconds: number }> {
    if (held.encoded?.by === loaded) return { image: held.encoded.image, milliseconds: 0 };
    const image = await this.#encodePixels(loaded, held.pixels, emit, signal);
    held.encoded = { by: loaded, image };
    return { image, milliseconds: image.milliseconds };
  }

  async #encodePixels({ model }: Loaded, pixels: Pixels | PictureFile, emit: Emit, signal: AbortSignal): Promise<BridgeImage> {
    if ('rgba' in pixels) return model.encode(pixels.rgba, pixels.width, pixels.height, onStage(emit), signal);
    try {
      return await model.encode_file(pixels.file, onStage(emit), signal);
    } catch (thrown) {
      const error = fromBridge(thrown);
      throw error instanceof ImageError ? unreadableFile(pixels, error) : thrown;
    }
  }

  // ----------------------------------------------------------------------------------------------------- loading

  #module(assets: string | undefined): Promise<Bridge> {
    this.#bridge ??= this.#options.bridge(this.#attempt, assets).catch((error: unknown) => {
      this.#bridge = undefined;
      throw error;
    });
    return this.#bridge;
  }

  #open(bridge: Bridge, tier: Tier): Promise<BridgeDevice> {
    const open = (subgroups: boolean) => bridge.Device.open(tier, subgroups);
    const { subgroups } = this.#options;
    return subgroups && tier.subgroups !== false ? subgroups(open) : open(false);
  }

  /** The model, on a device that works: the present one, or a new one. */
  async #ready(signal: AbortSignal, emit: Emit): Promise<Loaded> {
    if (this.#loaded && !this.#deviceFailure()) return this.#loaded;
    this.#drop();
    const params = this.#params;
    if (!params) throw new FoveaError('internal', 'no model was loaded');
    const tracker = new Tracker((progress) => emit('progress', progress));
    tracker.tell(true);

    const life = this.#life;
    const opened = this.#module(params.assets).then(async (bridge) => {
      const device = await this.#open(bridge, params.tier);
      if (this.#life === life) this.#device = device;
      return { bridge, device };
    });
    // If finding the files fails first, nobody else hears of this.
    opened.catch(() => undefined);
    let source: ModelSource | undefined;
    try {
      source = await this.#source(params, tracker, signal);
      const { bridge, device } = await opened;
      signal.throwIfAborted();
      tracker.phase = 'download';
      tracker.tell(true);
      // Files that are no tensors count as well, as they are read before the first tensor.
      const others = source.files.filter(({ name }) => !name.endsWith('.safetensors'));
      const small = others.reduce((sum, { bytes }) => sum + bytes, 0);
      const model = await bridge.Model.load(
        device,
        source,
        params.quantisation,
        (loaded, total) => {
          tracker.total = small + total;
          tracker.loaded = small + loaded;
          tracker.tell();
        },
        signal,
      );
      await source.settled();
      const info = model.info();
      this.#loaded = { bridge, device, model, info: { ...info, adapter: info.adapter || (await adapterName()) } };
      this.#device = undefined;
      tracker.phase = 'ready';
      tracker.loaded = tracker.total;
      tracker.tell(true);
      return this.#loaded;
    } catch (error) {
      await opened.catch(() => undefined);
      // The source says more about a failed download than the module, which was only refused its bytes.
      const cause = signal.aborted ? signal.reason : (source?.failure ?? error);
      const failed = this.#life === life ? this.#failed(cause) : cause;
      if (this.#life === life) this.#drop();
      throw signal.aborted ? signal.reason : failed;
    } finally {
      source?.close();
    }
  }

  async #source(params: LoadParams, tracker: Tracker, signal: AbortSignal): Promise<ModelSource> {
    const environmentHere = this.#options.storage ?? environment();
    this.#store ??= params.cache === 'none' ? Promise.resolve(new NoStore()) : openStore(environmentHere);
    const store = await this.#store;
    const retried = () => {
      tracker.retries += 1;
      tracker.tell(true);
    };
    if (params.fetch) this.#fetch ??= relayedFetch(params.fetch);
    const fetch = this.#options.fetch ?? this.#fetch;
    const network = new Network({
      onRetry: retried,
      onBytes: (bytes) => tracker.arrived(bytes),
      headers: params.headers,
      ...(params.credentials ? { credentials: params.credentials } : {}),
      ...(fetch ? { fetch } : {}),
    });
    const { integrity } = params;
    const listing = await resolveListing(params.location, network, store, { signal, integrity });
    signal.throwIfAborted();

    const required = params.cache === 'required';
    let keep = store.kind !== 'none';
    const sizes = await store.sizes();
    tracker.cache = { kind: store.kind };
    tracker.total = bytesOf(listing);
    tracker.missing = missingOf(listing, sizes);
    tracker.downloaded = 0;
    const problem = (text: string) => {
      tracker.cache = { ...tracker.cache, problem: text };
      tracker.tell(true);
    };
    const room = async () => {
      const { quota, usage } = (await environmentHere.storage?.estimate?.().catch(() => undefined)) ?? {};
      return quota === undefined ? Infinity : Math.max(0, quota - (usage ?? 0));
    };
    // Browsers round what they tell of their quota, against fingerprinting: what was taken is the truth.
    const taken = async () => bytesOf(listing) - missingOf(listing, await store.sizes());
    if (store.kind === 'memory') {
      if (required) throw new QuotaError('this browser keeps nothing here: a private window?', tracker.total, 0);
      problem('this browser keeps nothing here; files stay in memory until the page is left');
    } else if (store.kind !== 'none' && tracker.missing > 0) {
      const available = await room();
      if (tracker.missing > available) {
        const text = `the model needs ${tracker.missing} bytes of storage, and this browser offers ${available}`;
        if (required) throw new QuotaError(text, tracker.missing, available);
        keep = false;
        tracker.cache = { kind: 'none' };
        problem(`${text}; what is missing is not kept`);
      }
    }
    // Known before all chunks are there: that is how a download goes on where it stopped.
    if (keep) {
      await keepListing(listing, store).catch((error: unknown) => {
        if (required) throw new QuotaError(`storage fails: ${String(error)}`, tracker.missing, 0, { cause: error });
        problem(`storage fails: ${error instanceof Error ? error.message : String(error)}`);
      });
    }
    return new ModelSource(listing, sizes, store, network, {
      parallel: params.parallel,
      keep,
      required,
      signal,
      taken,
      onProblem: problem,
      onRetry: retried,
    });
  }
}

const isTrap = (error: unknown) =>
  typeof WebAssembly !== 'undefined' && error instanceof WebAssembly.RuntimeError;

const bytesOf = (listing: Listing) => listing.files.reduce((sum, { bytes }) => sum + bytes, 0);

/** Bytes of chunks that are not in the store. */
function missingOf(listing: Listing, sizes: ReadonlyMap<string, number>): number {
  let missing = 0;
  for (const { chunks } of listing.files) {
    for (const { key, start, end } of chunks) if (sizes.get(key) !== end - start) missing += end - start;
  }
  return missing;
}

const onStage = (emit: Emit) => (stage: 'encode' | 'prefill', done: number) => emit('stage', { stage, done });

function onToken(emit: Emit, most: number): (id: number, text: string) => void {
  let count = 0;
  return (id, text) => {
    count += 1;
    // The end is not known before it comes; the longest answer is.
    emit('stage', { stage: 'decode', done: Math.min(0.99, count / most) });
    emit('token', { id, text });
  };
}

function timingsOf(
  answer: { prefill: number; decode: number; prompt_tokens: number; answer_tokens: number; forced_tokens: number },
  image: number,
  encode: number,
  imageTokens: number,
  start: number,
): Timings {
  return {
    image,
    encode,
    prefill: answer.prefill,
    decode: answer.decode,
    total: image + performance.now() - start,
    imageTokens,
    promptTokens: answer.prompt_tokens,
    answerTokens: answer.answer_tokens,
    forcedTokens: answer.forced_tokens,
  };
}
