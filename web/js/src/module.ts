/** Instantiates the WebAssembly module. */

import { assetOf, moduleMissing } from './assets.js';
import type { Bridge } from './bridge.js';

/** The module's bytes: in the folder of the option `assets`, else where the package or its bundler has put them. */
function bytes(assets: string | undefined): URL {
  if (assets !== undefined) return new URL(assetOf(assets, 'wasm/fovea_web_bg.wasm'));
  return new URL('./wasm/fovea_web_bg.wasm', import.meta.url);
}

/** Makes it ready, from its JavaScript. */
export async function instantiate(module: Bridge, assets: string | undefined): Promise<Bridge> {
  let url = '';
  try {
    const address = bytes(assets);
    url = address.href;
    await module.default({ module_or_path: address });
    return module;
  } catch (cause) {
    throw moduleMissing(url, cause);
  }
}
