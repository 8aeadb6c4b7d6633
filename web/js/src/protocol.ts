/** What the page asks of the engine, and what the engine says meanwhile: the same in a worker and in the page. */

import type { Sampling } from './bridge.js';
import type { WireImage } from './image.js';
import type { Location } from './location.js';
import type {
  Capabilities,
  Generation,
  Grounding,
  LoadOptions,
  Memory,
  Message,
  ModelInfo,
  Progress,
  StageProgress,
  Tier,
  Token,
} from './types.js';

/** {@link LoadOptions}, without what cannot cross to a worker. */
export interface LoadParams extends Pick<Required<LoadOptions>, 'quantisation' | 'tier' | 'cache' | 'parallel'> {
  location: Location;
  headers: Record<string, string>;
  credentials?: RequestCredentials;
  /** SHA-256 of the manifest, in hexadecimal. */
  integrity?: string;
  /** The folder of the package's own files, if not where they are by themselves. */
  assets?: string;
  /** By which the page fetches for the worker (`relay.ts`). */
  fetch?: MessagePort;
}

/** A picture, or the number of one that was encoded before. */
export type WirePicture = WireImage | number;

export interface Methods {
  load: { params: LoadParams; result: ModelInfo };
  encode: { params: { image: WireImage }; result: { id: number; width: number; height: number; tokens: number } };
  release: { params: { id: number }; result: void };
  ground: {
    params: { image: WirePicture; instruction: string; maxTokens: number; heat: boolean; free: boolean; time: number[] };
    result: Grounding;
  };
  generate: {
    params: {
      messages: Message[];
      images: WirePicture[];
      sampling: Sampling;
    };
    result: Generation;
  };
  memory: { params: undefined; result: Memory };
  capabilities: { params: { tier: Tier; assets?: string }; result: Capabilities };
}

export type Method = keyof Methods;
export type Params<M extends Method> = Methods[M]['params'];
export type Result<M extends Method> = Methods[M]['result'];

/** What a call tells before it settles. */
export interface Events {
  progress: Progress;
  stage: StageProgress;
  token: Token;
}

export type Emit = <E extends keyof Events>(event: E, data: Events[E]) => void;
export type Listeners = { [E in keyof Events]?: (data: Events[E]) => void };

/** What runs the calls. */
export interface Host {
  call<M extends Method>(method: M, params: Params<M>, context: { signal: AbortSignal; emit: Emit }): Promise<Result<M>>;
}

export interface CallContext {
  signal?: AbortSignal | undefined;
  listeners?: Listeners;
  transfer?: Transferable[];
}
