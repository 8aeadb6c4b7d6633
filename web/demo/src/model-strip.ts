/** The strip under the header: loading with its progress, then what is loaded. */

import { byId, setText } from './dom.js';
import { bytes, parameters, seconds } from './format.js';
import { problemCard } from './problem-card.js';
import { kept, type Problem, type Remedy } from './problem.js';
import { modelName } from './settings.js';
import type { LoadProgress, ModelState, State, Store } from './state.js';

export interface ModelStripActions {
  load: () => void;
  stop: () => void;
  onRemedy: (remedy: Remedy) => void;
}

export function connectModelStrip(store: Store, actions: ModelStripActions): void {
  const strip = byId('model');
  const name = byId('model-name');
  const text = byId('model-text');
  const detail = byId('model-detail');
  const bar = byId<HTMLProgressElement>('model-progress');
  const notice = byId('model-notice');
  const stop = byId<HTMLButtonElement>('model-stop');
  const load = byId<HTMLButtonElement>('model-load');
  const problems = byId('model-problem');
  let shown: Problem | undefined;

  stop.addEventListener('click', actions.stop);
  load.addEventListener('click', actions.load);

  store.subscribe((state) => {
    const { model } = state;
    strip.dataset['state'] = model.kind;
    setText(name, modelName(state.settings.model));
    name.title = state.settings.model;
    const [what, more] = words(state);
    setText(text, what);
    setText(detail, more);

    const progress = 'progress' in model ? model.progress : undefined;
    bar.hidden = model.kind !== 'loading';
    if (progress && progress.total > 0) {
      bar.max = progress.total;
      bar.value = phase(progress)[1];
    } else {
      bar.removeAttribute('value');
    }
    const busy = document.activeElement;
    stop.hidden = model.kind !== 'loading';
    load.hidden = model.kind !== 'stopped';
    // The button that was pressed goes away with the state; its successor takes the focus.
    if (busy === stop && !load.hidden) load.focus();
    if (busy === load && !stop.hidden) stop.focus();

    const problem = model.kind === 'failed' ? model.problem : undefined;
    if (problem !== shown) {
      shown = problem;
      problems.replaceChildren(...(problem ? [problemCard(problem, actions.onRemedy)] : []));
    }
    const said = notices(state);
    notice.hidden = said === '';
    setText(notice, said);
  });
}

/** The state in a word or two, and the figures. */
function words({ model }: State): [string, string] {
  switch (model.kind) {
    case 'loading':
      return [phase(model.progress)[0], figures(model.progress)];
    case 'stopped':
      return ['Not loaded', model.progress ? kept(model.progress) : ''];
    case 'failed':
      return ['Not loaded', ''];
    case 'ready':
      return ['Ready', ready(model)];
  }
}

/** What is going on, and the bytes that it has got to. */
function phase(progress: LoadProgress | undefined): [string, number] {
  if (!progress || progress.total === 0) return ['Opening', 0];
  const { loaded, total, downloaded, rate, arrived } = progress;
  if (loaded >= total) return ['Preparing the graphics processor', total];
  if (downloaded === 0 && rate === 0 && loaded > 0) return ['Loading from this computer', loaded];
  if (arrived < total) return ['Downloading', arrived];
  return ['Moving to the graphics processor', loaded];
}

function figures(progress: LoadProgress | undefined): string {
  if (!progress || progress.total === 0) return '';
  const { arrived, total, downloaded, rate, remaining, retries } = progress;
  const parts = [`${bytes(phase(progress)[1])} of ${bytes(total)}`];
  if (arrived < total) {
    if (rate > 0) parts.push(`${bytes(rate)}/s`);
    // The rate of the first small files says nothing about the large ones.
    const telling = downloaded > 0.02 * total;
    if (telling && remaining !== undefined && remaining >= 0.5) parts.push(`${seconds(remaining)} left`);
  }
  if (retries > 0) parts.push(retries === 1 ? 'connected again once' : `connected again ${retries} times`);
  return parts.join(' · ');
}

function ready({ info, progress, seconds: time }: Extract<ModelState, { kind: 'ready' }>): string {
  const parts = [
    `${parameters(info.parameters)} parameters`,
    info.quantisation,
    info.adapter,
    `f16 ${info.f16 ? 'on' : 'off'}`,
    `subgroups ${info.subgroups ? 'on' : 'off'}`,
  ];
  if (progress) {
    const from = progress.downloaded > 0 ? `${bytes(progress.downloaded)} downloaded` : 'from this computer’s storage';
    parts.push(`loaded in ${seconds(time)}, ${from}`);
  }
  return parts.join(' · ');
}

/** What is worth knowing although it works. */
function notices({ model, settings }: State): string {
  const said: string[] = [];
  const progress = 'progress' in model ? model.progress : undefined;
  if (progress?.cache.problem && settings.keep) {
    // The problem counts single bytes.
    const problem = progress.cache.problem.replace(/\b(\d{4,})( bytes)?/g, (_, digits: string) => bytes(Number(digits)));
    said.push(`The next visit downloads the model again: ${problem}.`);
  }
  if (model.kind === 'ready' && model.info.software) {
    said.push('This browser draws with the processor, not with a graphics card: a picture takes many seconds.');
  }
  return said.join('\n');
}
