/** The worker's end: an engine that answers the page's calls. */

import { Engine } from './engine.js';
import type { Port } from './rpc.js';
import { answer } from './rpc.js';

const scope = globalThis as unknown as Port;
const engine = new Engine({}, (error) => crash(error));
const { crash } = answer(scope, engine);
