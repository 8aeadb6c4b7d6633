/** The engine in the page's own thread; loaded only where it is asked for. */

import { assetOf, moduleMissing } from './assets.js';
import type { Bridge } from './bridge.js';
import { Engine } from './engine.js';
import { instantiate } from './module.js';
import { Direct } from './rpc.js';
import * as glue from './wasm/fovea_web.js';

/** An engine, and the calls on it. It starts anew by itself if its module breaks down. */
export function startEngine(fetch: typeof globalThis.fetch | undefined): { direct: Direct; engine: Engine } {
  const engine = new Engine({ bridge: module, ...(fetch ? { fetch } : {}) });
  return { direct: new Direct(engine), engine };
}

/** The module; after a breakdown under another address, because a module is instantiated once. */
async function module(attempt: number, assets: string | undefined): Promise<Bridge> {
  if (attempt === 0) return instantiate(glue as unknown as Bridge, assets);
  let url = '';
  let again: Bridge;
  try {
    const address = assets === undefined ? new URL('./wasm/fovea_web.js', import.meta.url) : new URL(assetOf(assets, 'wasm/fovea_web.js'));
    address.searchParams.set('attempt', String(attempt));
    url = address.href;
    again = (await import(/* @vite-ignore */ /* webpackIgnore: true */ url)) as Bridge;
  } catch (cause) {
    throw moduleMissing(url, cause);
  }
  return instantiate(again, assets);
}
