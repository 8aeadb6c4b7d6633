/** Where the package's own files are: its worker and its WebAssembly module. */

import { AssetError, OptionError } from './errors.js';
import { shown } from './location.js';

/** What to do about a missing file; ends every such message. */
const HELP = 'serve a copy of the package\'s folder `dist` and give its address as the option `assets`';

/** The folder that the option `assets` names, with a slash at its end. */
export function assetsFolder(assets: string | URL | undefined): string | undefined {
  if (assets === undefined) return undefined;
  const url = resolve('assets', assets);
  url.hash = '';
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url.href;
}

/** A file of that folder. The folder's query, such as a version, is kept. */
export function assetOf(folder: string, name: string): string {
  const base = new URL(folder);
  const url = new URL(name, base);
  url.search = base.search;
  return url.href;
}

/** Resolves an address that the caller gave, against the page. */
function resolve(option: string, given: string | URL): URL {
  if (typeof given === 'string' || given instanceof URL) {
    try {
      return new URL(given, globalThis.document?.baseURI ?? globalThis.location?.href);
    } catch {
      // Said below, without the address, in which a secret may be.
    }
  }
  throw new OptionError(`${option}: expected an address`);
}

/** An address that a worker is started from. */
interface Script {
  url: URL;
  options: WorkerOptions;
}

/**
 * Starts the package's worker. A worker's script must come from the page's own origin; where it comes from another one,
 * such as a CDN, the worker is a script of one line, a `blob:`, that imports it.
 */
export function startWorkerScript(
  worker: string | URL | (() => Worker) | undefined,
  assets: string | undefined,
): { worker: Worker; url: string } {
  if (typeof Worker !== 'function') {
    throw new AssetError("there are no workers here; with `thread: 'page'` the engine runs without one", '');
  }
  if (typeof worker === 'function') {
    let made: unknown;
    try {
      made = worker();
    } catch (cause) {
      throw new AssetError(`worker: the function fails: ${cause instanceof Error ? cause.message : String(cause)}`, '', {
        cause,
      });
    }
    if (!(made instanceof Worker)) throw new OptionError('worker: the function gives no Worker');
    return { worker: made, url: 'the one of the option `worker`' };
  }
  const script = scriptOf(worker, assets);
  const url = shown(script.url.href);
  try {
    return { worker: start(script), url };
  } catch (cause) {
    // A content security policy, or a browser without module workers.
    const why = cause instanceof Error ? `: ${cause.message.replaceAll(script.url.href, url)}` : '';
    throw new AssetError(`the worker ${url} cannot be started${why}; ${HELP}`, url);
  }
}

function scriptOf(worker: string | URL | undefined, assets: string | undefined): Script {
  const options: WorkerOptions = { type: 'module', name: 'fovea' };
  if (worker !== undefined) return { url: resolve('worker', worker), options };
  if (assets !== undefined) return { url: new URL(assetOf(assets, 'worker.js')), options };
  try {
    return bundledScript();
  } catch (cause) {
    // `import.meta.url` is missing in bundles that are no modules.
    throw new AssetError(`this bundle does not know where the package's worker is; ${HELP}`, '', { cause });
  }
}

/**
 * Where the package's worker is by itself, or where a bundler has put it. Bundlers rewrite a worker's address only in the
 * very form of the last line, so that the constructor is replaced for as long as that runs, and hands the address out.
 */
function bundledScript(): Script {
  const original = globalThis.Worker;
  let script: Script | undefined;
  globalThis.Worker = class {
    constructor(url: string | URL, options: WorkerOptions = {}) {
      script = { url: new URL(url, globalThis.location?.href), options };
    }
  } as unknown as typeof Worker;
  try {
    new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'fovea' });
  } finally {
    globalThis.Worker = original;
  }
  if (!script) throw new TypeError('the worker has no address');
  return script;
}

function start({ url, options }: Script): Worker {
  const own = globalThis.location?.origin;
  if (url.origin === own || url.protocol === 'blob:' || url.protocol === 'data:') return new Worker(url, options);
  const address = JSON.stringify(url.href);
  // Static, so that no message arrives before the script that hears it.
  const line = options.type === 'module' ? `import ${address};` : `importScripts(${address});`;
  const blob = URL.createObjectURL(new Blob([line], { type: 'text/javascript' }));
  const worker = new Worker(blob, options);
  // It may go as soon as the worker has read it: that it has is known by its first message.
  const revoke = () => URL.revokeObjectURL(blob);
  worker.addEventListener('message', revoke, { once: true });
  worker.addEventListener('error', revoke, { once: true });
  return worker;
}

/** Of a worker that broke down before it said anything. */
export function workerMissing(url: string): AssetError {
  const where = url.startsWith('the one') ? '' : url;
  return new AssetError(`the worker does not start: nothing that runs is at ${url}; ${HELP}`, where);
}

/** Of a WebAssembly module that cannot be fetched or instantiated. */
export function moduleMissing(url: string, cause: unknown): AssetError {
  const address = shown(url);
  const why = cause instanceof Error ? cause.message.replaceAll(url, address) : String(cause);
  return new AssetError(`the WebAssembly module ${address} does not start: ${why}; ${HELP}`, address, { cause });
}
