/** Turns errors into something that crosses to another thread, and back into the right class. */

import type { BridgeError } from './bridge.js';
import type { ErrorCode } from './errors.js';
import {
  AdapterTooSmallError,
  AnswerError,
  AssetError,
  DeviceLostError,
  DisposedError,
  DownloadError,
  FoveaError,
  ImageError,
  IntegrityError,
  ModelError,
  OptionError,
  OutOfMemoryError,
  PromptError,
  QuotaError,
  StorageError,
  WebGpuUnavailableError,
} from './errors.js';

type Detail = Record<string, string | number>;

const number = (value: string | number | undefined) => Number(value ?? 0);
const text = (value: string | number | undefined) => String(value ?? '');

const MAKE: Record<ErrorCode, (message: string, detail: Detail, options?: ErrorOptions) => FoveaError> = {
  option: (message, _, options) => new OptionError(message, options),
  asset: (message, { url }, options) => new AssetError(message, text(url), options),
  storage: (message, _, options) => new StorageError(message, options),
  'webgpu-unavailable': (message, _, options) => new WebGpuUnavailableError(message, options),
  'adapter-too-small': (message, { limit, has, needs }, options) =>
    new AdapterTooSmallError(message, text(limit), number(has), number(needs), options),
  'device-lost': (message, _, options) => new DeviceLostError(message, options),
  'out-of-memory': (message, _, options) => new OutOfMemoryError(message, options),
  download: (message, { url, status }, options) => new DownloadError(message, text(url), number(status), options),
  integrity: (message, { file, expected, actual }, options) =>
    new IntegrityError(message, text(file), text(expected), text(actual), options),
  quota: (message, { needed, available }, options) =>
    new QuotaError(message, number(needed), number(available), options),
  model: (message, _, options) => new ModelError(message, options),
  image: (message, _, options) => new ImageError(message, options),
  prompt: (message, _, options) => new PromptError(message, options),
  answer: (message, detail, options) => new AnswerError(message, text(detail.text), options),
  disposed: (message, _, options) => new DisposedError(message, options),
  internal: (message, _, options) => new FoveaError('internal', message, options),
};

/** The class that belongs to a code; an unknown code is an internal error. */
export function makeError(code: string, message: string, detail: Detail = {}, options?: ErrorOptions): FoveaError {
  const make = Object.hasOwn(MAKE, code) ? MAKE[code as ErrorCode] : MAKE.internal;
  return make(message, detail, options);
}

/** What the WebAssembly module threw, as an error of this package. */
export function fromBridge(error: unknown): FoveaError {
  if (error instanceof FoveaError) return error;
  if (error instanceof Error) {
    const { code, detail } = error as Partial<BridgeError>;
    if (typeof code === 'string') return makeError(code, error.message, detail, { cause: error.cause ?? error });
    return new FoveaError('internal', `${error.name}: ${error.message}`, { cause: error });
  }
  return new FoveaError('internal', String(error), { cause: error });
}

/** An error as plain data. */
export interface WireError {
  name: string;
  message: string;
  stack?: string;
  /** Of a {@link FoveaError}. */
  code?: string;
  detail?: Detail;
  cause?: WireError;
}

export function encodeError(error: unknown, depth = 0): WireError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const wire: WireError = { name: error.name, message: error.message };
  if (error.stack) wire.stack = error.stack;
  // A chain of causes can lead back to its beginning.
  if (error.cause !== undefined && depth < 8) wire.cause = encodeError(error.cause, depth + 1);
  if (error instanceof FoveaError) {
    wire.code = error.code;
    wire.detail = {};
    for (const [key, value] of Object.entries(error)) {
      const plain = typeof value === 'string' || typeof value === 'number';
      if (plain && key !== 'name' && key !== 'code') wire.detail[key] = value;
    }
  }
  return wire;
}

export function decodeError({ name, message, stack, code, detail, cause }: WireError): Error {
  const options = cause ? { cause: decodeError(cause) } : undefined;
  const error = code === undefined ? new Error(message, options) : makeError(code, message, detail, options);
  if (code === undefined) error.name = name;
  if (stack !== undefined) error.stack = stack;
  return error;
}
