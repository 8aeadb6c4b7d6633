/** Everything that can go wrong, as classes that name the part that failed. */

/** What kind of failure this is: stable across versions, unlike the message. */
export type ErrorCode =
  | 'option'
  | 'asset'
  | 'storage'
  | 'webgpu-unavailable'
  | 'adapter-too-small'
  | 'device-lost'
  | 'out-of-memory'
  | 'download'
  | 'integrity'
  | 'quota'
  | 'model'
  | 'image'
  | 'prompt'
  | 'answer'
  | 'disposed'
  | 'internal';

/** Base of all errors of this package; an abort is the signal's own reason instead. */
export class FoveaError extends Error {
  /** The kind of failure. */
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** An option or an argument is not one of those that the types allow; the message names it. */
export class OptionError extends FoveaError {
  constructor(message: string, options?: ErrorOptions) {
    super('option', message, options);
  }
}

/** A part of this package, its worker or its WebAssembly module, is not where the page looks for it. */
export class AssetError extends FoveaError {
  /** Where it was looked for, without a query; empty if the bundle does not know its own address. */
  readonly url: string;

  constructor(message: string, url: string, options?: ErrorOptions) {
    super('asset', message, options);
    this.url = url;
  }
}

/** The browser's storage cannot be read or written, as a whole. */
export class StorageError extends FoveaError {
  constructor(message: string, options?: ErrorOptions) {
    super('storage', message, options);
  }
}

/** The browser has no WebGPU, or gives no adapter. */
export class WebGpuUnavailableError extends FoveaError {
  constructor(message: string, options?: ErrorOptions) {
    super('webgpu-unavailable', message, options);
  }
}

/** The adapter lacks a limit that the engine needs. */
export class AdapterTooSmallError extends FoveaError {
  /** Name of the limit, as WebGPU spells it. */
  readonly limit: string;
  /** What the adapter has. */
  readonly has: number;
  /** What is needed. */
  readonly needs: number;

  constructor(message: string, limit: string, has: number, needs: number, options?: ErrorOptions) {
    super('adapter-too-small', message, options);
    this.limit = limit;
    this.has = has;
    this.needs = needs;
  }
}

/** The GPU went away: a driver reset, a sleeping laptop. The next call loads the model again, from the cache. */
export class DeviceLostError extends FoveaError {
  constructor(message: string, options?: ErrorOptions) {
    super('device-lost', message, options);
  }
}

/** The GPU has no memory left. */
export class OutOfMemoryError extends FoveaError {
  constructor(message: string, options?: ErrorOptions) {
    super('out-of-memory', message, options);
  }
}

/** A file could not be fetched, after several attempts. What has arrived is kept. */
export class DownloadError extends FoveaError {
  /** What was asked for, without a query, which may hold a secret. */
  readonly url: string;
  /** HTTP status of the last attempt; 0 if there was no answer. */
  readonly status: number;

  constructor(message: string, url: string, status: number, options?: ErrorOptions) {
    super('download', message, options);
    this.url = url;
    this.status = status;
  }
}

/** Bytes differ from what the manifest promises. */
export class IntegrityError extends FoveaError {
  /** Name of the file within the model. */
  readonly file: string;
  /** SHA-256 that the manifest has, in hexadecimal. */
  readonly expected: string;
  /** SHA-256 of what arrived. */
  readonly actual: string;

  constructor(message: string, file: string, expected: string, actual: string, options?: ErrorOptions) {
    super('integrity', message, options);
    this.file = file;
    this.expected = expected;
    this.actual = actual;
  }
}

/** The browser's storage is too small to keep the model. */
export class QuotaError extends FoveaError {
  /** Bytes that the model needs. */
  readonly needed: number;
  /** Bytes that the browser offers; if storage filled up in the middle, bytes of the model that it had taken. */
  readonly available: number;

  constructor(message: string, needed: number, available: number, options?: ErrorOptions) {
    super('quota', message, options);
    this.needed = needed;
    this.available = available;
  }
}

/** A file of the model is missing, broken or unsupported; the message names it. */
export class ModelError extends FoveaError {
  constructor(message: string, options?: ErrorOptions) {
    super('model', message, options);
  }
}

/** The picture cannot be read or prepared. */
export class ImageError extends FoveaError {
  constructor(message: string, options?: ErrorOptions) {
    super('image', message, options);
  }
}

/** The instruction or the conversation cannot be put to the model. */
export class PromptError extends FoveaError {
  constructor(message: string, options?: ErrorOptions) {
    super('prompt', message, options);
  }
}

/** The model's answer does not follow its grammar. */
export class AnswerError extends FoveaError {
  /** The whole answer. */
  readonly text: string;

  constructor(message: string, text: string, options?: ErrorOptions) {
    super('answer', message, options);
    this.text = text;
  }
}

/** The object was disposed of. */
export class DisposedError extends FoveaError {
  constructor(message = 'this object was disposed of', options?: ErrorOptions) {
    super('disposed', message, options);
  }
}
