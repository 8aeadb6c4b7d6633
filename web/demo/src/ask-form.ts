/** The instruction, its examples, and the buttons that run and stop. */

import { byId, make, setText } from './dom.js';
import { GENERAL_INSTRUCTIONS, SAMPLES } from './samples.js';
import type { State, Store } from './state.js';

export interface AskFormActions {
  run: (instruction: string) => void;
  stop: () => void;
}

/** Returns what runs the instruction that stands in the form. */
export function connectAskForm(store: Store, actions: AskFormActions): () => void {
  const form = byId<HTMLFormElement>('ask');
  const field = byId<HTMLTextAreaElement>('instruction');
  const run = byId<HTMLButtonElement>('run');
  const stop = byId<HTMLButtonElement>('stop');
  const hint = byId('hint');
  const examples = byId('examples');
  let examplesOf: string | undefined;

  const lacks = (state: State): string => {
    if (!state.picture) return 'Choose a picture first.';
    if (field.value.trim() === '') return 'Type what to do, or take an example.';
    return '';
  };

  const render = (state: State): void => {
    const busy = state.run.kind === 'running' || state.run.kind === 'waiting';
    // Not `disabled`, which would throw the keyboard's focus away when a run begins.
    run.setAttribute('aria-disabled', String(busy || lacks(state) !== ''));
    const focused = document.activeElement === stop;
    stop.hidden = !busy;
    if (focused && !busy) run.focus();
    setText(hint, busy ? '' : lacks(state));
    hint.hidden = busy || lacks(state) === '';
    showExamples(state);
  };

  const showExamples = ({ picture }: State): void => {
    const of = picture ? (picture.sample ?? 'own') : 'none';
    if (of === examplesOf) return;
    examplesOf = of;
    const instructions = SAMPLES.find((sample) => sample.file === of)?.instructions ?? GENERAL_INSTRUCTIONS;
    byId('examples-group').hidden = of === 'none';
    examples.replaceChildren(...instructions.map((instruction) => make('li', '', example(instruction))));
  };

  const example = (instruction: string): HTMLButtonElement => {
    const button = make('button', 'chip', instruction);
    button.type = 'button';
    button.addEventListener('click', () => {
      field.value = instruction;
      render(store.state);
      submit();
    });
    return button;
  };

  const submit = (): void => {
    const { state } = store;
    if (lacks(state) !== '') {
      if (state.picture) field.focus();
      return;
    }
    actions.run(field.value.trim());
  };

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (run.getAttribute('aria-disabled') !== 'true') submit();
  });
  field.addEventListener('keydown', (event) => {
    // Enter also ends an input method's composition, which is no wish to run.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  field.addEventListener('input', () => render(store.state));
  stop.addEventListener('click', actions.stop);

  store.subscribe(render);
  return submit;
}
