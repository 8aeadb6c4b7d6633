/** Checks what the caller gave, before anything begins: a wrong option is said at once, and by its name. */

import { assetsFolder } from './assets.js';
import { OptionError } from './errors.js';
import type { LoadParams } from './protocol.js';
import type { LoadOptions, Tier } from './types.js';

const QUANTISATIONS = ['f32', 'f16', 'q8', 'q4'] as const;
const CACHES = ['auto', 'required', 'none'] as const;
const KERNELS = ['auto', 'gpu', 'cpu'] as const;
const THREADS = ['worker', 'page'] as const;
const CREDENTIALS = ['omit', 'same-origin', 'include'] as const;
/** Requests at once that make sense. */
const MOST_PARALLEL = 64;

function oneOf<T extends string>(name: string, value: unknown, allowed: readonly T[]): T {
  if (allowed.includes(value as T)) return value as T;
  throw new OptionError(`${name}: expected one of ${allowed.join(', ')}`);
}

function checkFunction(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'function') throw new OptionError(`${name}: expected a function`);
}

/** A positive whole number. */
export function checkCount(name: string, value: unknown, most = Number.MAX_SAFE_INTEGER): void {
  if (Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= most) return;
  throw new OptionError(`${name}: expected a positive whole number${most < Number.MAX_SAFE_INTEGER ? `, at most ${most}` : ''}`);
}

/** A number within bounds. */
export function checkNumber(name: string, value: unknown, least: number, most: number): void {
  if (typeof value === 'number' && value >= least && value <= most) return;
  throw new OptionError(`${name}: expected a number from ${least} to ${most}`);
}

export function checkTier(tier: Tier | undefined): Tier {
  if (tier === undefined) return {};
  if (typeof tier !== 'object' || tier === null) throw new OptionError('tier: expected an object');
  const checked: Tier = {};
  for (const name of ['f16', 'subgroups'] as const) {
    const value: unknown = tier[name];
    if (value !== undefined && typeof value !== 'boolean') throw new OptionError(`tier.${name}: expected true or false`);
    if (value !== undefined) checked[name] = value;
  }
  if (tier.kernels !== undefined) checked.kernels = oneOf('tier.kernels', tier.kernels, KERNELS);
  return checked;
}

/** What loading takes, but for the model's place. */
export function loadParams(options: LoadOptions): Omit<LoadParams, 'location'> {
  const { quantisation = 'q4', cache = 'auto', parallel = 4, thread = 'worker', credentials, integrity } = options;
  const assets = assetsFolder(options.assets);
  checkCount('parallel', parallel, MOST_PARALLEL);
  oneOf('thread', thread, THREADS);
  checkFunction('fetch', options.fetch);
  checkFunction('onProgress', options.onProgress);
  return {
    quantisation: oneOf('quantisation', quantisation, QUANTISATIONS),
    tier: checkTier(options.tier),
    cache: oneOf('cache', cache, CACHES),
    parallel,
    headers: plainHeaders(options.headers),
    ...(credentials === undefined ? {} : { credentials: oneOf('credentials', credentials, CREDENTIALS) }),
    ...(integrity === undefined ? {} : { integrity: sha256Of(integrity) }),
    ...(assets === undefined ? {} : { assets }),
  };
}

/** Headers as plain data, which crosses to a worker. */
function plainHeaders(headers: HeadersInit | undefined): Record<string, string> {
  let checked: Headers;
  try {
    checked = new Headers(headers);
  } catch {
    // The browser's words repeat the value, which may be a secret.
    throw new OptionError('headers: not the names and values of HTTP headers');
  }
  if (checked.has('range')) throw new OptionError('headers: `range` is set for each request');
  return Object.fromEntries(checked);
}

/** The hash of `sha256-` and base64, in hexadecimal. */
function sha256Of(integrity: string): string {
  const base64 = typeof integrity === 'string' ? /^sha256-([A-Za-z0-9+/]{43}=)$/.exec(integrity)?.[1] : undefined;
  if (base64 === undefined) throw new OptionError('integrity: expected `sha256-` and 44 characters of base64');
  return Array.from(atob(base64), (byte) => byte.charCodeAt(0).toString(16).padStart(2, '0')).join('');
}
