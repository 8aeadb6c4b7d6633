/** Where pictures come in: samples, file, clipboard, capture, and dropping anywhere on the page. */

import { byId, make, setText } from './dom.js';
import {
  capturePicture,
  clipboardPicture,
  pictureIn,
  pictureProblem,
  readPicture,
  release,
  samplePicture,
  type Picture,
} from './picture.js';
import { SAMPLES, type Sample } from './samples.js';
import type { Store } from './state.js';

export function connectSources(store: Store, onPicture: (picture: Picture) => void): void {
  let latest = 0;

  /** Takes what `source` yields, unless the person has chosen another picture by then. */
  const take = async (source: Promise<Picture | undefined>): Promise<void> => {
    const mine = ++latest;
    try {
      const picture = await source;
      if (!picture) return;
      if (mine === latest) onPicture(picture);
      else release(picture);
    } catch (error) {
      if (mine === latest) store.set({ pictureProblem: pictureProblem(error) });
    }
  };
  const takeFile = (file: File | undefined): void => {
    if (file) void take(readPicture(file, file.name || 'Picture'));
  };

  const list = byId('samples');
  list.append(...SAMPLES.map((sample) => make('li', '', sampleButton(sample, () => void take(samplePicture(sample.file, sample.title))))));
  store.subscribe(({ picture }) => {
    for (const button of list.querySelectorAll('button')) {
      button.setAttribute('aria-pressed', String(button.dataset['file'] === picture?.sample));
    }
  });

  const input = byId<HTMLInputElement>('file');
  byId('open-file').addEventListener('click', () => input.click());
  input.addEventListener('change', () => {
    takeFile(input.files?.[0]);
    // So that the same file can be chosen again.
    input.value = '';
  });

  const paste = byId('paste');
  paste.hidden = navigator.clipboard?.read === undefined;
  paste.addEventListener('click', () => void take(clipboardPicture()));
  document.addEventListener('paste', (event) => {
    const file = pictureIn(event.clipboardData);
    if (!file) return;
    event.preventDefault();
    takeFile(file);
  });

  if (/Mac|iP(ad|hone)/.test(navigator.userAgent)) {
    for (const keys of document.querySelectorAll('.paste-keys')) setText(keys, '⌘V');
  }

  const capture = byId('capture');
  capture.hidden = navigator.mediaDevices?.getDisplayMedia === undefined;
  capture.addEventListener('click', () => void take(capturePicture()));

  acceptDrops(takeFile);
}

function sampleButton({ file, title }: Sample, onClick: () => void): HTMLButtonElement {
  const image = make('img');
  image.src = `samples/${file}`;
  image.alt = '';
  image.loading = 'lazy';
  image.decoding = 'async';
  image.width = 1280;
  image.height = 800;
  const button = make('button', 'sample', image, make('span', '', title));
  button.type = 'button';
  button.dataset['file'] = file;
  button.addEventListener('click', onClick);
  return button;
}

/** The whole page takes files, since a drop beside a target would make the browser leave the page. */
function acceptDrops(onFile: (file: File | undefined) => void): void {
  const holdsFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes('Files') ?? false;
  const mark = (on: boolean): void => {
    document.body.classList.toggle('dropping', on);
  };
  addEventListener('dragover', (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    event.dataTransfer!.dropEffect = 'copy';
    mark(true);
  });
  addEventListener('dragleave', (event) => {
    // Only when the pointer leaves the window; moving between elements also fires the event.
    if (event.relatedTarget === null) mark(false);
  });
  addEventListener('drop', (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    mark(false);
    onFile(pictureIn(event.dataTransfer));
  });
}
