/** The small model `nano`, which is a package of its own, so that only those download it who use it. */

import { ModelError } from './errors.js';
import type { ModelPackage } from './types.js';

/** The package `fovea-nano`, if the page or its bundle has it. */
export async function nano(): Promise<ModelPackage> {
  try {
    const { default: found } = await import('fovea-nano');
    return found;
  } catch (cause) {
    throw new ModelError(
      "the model 'nano' is a package of its own, fovea-nano, which is not here: run `npm install fovea-nano` (without " +
        'a bundler, name it in the import map too), or give another `model`',
      { cause },
    );
  }
}
