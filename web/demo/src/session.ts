/** Loads the model, runs it on the picture, stops either: everything that talks to the package. */

import { Fovea, type EncodedImageHandle, type Grounding, type Progress } from './fovea/index.js';
import { release, type Picture } from './picture.js';
import { loadProblem, runProblem } from './problem.js';
import { loadOptions, type Settings } from './settings.js';
import type { LoadProgress, StageTimes, Store } from './state.js';

/** A picture on the GPU, kept for the next question about it. */
interface Encoded {
  picture: Picture;
  handle: EncodedImageHandle;
  /** What it took; a later question takes nothing of it. */
  image: number;
  encode: number;
}

export class Session {
  #store: Store;
  #fovea: Fovea | undefined;
  #loading: AbortController | undefined;
  #running: AbortController | undefined;
  /** Settles when the last run is over: the package takes one call at a time. */
  #settled: Promise<void> = Promise.resolve();
  #encoded: Encoded | undefined;
  #instruction = '';
  /** Counts what was asked for, so that only the last of several waiting runs begins. */
  #asked = 0;
  #loadStarted = 0;

  constructor(store: Store) {
    this.#store = store;
    // A download that broke off because the connection did goes on when it is back.
    addEventListener('online', () => {
      const { model } = this.#store.state;
      if (model.kind === 'failed' && model.problem.offline) void this.load();
    });
  }

  /** Loads the model as the settings say, in place of one that is loaded. */
  async load(change: Partial<Settings> = {}): Promise<void> {
    this.#loading?.abort();
    const controller = new AbortController();
    this.#loading = controller;
    const isCurrent = (): boolean => this.#loading === controller;

    const settings = { ...this.#store.state.settings, ...change };
    this.#store.set({ settings, model: { kind: 'loading' } });
    this.#discard();
    this.#loadStarted = performance.now();
    let progress: LoadProgress | undefined;
    try {
      const fovea = await Fovea.load({
        ...loadOptions(settings),
        signal: controller.signal,
        onProgress: (now) => {
          if (!isCurrent()) return;
          progress = withArrived(now, progress);
          this.#onProgress(progress);
        },
      });
      if (!isCurrent()) {
        fovea.dispose();
        return;
      }
      this.#fovea = fovea;
      this.#setReady(fovea, progress);
    } catch (error) {
      if (!isCurrent()) return;
      const far = progress && { progress };
      if (controller.signal.aborted) this.#store.set({ model: { kind: 'stopped', ...far } });
      else this.#store.set({ model: { kind: 'failed', problem: loadProblem(error, progress), ...far } });
    }
    if (this.#store.state.run.kind !== 'waiting') return;
    if (this.#fovea) void this.run(this.#instruction);
    else this.#store.set({ run: { kind: 'idle' } });
  }

  /** Also hears of the package's making a lost device anew, long after loading. */
  #onProgress(progress: LoadProgress): void {
    if (this.#fovea && this.#store.state.model.kind === 'ready') this.#loadStarted = performance.now();
    if (this.#fovea && progress.phase === 'ready') this.#setReady(this.#fovea, progress);
    else this.#store.set({ model: { kind: 'loading', progress } });
  }

  #setReady(fovea: Fovea, progress: LoadProgress | undefined): void {
    const seconds = (performance.now() - this.#loadStarted) / 1000;
    this.#store.set({ model: { kind: 'ready', info: fovea.info, seconds, ...(progress && { progress }) } });
  }

  stopLoading(): void {
    if (this.#store.state.model.kind !== 'loading') return;
    this.#loading?.abort();
    // A run that waits for a lost device to be made anew ends with it.
    if (this.#fovea) this.stop();
  }

  /** Grounds the instruction in the picture; before the model is ready, as soon as it is. */
  async run(instruction: string): Promise<void> {
    this.stop();
    const asked = ++this.#asked;
    await this.#settled;
    const { picture, model } = this.#store.state;
    if (asked !== this.#asked || !picture || instruction === '') return;
    this.#instruction = instruction;
    if (!this.#fovea) {
      this.#store.set({ run: { kind: 'waiting' } });
      if (model.kind !== 'loading') await this.load();
      return;
    }
    const controller = new AbortController();
    this.#running = controller;
    this.#settled = this.#ground(this.#fovea, picture, instruction, controller);
    await this.#settled;
  }

  async #ground(fovea: Fovea, picture: Picture, instruction: string, controller: AbortController): Promise<void> {
    const watch = new Stopwatch(this.#store);
    const { signal } = controller;
    try {
      const reused = this.#encoded?.picture === picture ? this.#encoded : undefined;
      const encoded = reused ?? (await this.#encode(fovea, picture, signal, watch));
      const grounding = await fovea.ground(encoded.handle, instruction, {
        signal,
        heat: true,
        onStage: (progress) => watch.onStage(progress.stage, progress.done),
        onToken: (token) => watch.onText(token.text),
      });
      const memory = await fovea.memory();
      signal.throwIfAborted();
      const result = { instruction, grounding: reused ? grounding : withEncoding(grounding, encoded), memory };
      this.#store.set({ run: { kind: 'done', result } });
    } catch (error) {
      // A lost device that was being made anew, and now is not, leaves no model to run.
      if (this.#fovea === fovea && this.#store.state.model.kind === 'loading') {
        this.#discard();
        this.#store.set({ model: { kind: 'stopped' } });
      }
      if (signal.aborted) {
        // By the person, unless a new picture has taken over what is shown.
        if (this.#running === controller) this.#store.set({ run: { kind: 'stopped', text: watch.text } });
        return;
      }
      const problem = runProblem(error);
      // After any other failure the picture may be gone from the GPU.
      if (!problem.ofTheWords) this.#forgetEncoded();
      this.#store.set({ run: { kind: 'failed', problem, text: watch.text } });
    }
  }

  async #encode(fovea: Fovea, picture: Picture, signal: AbortSignal, watch: Stopwatch): Promise<Encoded> {
    this.#forgetEncoded();
    const handle = await fovea.encodeImage(picture.blob, {
      signal,
      onStage: (progress) => watch.onStage(progress.stage, progress.done),
    });
    const times = watch.finish();
    this.#encoded = { picture, handle, image: times.image ?? 0, encode: times.encode ?? 0 };
    return this.#encoded;
  }

  /** Stops the run, or keeps it from starting. */
  stop(): void {
    if (this.#store.state.run.kind === 'waiting') this.#store.set({ run: { kind: 'idle' } });
    this.#running?.abort();
  }

  setPicture(picture: Picture): void {
    this.#asked += 1;
    this.stop();
    this.#running = undefined;
    this.#forgetEncoded();
    const before = this.#store.state.picture;
    if (before) release(before);
    this.#store.set({ picture, pictureProblem: undefined, run: { kind: 'idle' }, zoom: 'fit' });
  }

  #forgetEncoded(): void {
    this.#encoded?.handle.release();
    this.#encoded = undefined;
  }

  #discard(): void {
    this.#running?.abort();
    this.#fovea?.dispose();
    this.#fovea = undefined;
    this.#encoded = undefined;
  }
}

/** Times stages as they are heard of, and shows the run's state. */
class Stopwatch {
  text = '';
  #store: Store;
  #stage: keyof StageTimes = 'image';
  #since = performance.now();
  #times: StageTimes = {};

  constructor(store: Store) {
    this.#store = store;
    this.#show(0);
  }

  onStage(stage: keyof StageTimes, done: number): void {
    if (stage !== this.#stage) {
      this.#times = { ...this.#times, [this.#stage]: performance.now() - this.#since };
      this.#stage = stage;
      this.#since = performance.now();
    }
    this.#show(done);
  }

  onText(text: string): void {
    this.text += text;
    this.onStage('decode', 0);
  }

  /** Ends the stage that runs; what comes next begins now. */
  finish(): StageTimes {
    this.onStage('prefill', 0);
    return this.#times;
  }

  #show(done: number): void {
    this.#store.set({
      run: { kind: 'running', stage: this.#stage, done, since: this.#since, times: this.#times, text: this.text },
    });
  }
}

/** What is missing is known only through rate and time left, which fall away when the network pauses. */
function withArrived(now: Progress, before: LoadProgress | undefined): LoadProgress {
  const missing = now.remaining === undefined ? now.total : now.remaining * now.rate;
  const earlier = before?.total === now.total ? before.arrived : 0;
  return { ...now, arrived: Math.min(now.total, Math.max(earlier, now.loaded, now.downloaded, now.total - missing)) };
}

/** Adds what the picture took before the question was asked. */
function withEncoding(grounding: Grounding, encoded: Encoded): Grounding {
  const { timings } = grounding;
  const total = timings.total + encoded.image + encoded.encode;
  return { ...grounding, timings: { ...timings, image: encoded.image, encode: encoded.encode, total } };
}
