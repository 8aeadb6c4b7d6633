/** Where the model is that the caller gave; on the page's side, which has the import map. */

import { ModelError, OptionError } from './errors.js';
import type { Location } from './location.js';
import { shown } from './location.js';
import { nano } from './nano.js';
import type { ModelLocation, ModelPackage } from './types.js';

/** Resolves what the caller gave, against the page. */
export async function locate(model: ModelLocation): Promise<Location> {
  if (model === 'nano') return ofPackage(await nano());
  return isPackage(model) ? ofPackage(model) : ofFolder(model);
}

/** What a model's record is kept under. */
export function idOf(model: ModelLocation): string {
  if (model === 'nano') return 'nano';
  return isPackage(model) ? ofPackage(model).id : ofFolder(model).id;
}

const isPackage = (model: ModelLocation): model is ModelPackage =>
  typeof model === 'object' && model !== null && !(model instanceof URL);

function ofPackage({ name, files }: ModelPackage): Location {
  const named = typeof name === 'string' && name !== '' && typeof files === 'object' && files !== null;
  if (!named || !Object.values(files).every((url) => typeof url === 'string')) {
    throw new OptionError('model: a package has a `name`, and `files` with the address of each');
  }
  // A null prototype, so that a manifest cannot name what every object has.
  return { id: name, urls: Object.assign(Object.create(null) as Record<string, string>, files) };
}

function ofFolder(model: string | URL): Location {
  if (typeof model !== 'string' && !(model instanceof URL)) {
    throw new OptionError("model: expected 'nano', a package, or the address of a folder");
  }
  let url: URL;
  try {
    url = new URL(model, globalThis.document?.baseURI ?? globalThis.location?.href);
  } catch {
    // Without the cause, which repeats the address.
    throw new ModelError(`${JSON.stringify(shown(String(model)))} is not the address of a model's folder`);
  }
  if (url.username || url.password) {
    throw new ModelError(`${shown(url.href)}: browsers fetch no address with a user or a password; give \`headers\``);
  }
  if (!/^https?:$/.test(url.protocol)) {
    throw new ModelError(`${shown(url.href)}: a model is fetched by https: or http:, not by ${url.protocol}`);
  }
  url.hash = '';
  const file = /[^/]+\.(gguf|safetensors|bin|pth?|onnx|json)$/i.exec(url.pathname);
  if (file) {
    const kind = file[1]?.toLowerCase() ?? '';
    const what = ['safetensors', 'json'].includes(kind)
      ? 'one file of a model: give the address of its folder'
      : `a ${kind} file, which is not read: give the folder of the original model, in safetensors`;
    throw new ModelError(`${file[0]}: ${what}`);
  }
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return { id: shown(url.href), base: url.href };
}
