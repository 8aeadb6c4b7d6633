/** The answer as it is written, and what it means. */

import { STAGE_NAMES } from './announcer.js';
import { byId, setText } from './dom.js';
import { extent, place, shortened, verb } from './format.js';
import { problemCard } from './problem-card.js';
import type { Problem, Remedy } from './problem.js';
import type { RunState, Store } from './state.js';

export function connectAnswer(store: Store, onRemedy: (remedy: Remedy) => void): void {
  const section = byId('answer');
  const headline = byId('answer-headline');
  const detail = byId('answer-detail');
  const bar = byId<HTMLProgressElement>('answer-progress');
  const text = byId('answer-text');
  const problems = byId('answer-problem');
  let problem: Problem | undefined;

  store.subscribe(({ run }) => {
    section.dataset['state'] = run.kind;
    section.hidden = run.kind === 'idle';
    setText(headline, headlineOf(run));
    setText(detail, detailOf(run));
    detail.hidden = detail.textContent === '';

    bar.hidden = run.kind !== 'running' && run.kind !== 'waiting';
    // How long the answer becomes is not known before its end.
    if (run.kind === 'running' && run.stage !== 'decode') bar.value = run.done;
    else bar.removeAttribute('value');

    const written = textOf(run);
    setText(text, written);
    text.hidden = written === '';

    const next = run.kind === 'failed' ? run.problem : undefined;
    if (next !== problem) {
      problem = next;
      problems.replaceChildren(...(next ? [problemCard(next, onRemedy)] : []));
    }
    headline.hidden = next !== undefined;
  });
}

function headlineOf(run: RunState): string {
  switch (run.kind) {
    case 'idle':
    case 'failed':
      return '';
    case 'waiting':
      return 'Waiting for the model';
    case 'running':
      return STAGE_NAMES[run.stage];
    case 'stopped':
      return 'Stopped';
    case 'done': {
      const { action, point } = run.result.grounding;
      return point ? `${verb(action)} ${place(point)}` : verb(action);
    }
  }
}

function detailOf(run: RunState): string {
  if (run.kind === 'waiting') return 'It begins as soon as the model is ready.';
  if (run.kind !== 'done') return '';
  const { action, box } = run.result.grounding;
  if (action.kind === 'absent') return 'The model sees nothing like that in the picture.';
  if (action.kind === 'end') return 'The model takes the task as done.';
  const { elementType, elementInfo } = 'box' in action ? action : {};
  const parts = [elementType, elementInfo && `“${shortened(elementInfo)}”`, box && extent(box)];
  const said = parts.filter((part) => part).join(', ');
  return said && said[0]!.toUpperCase() + said.slice(1);
}

function textOf(run: RunState): string {
  if (run.kind === 'done') return run.result.grounding.text;
  // An answer that could not be read stands in its problem, whole.
  if (run.kind === 'failed') return run.problem.answer === undefined ? run.text : '';
  return run.kind === 'running' || run.kind === 'stopped' ? run.text : '';
}
