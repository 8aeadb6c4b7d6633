/** The worker's end: an engine that answers the page's calls. */

import { Engine } from './engine.js';
import type { Port } from './rpc.js';
import { answer } from './rpc.js';
import { withSubgroups } from './subgroups.js';

const scope = globalThis as unknown as Port;
const engine = new Engine({ subgroups: withSubgroups }, (error) => crash(error));
const { crash } = answer(scope, engine);
