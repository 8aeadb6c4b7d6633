/** Puts the page together. */

import { connectAnnouncer } from './announcer.js';
import { connectAnswer } from './answer.js';
import { connectAskForm } from './ask-form.js';
import { byId } from './dom.js';
import { connectExport } from './export.js';
import { connectFigures } from './figures.js';
import { connectModelStrip } from './model-strip.js';
import { connectPictureFrame } from './picture-frame.js';
import type { Remedy } from './problem.js';
import { Session } from './session.js';
import { connectSettings, stored } from './settings.js';
import { connectSources } from './sources.js';
import { Store } from './state.js';
import { connectTheme } from './theme.js';

const store = new Store({
  settings: stored(),
  model: { kind: 'loading' },
  run: { kind: 'idle' },
  heat: true,
  zoom: 'fit',
});
const session = new Session(store);

connectTheme();
const openSettings = connectSettings(
  () => store.state,
  (settings) => void session.load(settings),
);
byId('settings-open').addEventListener('click', openSettings);

const onRemedy = (remedy: Remedy): void => {
  switch (remedy) {
    case 'load':
      void session.load();
      break;
    case 'load-without-keeping':
      void session.load({ keep: false });
      break;
    case 'run':
      run();
      break;
    case 'settings':
      openSettings();
      break;
  }
};

connectModelStrip(store, { load: () => void session.load(), stop: () => session.stopLoading(), onRemedy });
connectPictureFrame(store, onRemedy);
connectSources(store, (picture) => session.setPicture(picture));
const run = connectAskForm(store, {
  run: (instruction) => void session.run(instruction),
  stop: () => session.stop(),
});
connectAnswer(store, onRemedy);
connectFigures(store);
connectExport(store);
connectAnnouncer(store);

addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || byId<HTMLDialogElement>('settings').open) return;
  const { run, model } = store.state;
  if (run.kind === 'running' || run.kind === 'waiting') session.stop();
  else if (model.kind === 'loading') session.stopLoading();
});

void session.load();
