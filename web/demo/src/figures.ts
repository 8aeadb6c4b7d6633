/** Tables of what the stages take, as they go, and of memory. */

import { byId, setText } from './dom.js';
import { bytes, count, milliseconds } from './format.js';
import type { Memory, Timings } from './fovea/index.js';
import type { RunState, Stage, Store } from './state.js';

const STAGES: Stage[] = ['image', 'encode', 'prefill', 'decode'];

export function connectFigures(store: Store): void {
  const section = byId('figures');
  const memory = byId('memory');
  let ticking: ReturnType<typeof setInterval> | undefined;

  const render = ({ run, picture }: { run: RunState; picture?: { width: number; height: number } | undefined }): void => {
    section.hidden = run.kind !== 'running' && run.kind !== 'done';
    memory.hidden = run.kind !== 'done';
    if (run.kind === 'running') showRunning(run);
    if (run.kind === 'done') {
      showTimings(run.result.grounding.timings, picture ? `${picture.width} × ${picture.height}` : '');
      showMemory(run.result.memory);
    }
    // Stages report seldom, but their time passes.
    if (run.kind === 'running') ticking ??= setInterval(() => render(store.state), 100);
    else if (ticking !== undefined) {
      clearInterval(ticking);
      ticking = undefined;
    }
  };
  store.subscribe(render);
}

function row(stage: Stage | 'total', time: string, work: string, share: number): void {
  const element = byId(`time-${stage}`);
  setText(element.querySelector('.time')!, time);
  setText(element.querySelector('.work')!, work);
  element.style.setProperty('--share', String(share));
}

function showRunning(run: Extract<RunState, { kind: 'running' }>): void {
  const now = performance.now();
  let total = 0;
  for (const stage of STAGES) {
    const current = stage === run.stage;
    const time = current ? now - run.since : run.times[stage];
    total += time ?? 0;
    byId(`time-${stage}`).classList.toggle('current', current);
    row(stage, time === undefined ? '' : milliseconds(time), current && stage !== 'decode' ? `${Math.floor(100 * run.done)} %` : '', 0);
  }
  row('total', milliseconds(total), '', 0);
}

function showTimings(timings: Timings, size: string): void {
  const { imageTokens, promptTokens, answerTokens } = timings;
  const perSecond = timings.decode > 0 ? `, ${count((1000 * answerTokens) / timings.decode)}/s` : '';
  const work: Record<Stage, string> = {
    image: size,
    encode: timings.encode === 0 ? 'known from before' : `${count(imageTokens)} tokens`,
    prefill: `${count(promptTokens)} tokens`,
    decode: `${count(answerTokens)} tokens${perSecond}`,
  };
  for (const stage of STAGES) {
    const time = timings[stage];
    byId(`time-${stage}`).classList.remove('current');
    row(stage, stage === 'encode' && time === 0 ? '–' : milliseconds(time), work[stage], timings.total > 0 ? time / timings.total : 0);
  }
  row('total', milliseconds(timings.total), '', 0);
}

function showMemory(memory: Memory): void {
  const figures = { gpu: memory.gpu, weights: memory.weights, kv: memory.kvCache, wasm: memory.wasm, stored: memory.stored };
  for (const [name, value] of Object.entries(figures)) setText(byId(`memory-${name}`), bytes(value));
}
