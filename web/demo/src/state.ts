/** All that the page shows, in one place. Panels render it; `session.ts` and the sources of pictures change it. */

import type { Grounding, Memory, ModelInfo, Progress, StageProgress } from './fovea/index.js';
import type { Picture } from './picture.js';
import type { Problem } from './problem.js';
import type { Settings } from './settings.js';

/** The package counts what has come over the network, and what is on the GPU, which follows. */
export interface LoadProgress extends Progress {
  /** Bytes that are on this computer, whether they came just now or were kept. */
  arrived: number;
}

export type ModelState =
  | { kind: 'loading'; progress?: LoadProgress }
  | { kind: 'stopped'; progress?: LoadProgress }
  | { kind: 'failed'; problem: Problem; progress?: LoadProgress }
  | { kind: 'ready'; info: ModelInfo; progress?: LoadProgress; seconds: number };

export type Stage = StageProgress['stage'];

/** Milliseconds of the stages that are over. */
export type StageTimes = Partial<Record<Stage, number>>;

/** A finished run, with what it was asked. */
export interface Result {
  instruction: string;
  grounding: Grounding;
  memory: Memory;
}

export type RunState =
  | { kind: 'idle' }
  /** Asked for before the model is ready; starts by itself. */
  | { kind: 'waiting' }
  | { kind: 'running'; stage: Stage; done: number; since: number; times: StageTimes; text: string }
  | { kind: 'done'; result: Result }
  | { kind: 'stopped'; text: string }
  | { kind: 'failed'; problem: Problem; text: string };

export type Zoom = 'fit' | 'actual' | 'box';

export interface State {
  settings: Settings;
  model: ModelState;
  picture?: Picture | undefined;
  /** Why the last picture was not taken. */
  pictureProblem?: Problem | undefined;
  run: RunState;
  heat: boolean;
  zoom: Zoom;
}

type Listener = (state: State) => void;

export class Store {
  #state: State;
  #listeners: Listener[] = [];
  #scheduled = false;

  constructor(initial: State) {
    this.#state = initial;
  }

  get state(): State {
    return this.#state;
  }

  set(change: Partial<State>): void {
    this.#state = { ...this.#state, ...change };
    if (this.#scheduled) return;
    this.#scheduled = true;
    // One rendering for all changes of a task. A microtask, not a frame: hidden tabs get no frames.
    queueMicrotask(() => {
      this.#scheduled = false;
      for (const listener of this.#listeners) listener(this.#state);
    });
  }

  /** Calls `listener` now and after every change. */
  subscribe(listener: Listener): void {
    this.#listeners.push(listener);
    listener(this.#state);
  }
}
