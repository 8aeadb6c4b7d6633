/**
 * Finds things on pictures of web pages, locally on WebGPU: a screenshot and an instruction go in, an action with a box
 * comes out. {@link Fovea} is where to begin.
 *
 * @module fovea
 */

export * from './errors.js';
export { Fovea } from './fovea.js';
export type * from './types.js';
