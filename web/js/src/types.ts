/// <reference lib="esnext.disposable" preserve="true" />
/** The shapes of what goes in and comes out. */

/** A picture: anything a page can hold one in. */
export type ImageInput = Blob | ImageBitmap | ImageData | HTMLCanvasElement | OffscreenCanvas | HTMLImageElement | VideoFrame;

/** How weight matrices are stored on the GPU. `q4` keeps the vision tower in 8 bits. */
export type Quantisation = 'f32' | 'f16' | 'q8' | 'q4';

/** A model as a package of its own, such as `fovea-nano`: the address of each file. */
export interface ModelPackage {
  /** What kept files are listed under. */
  name: string;
  /** Addresses by file name: `manifest.json` and what it lists, or the files that a published checkpoint has. */
  files: Record<string, string>;
}

/** Where a model's files are. */
export type ModelLocation =
  /** The small model of the package `fovea-nano`, which has to be installed as well. */
  | 'nano'
  /**
   * A folder: `manifest.json` is read from it, or else the files that a published checkpoint has. A query, such as a token,
   * is sent with every file, but the model is known without it: `?v=1` and `?v=2` are the same model.
   */
  | (string & {})
  | URL
  | ModelPackage;

/** The two families of kernels: for GPUs, through workgroup memory, or for processors, straight from memory. */
export type KernelFamily = 'gpu' | 'cpu';

/** Which parts of the adapter to leave unused, for comparison or to avoid a driver's defect. */
export interface Tier {
  /** Use shader-f16 where there is one (default true). */
  f16?: boolean;
  /** Use subgroups where there are (default true). */
  subgroups?: boolean;
  /** Which kernels to run (default `'auto'`: what is faster on this kind of adapter). */
  kernels?: KernelFamily | 'auto';
}

export interface LoadOptions {
  /** Which model (default `'nano'`). */
  model?: ModelLocation;
  /**
   * How to store its weights (default `'q4'`). With `'f32'`, what layers keep of a picture that they attend to is f32 as
   * well, else f16.
   */
  quantisation?: Quantisation;
  tier?: Tier;
  /** `'worker'` (default) keeps the page free; `'page'` runs in the caller's thread. */
  thread?: 'worker' | 'page';
  /**
   * `'auto'` keeps the files in the origin private file system, or in the Cache API, or in memory; where storage is too
   * small it goes on without and says so in {@link Progress.cache}. `'required'` throws {@link QuotaError} instead;
   * `'none'` keeps nothing.
   */
  cache?: 'auto' | 'required' | 'none';
  /**
   * Ask the browser not to delete the kept files when storage runs short (default false). Some browsers ask the person
   * in front of them, so this is for a moment at which they expect it.
   */
  persist?: boolean;
  /** Requests at once, 1 to 64 (default 4). */
  parallel?: number;
  /**
   * Sent with every request for the model's files, such as `{ authorization: 'Bearer ...' }`. Another origin has to allow
   * them (CORS). A server that redirects gets to choose who sees them, except `authorization`.
   */
  headers?: HeadersInit;
  /** Whether cookies go with these requests; as in `fetch` (default `'same-origin'`). */
  credentials?: RequestCredentials;
  /**
   * Fetches the model's files instead of the browser's `fetch`; called in the page's thread, with an address, method,
   * headers, credentials, cache mode and signal.
   */
  fetch?: typeof fetch;
  /**
   * The hash that `manifest.json` must have, `sha256-` and base64, as `fovea-manifest` prints it: then every byte of the
   * model is the one that was meant, whoever serves it. Without the right manifest loading fails.
   */
  integrity?: string;
  /**
   * A folder with a copy of this package's `dist`, of the same version: the worker and the WebAssembly module come from
   * there. For bundlers that do not copy them, such as esbuild and Rollup, and for other origins.
   */
  assets?: string | URL;
  /**
   * The worker's script, or a function that starts it, for a bundler's own way: with Vite
   * `import FoveaWorker from 'fovea/worker?worker'` and `worker: () => new FoveaWorker()`.
   */
  worker?: string | URL | (() => Worker);
  /** Called about ten times a second, and again when a lost device or worker makes the model load anew. */
  onProgress?: (progress: Progress) => void;
  /** Ends loading; the promise rejects with the signal's reason. What has arrived is kept. */
  signal?: AbortSignal;
}

/** How far loading is. */
export interface Progress {
  /** `download` while bytes come from the network or the cache, `ready` once at the end. */
  phase: 'open' | 'download' | 'ready';
  /** Bytes that are on the GPU, or on their way there. */
  loaded: number;
  /** Bytes of all tensors and files that the model needs; 0 while unknown. */
  total: number;
  /** Bytes that came over the network so far. */
  downloaded: number;
  /** Bytes a second over the network, over the last seconds; 0 when all is cached. */
  rate: number;
  /** Seconds left at this rate; `undefined` while unknown. */
  remaining?: number;
  /** Where files are kept. */
  cache: CacheState;
  /** Attempts that failed and were repeated. */
  retries: number;
}

export interface CacheState {
  kind: 'opfs' | 'cache-api' | 'memory' | 'none';
  /** Why nothing, or less than asked for, is kept. */
  problem?: string;
}

/** A rectangle in pixels of the picture that was handed over. */
export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export interface Point {
  x: number;
  y: number;
}

/** An element of the picture, and what the model says about it. */
export interface Target {
  box: Box;
  /** Where to click: the middle of the box. */
  point: Point;
  elementType?: string;
  elementInfo?: string;
}

/** A key of a gesture, by the model's name for it, such as `Lcontrol`, `Return` or `A`. */
export interface KeyStroke {
  kind: 'down' | 'press' | 'up';
  key: string;
}

/** What to do, in CogAgent's vocabulary; `kind` says which fields there are. */
export type Action =
  | ({ kind: 'click' | 'double_click' | 'right_click' | 'hover' } & Target)
  /** Type into an element. */
  | ({ kind: 'type'; text: string } & Target)
  /** Choose an option of an element. */
  | ({ kind: 'select'; text: string } & Target)
  /** Turn the wheel over an element, by so many notches. */
  | ({ kind: 'scroll'; direction: 'up' | 'down' | 'left' | 'right'; steps: number } & Target)
  | { kind: 'key_press'; key: string }
  | { kind: 'gesture'; keys: KeyStroke[] }
  /** Open a program, or a page. */
  | { kind: 'launch'; app?: string; url?: string }
  /** Read the text of an element into the variable `output`; `result` is what the model has read. */
  | ({ kind: 'quote_text'; output: string; result?: string; autoScroll?: boolean } & Target)
  | { kind: 'quote_clipboard'; output: string; result?: string }
  | { kind: 'llm'; prompt: string; output: string; result?: string }
  /** The task is done. */
  | { kind: 'end' }
  /** Nothing in the picture is what was asked for. */
  | { kind: 'absent' };

/** Where the model looked: one number for each image token, row by row, the largest 1. */
export interface HeatMap {
  columns: number;
  rows: number;
  values: Float32Array;
}

/** Milliseconds of each stage. */
export interface Timings {
  /** Decoding the picture's file and copying its pixels. */
  image: number;
  /** Vision tower; 0 when the picture was encoded before. */
  encode: number;
  /** Reading the prompt. */
  prefill: number;
  /** Writing the answer. */
  decode: number;
  total: number;
  /** Tokens of the picture, of the whole prompt, and of the answer. */
  imageTokens: number;
  promptTokens: number;
  answerTokens: number;
  /** Tokens of the answer that its grammar forced: they cost no step of decoding. */
  forcedTokens: number;
}

export interface Grounding {
  /** Whether there is something to do: `false` with an action of the kind `absent` or `end`. */
  found: boolean;
  action: Action;
  /** The action's box, if it has a place. */
  box?: Box;
  /** The action's click point, if it has a place. */
  point?: Point;
  /**
   * The model's answer. Where it looks twice (`fovea_second_look`), coordinates in it are of the part of the picture that it
   * looked at last; those of `action` are of the picture.
   */
  text: string;
  heat?: HeatMap;
  timings: Timings;
}

/** What a call is doing. */
export interface StageProgress {
  stage: 'image' | 'encode' | 'prefill' | 'decode';
  /** Share that is done, 0 to 1. */
  done: number;
}

/** A piece of an answer. */
export interface Token {
  id: number;
  /** Text that this token completes; may be empty in the middle of a character. */
  text: string;
}

export interface CallOptions {
  /** Ends the call, also while it waits for its turn; the promise rejects with the signal's reason. */
  signal?: AbortSignal;
  onStage?: (progress: StageProgress) => void;
  /**
   * Hand over an `ImageBitmap`, a `VideoFrame` or the bytes of an `ImageData` instead of copying (default false). They
   * are unusable afterwards.
   */
  transfer?: boolean;
}

export interface GroundOptions extends CallOptions {
  onToken?: (token: Token) => void;
  /** Longest answer (default 128). */
  maxTokens?: number;
  /** Also say where the model looked (default false). */
  heat?: boolean;
  /**
   * Let the model write whatever it likes (default false): otherwise only tokens are allowed that keep to its grammar,
   * so that every whole answer can be read, and what the grammar forces is not decoded token by token.
   */
  free?: boolean;
  /** What chat templates write that ask for the date (default: the time of the call). */
  now?: Date;
}

/** What an answer in words must look like; exactly one of them. */
export type AnswerGrammar =
  /** JSON that a schema describes. */
  | { jsonSchema: unknown }
  /** What a regular expression, in the syntax of Rust's `regex`, matches from beginning to end. */
  | { regex: string }
  /** A grammar in llguidance's dialect of Lark's EBNF, from the rule `start` on. */
  | { ebnf: string };

/**
 * A part of a message. Words are text, whatever they look like: a special token that they spell ends no turn and places no
 * picture. `marks` is text of the program's own, in which special tokens count.
 */
export type Part =
  | { type: 'text'; text: string }
  | { type: 'marks'; text: string }
  /** A picture: the next one of {@link GenerateOptions.images}, or that of a `data:` URL. */
  | { type: 'image'; image?: string }
  /** As OpenAI's chat completions have it: a `data:` URL. Nothing is fetched. */
  | { type: 'image_url'; image_url: string | { url: string; detail?: string } };

/**
 * A conversation's turn; pictures stand where their parts do. In the assistant's turns, marks that models write into answers
 * count (boxes, references, places, thinking), so that an answer can be handed back as it came. Calls of tools and their
 * results are written where the model's chat template does, else refused.
 */
export interface Message {
  role: 'system' | 'user' | 'assistant' | 'tool';
  /** `null` only of an assistant that called tools. */
  content?: string | Part[] | null;
  tool_calls?: { id?: string; type?: string; function: { name: string; arguments: unknown } }[];
  tool_call_id?: string;
  name?: string;
  reasoning_content?: string;
}

export interface GenerateOptions extends CallOptions {
  /** Pictures of the conversation, in the order of their `image` parts. */
  images?: (ImageInput | EncodedImageHandle)[];
  /** Longest answer (default 256). */
  maxTokens?: number;
  /** Only tokens are allowed that keep to it. */
  grammar?: AnswerGrammar;
  /** 0 (default) takes the likeliest token always. */
  temperature?: number;
  /** Draw from so many likeliest tokens; 0 (default) from all. */
  topK?: number;
  /** Draw from the likeliest tokens that together have this probability (default 1). */
  topP?: number;
  /** Of the random numbers (default 0). */
  seed?: number;
  /** What chat templates write that ask for the date (default: the time of the call). */
  now?: Date;
}

/** What {@link Fovea.generate} returns when it has yielded all tokens. */
export interface Generation {
  /** The whole answer. */
  text: string;
  timings: Timings;
}

/** A picture whose embeddings stay on the GPU until it is released; from {@link Fovea.encodeImage}. */
export interface EncodedImageHandle {
  readonly id: number;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** Image tokens. */
  readonly tokens: number;
  /** Lets go of the picture; a second time does nothing. */
  release(): void;
  /** The same, at the end of a block: `using page = await fovea.encodeImage(picture)`. */
  [Symbol.dispose](): void;
}

export interface ModelInfo {
  /** `model_type` of the configuration. */
  architecture: string;
  parameters: number;
  quantisation: Quantisation;
  /** Name of the adapter that runs it. */
  adapter: string;
  /** Whether a processor runs the shaders, which is slow. */
  software: boolean;
  /** Which kernels run. */
  kernels: KernelFamily;
  f16: boolean;
  subgroups: boolean;
}

/** Bytes. */
export interface Memory {
  /** All buffers on the GPU. */
  gpu: number;
  /** Of which weights, and KV cache with its state. */
  weights: number;
  kvCache: number;
  /** The module's linear memory. */
  wasm: number;
  /** Kept files of the origin. */
  stored: number;
}

/** A model of which files are kept in this browser. */
export interface StoredModel {
  /** Its folder's address without a query, or its package's name. */
  location: string;
  /** Bytes of all its files. */
  bytes: number;
  /** Bytes of those that are kept. */
  stored: number;
}

/** What {@link Fovea.capabilities} looks at. */
export interface CapabilityOptions extends Pick<LoadOptions, 'tier' | 'assets' | 'worker'> {
  /**
   * Open a device in the engine, as loading would (default false). That fetches the worker and the WebAssembly module, and
   * finds what an adapter does not say of itself.
   */
  device?: boolean;
}

/** Whether and how this browser can run the engine. */
export interface Capabilities {
  /** Whether {@link Fovea.load} can work here. */
  supported: boolean;
  /** Why not, in a sentence for a person. */
  reason?: string;
  /** Limits that are too small, if that is why. */
  limit?: { name: string; has: number; needs: number };
  adapter?: string;
  f16: boolean;
  subgroups: boolean;
  timestamps: boolean;
  /** Whether a processor runs the shaders, which is slow. */
  software: boolean;
  maxBufferSize: number;
  maxStorageBufferBindingSize: number;
}
