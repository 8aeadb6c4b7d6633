/**
 * The module that wasm-bindgen makes of the crate `fovea-web`, as `bridge.ts` describes it; the build puts the module
 * itself into `dist/wasm`. This file is all that the compiler needs of it.
 */

import type { Bridge } from '../bridge.js';

declare const init: Bridge['default'];
export default init;
export declare const Device: Bridge['Device'];
export declare const Model: Bridge['Model'];
export declare const wasm_bytes: Bridge['wasm_bytes'];
