/** The worker's end: an engine that answers the page's calls. */

import type { Bridge } from './bridge.js';
import { Engine } from './engine.js';
import { instantiate } from './module.js';
import type { Port } from './rpc.js';
import { answer } from './rpc.js';
import { withSubgroups } from './subgroups.js';
import * as glue from './wasm/fovea_web.js';

const scope = globalThis as unknown as Port;
// Imported and not loaded on demand: bundlers write workers as one file. After a breakdown there is another worker.
const bridge = (_: number, assets: string | undefined) => instantiate(glue as unknown as Bridge, assets);
const engine = new Engine({ bridge, subgroups: withSubgroups }, (error) => crash(error));
const { crash } = answer(scope, engine);
