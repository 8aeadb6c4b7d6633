/** How the model is loaded: the dialog, and its memory across visits. */

import { byId, setText } from './dom.js';
import { bytes } from './format.js';
import { Fovea, type LoadOptions, type Quantisation } from './fovea/index.js';
import type { State } from './state.js';

export interface Settings {
  /** `nano`, or a folder's address. */
  model: string;
  quantisation: Quantisation;
  f16: boolean;
  subgroups: boolean;
  thread: 'worker' | 'page';
  /** Whether the model's files are kept on this computer. */
  keep: boolean;
}

const DEFAULTS: Settings = {
  model: 'nano',
  quantisation: 'q4',
  f16: true,
  subgroups: true,
  thread: 'worker',
  keep: true,
};

const KEY = 'fovea-demo-settings';

export function stored(): Settings {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(KEY) ?? '{}') };
  } catch {
    // Storage that is blocked, or text that another page wrote.
    return { ...DEFAULTS };
  }
}

function store(settings: Settings): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // They hold until the page is closed.
  }
}

export function loadOptions(settings: Settings): LoadOptions {
  return {
    model: settings.model,
    quantisation: settings.quantisation,
    tier: { f16: settings.f16, subgroups: settings.subgroups },
    thread: settings.thread,
    cache: settings.keep ? 'auto' : 'none',
  };
}

/** "nano", or the last telling part of an address: Hugging Face's end in `/resolve/` and a revision. */
export function modelName(model: string): string {
  const parts = model.replace(/[?#].*$/, '').replace(/\/resolve\/[^/]+\/?$/, '').split('/');
  return parts.findLast((part) => part !== '') ?? model;
}

/** Prepares the dialog, and returns what opens it; `apply` takes what was chosen. */
export function connectSettings(current: () => State, apply: (settings: Settings) => void): () => void {
  const dialog = byId<HTMLDialogElement>('settings');
  const form = byId<HTMLFormElement>('settings-form');
  const model = byId<HTMLInputElement>('settings-model');

  const radio = (name: string): RadioNodeList => form.elements.namedItem(name) as RadioNodeList;
  const checkbox = (name: string): HTMLInputElement => form.elements.namedItem(name) as HTMLInputElement;

  const showStored = async (): Promise<void> => {
    // A browser without storage has nothing kept.
    const models = await Fovea.stored().catch(() => []);
    const stored = models.reduce((sum, model) => sum + model.stored, 0);
    setText(byId('settings-stored'), stored === 0 ? 'Nothing is kept now.' : `${bytes(stored)} are kept now.`);
    byId('settings-clear').hidden = stored === 0;
  };
  byId('settings-clear').addEventListener('click', async () => {
    await Fovea.clear();
    await showStored();
    checkbox('keep').focus();
  });

  const fill = (settings: Settings): void => {
    radio('quantisation').value = settings.quantisation;
    radio('thread').value = settings.thread;
    checkbox('f16').checked = settings.f16;
    checkbox('subgroups').checked = settings.subgroups;
    checkbox('keep').checked = settings.keep;
    model.value = settings.model === DEFAULTS.model ? '' : settings.model;
    model.setCustomValidity('');
    byId<HTMLDetailsElement>('settings-advanced').open = model.value !== '';
  };

  model.addEventListener('input', () => model.setCustomValidity(addressProblem(model.value.trim())));
  byId('settings-defaults').addEventListener('click', () => fill(DEFAULTS));
  byId('settings-cancel').addEventListener('click', () => dialog.close());

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const settings: Settings = {
      model: model.value.trim() || DEFAULTS.model,
      quantisation: radio('quantisation').value as Quantisation,
      thread: radio('thread').value as Settings['thread'],
      f16: checkbox('f16').checked,
      subgroups: checkbox('subgroups').checked,
      keep: checkbox('keep').checked,
    };
    store(settings);
    dialog.close();
    apply(settings);
  });

  return () => {
    const { settings, model } = current();
    const info = model.kind === 'ready' ? model.info : undefined;
    fill(settings);
    for (const feature of ['f16', 'subgroups'] as const) {
      setText(byId(`settings-${feature}`), info && settings[feature] && !info[feature] ? '(this adapter has none)' : '');
    }
    void showStored();
    dialog.showModal();
  };
}

/** The page's content security policy lets models come from its own server and from https only. */
function addressProblem(address: string): string {
  if (address === '') return '';
  let url: URL;
  try {
    url = new URL(address, location.href);
  } catch {
    return 'This is not an address.';
  }
  if (url.protocol === 'https:' || url.origin === location.origin) return '';
  return 'The address must begin with https:// or lie on this page’s own server.';
}
