/** Where a model's files are. */

import { ModelError } from './errors.js';
import type { ModelLocation } from './types.js';

/** The addresses of a model's files, in a form that crosses to a worker. */
export interface Location {
  /** What the model's record is kept under: its folder's address, or `nano`. */
  id: string;
  /** The folder's address, with a slash at its end before any query. */
  base?: string;
  /** Or each file's own. */
  urls?: Record<string, string>;
}

/**
 * nano's files, each in the form that bundlers recognise: they copy the file and put its new address here. The build
 * checks the list against the folder.
 */
export const NANO: Record<string, string> = {
  'manifest.json': new URL('./models/nano/manifest.json', import.meta.url).href,
  'chat_template.json': new URL('./models/nano/chat_template.json', import.meta.url).href,
  'config.json': new URL('./models/nano/config.json', import.meta.url).href,
  'generation_config.json': new URL('./models/nano/generation_config.json', import.meta.url).href,
  'model.safetensors': new URL('./models/nano/model.safetensors', import.meta.url).href,
  'preprocessor_config.json': new URL('./models/nano/preprocessor_config.json', import.meta.url).href,
  'tokenizer.json': new URL('./models/nano/tokenizer.json', import.meta.url).href,
  'tokenizer_config.json': new URL('./models/nano/tokenizer_config.json', import.meta.url).href,
};

/** Resolves what the caller gave, against the page. */
export function locate(model: ModelLocation): Location {
  if (model === 'nano') return { id: 'nano', urls: NANO };
  let url: URL;
  try {
    url = new URL(model, globalThis.document?.baseURI ?? globalThis.location?.href);
  } catch (cause) {
    throw new ModelError(`${JSON.stringify(String(model))} is not the address of a model's folder`, { cause });
  }
  url.hash = '';
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return { id: url.href, base: url.href };
}

/** The address of one file, or `undefined` if the model has none of this name. A query, such as a token, is kept. */
export function urlOf(location: Location, name: string): string | undefined {
  if (location.urls) return location.urls[name];
  const base = new URL(location.base ?? location.id);
  const url = new URL(name, base);
  url.search = base.search;
  return url.href;
}
