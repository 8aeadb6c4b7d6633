/** What the WebAssembly module exports (crate `fovea-web`), and what it calls back. */

import type { Action, AnswerGrammar, Capabilities, HeatMap, ModelInfo, Quantisation, Tier } from './types.js';

/** A model's files; the module asks for bytes and never sees where they come from. */
export interface Source {
  files: { name: string; bytes: number }[];
  /** Bytes `start` to `end` (exclusive) of a file. */
  read(name: string, start: number, end: number): Promise<Uint8Array>;
}

/** What the module throws: an `Error` with `code` of {@link ErrorCode}, and details for the class's fields. */
export interface BridgeError extends Error {
  code: string;
  detail?: Record<string, string | number>;
}

export interface BridgeDevice {
  capabilities(): Capabilities;
  /** Bytes of all GPU buffers. */
  gpu_bytes(): number;
  /** The failure of the device, if it has one; it stays failed. */
  failure(): BridgeError | undefined;
  /** Gives the device back. */
  destroy(): void;
  free(): void;
}

export interface BridgeImage {
  readonly width: number;
  readonly height: number;
  readonly tokens: number;
  /** Milliseconds of preparation and vision tower; 0 when it was encoded before. */
  readonly milliseconds: number;
  free(): void;
}

export interface BridgeAnswer {
  text: string;
  /** Whether the action is something to do. */
  found: boolean;
  action: Action;
  heat?: HeatMap;
  /** Milliseconds. */
  prefill: number;
  decode: number;
  prompt_tokens: number;
  answer_tokens: number;
  /** Of which a grammar forced: they cost no step of decoding. */
  forced_tokens: number;
}

/** `stage` is `encode` or `prefill`, `done` 0 to 1. */
export type OnStage = (stage: 'encode' | 'prefill', done: number) => void;
export type OnToken = (id: number, text: string) => void;

/** How an answer in words is drawn. */
export interface Sampling {
  max_tokens: number;
  temperature: number;
  top_k: number;
  top_p: number;
  seed: number;
  /** Year, month, day, hour, minute and second where the page is. */
  time: number[];
  grammar?: AnswerGrammar;
}

/** One call at a time: a second one while a first is pending throws `code: 'internal'`. */
export interface BridgeModel {
  info(): ModelInfo;
  weight_bytes(): number;
  kv_bytes(): number;
  /** RGBA, row by row. */
  encode(rgba: Uint8Array, width: number, height: number, on_stage: OnStage | undefined, signal: AbortSignal | undefined): Promise<BridgeImage>;
  /** A PNG, JPEG, WebP, GIF or BMP file. */
  encode_file(file: Uint8Array, on_stage: OnStage | undefined, signal: AbortSignal | undefined): Promise<BridgeImage>;
  ground(
    image: BridgeImage,
    instruction: string,
    options: { max_tokens: number; heat: boolean; free: boolean; time: number[] },
    on_stage: OnStage | undefined,
    on_token: OnToken | undefined,
    signal: AbortSignal | undefined,
  ): Promise<BridgeAnswer>;
  /** `messages`: as the public `Message[]`. The answer has no `found`, `action` and `heat`. */
  generate(
    messages: unknown,
    images: BridgeImage[],
    options: Sampling,
    on_stage: OnStage | undefined,
    on_token: OnToken | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Omit<BridgeAnswer, 'found' | 'action' | 'heat'>>;
  free(): void;
}

export interface Bridge {
  /** Instantiates the module. */
  default(input: { module_or_path: URL | Response | WebAssembly.Module }): Promise<unknown>;
  /** `subgroups`: the device that will be requested has them. */
  Device: { open(tier: Tier, subgroups: boolean): Promise<BridgeDevice> };
  Model: {
    /** `on_progress` hears bytes of tensors that are loaded, and of all. Pipelines are built while bytes arrive. */
    load(
      device: BridgeDevice,
      source: Source,
      quantisation: Quantisation,
      on_progress: ((loaded: number, total: number) => void) | undefined,
      signal: AbortSignal | undefined,
    ): Promise<BridgeModel>;
  };
  /** Bytes of linear memory. */
  wasm_bytes(): number;
}
