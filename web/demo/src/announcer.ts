/** Says in the live region what has changed: stages and results, never every percent. */

import { byId, setText } from './dom.js';
import { sentence } from './format.js';
import type { Stage, State, Store } from './state.js';

export const STAGE_NAMES: Record<Stage, string> = {
  image: 'Reading the picture',
  encode: 'Looking at the picture',
  prefill: 'Reading the instruction',
  decode: 'Writing the answer',
};

export function connectAnnouncer(store: Store): void {
  const region = byId('status');
  let before: State | undefined;
  store.subscribe((state) => {
    const text = news(before, state);
    before = state;
    if (text !== undefined) setText(region, text);
  });
}

function news(before: State | undefined, { model, run, picture, pictureProblem }: State): string | undefined {
  if (run !== before?.run) {
    if (run.kind === 'done') {
      const { action, box, point } = run.result.grounding;
      return sentence(action, box, point);
    }
    if (run.kind === 'failed') return `${run.problem.title}. ${run.problem.text}`;
    if (run.kind === 'stopped') return 'Stopped';
    if (run.kind === 'waiting') return 'Waiting for the model';
    if (run.kind === 'running') return STAGE_NAMES[run.stage];
  }
  if (model.kind !== before?.model.kind) {
    if (model.kind === 'loading') return 'Loading the model';
    if (model.kind === 'ready') return 'The model is ready';
    if (model.kind === 'stopped') return 'Loading was stopped';
    if (model.kind === 'failed') return `${model.problem.title}. ${model.problem.text}`;
  }
  if (pictureProblem && pictureProblem !== before?.pictureProblem) return pictureProblem.text;
  if (picture && picture !== before?.picture) {
    return `Picture: ${picture.name}, ${picture.width} by ${picture.height} pixels`;
  }
  return undefined;
}
