/** The result as a file: figures as JSON, or the picture with what was drawn on it. */

import { byId } from './dom.js';
import { drawHeat, paintMarks } from './overlay.js';
import type { Picture } from './picture.js';
import type { Result, State, Store } from './state.js';

export function connectExport(store: Store): void {
  const group = byId('export');
  const json = byId<HTMLButtonElement>('export-json');
  const png = byId<HTMLButtonElement>('export-png');

  store.subscribe(({ run }) => {
    group.hidden = run.kind !== 'done';
  });
  json.addEventListener('click', () => {
    const { state } = store;
    if (state.run.kind !== 'done' || !state.picture) return;
    const text = JSON.stringify(report(state, state.run.result, state.picture), undefined, 2);
    download(new Blob([text], { type: 'application/json' }), `${stem(state.picture)}.json`);
  });
  png.addEventListener('click', async () => {
    const { state } = store;
    if (state.run.kind !== 'done' || !state.picture) return;
    download(await annotated(state.picture, state.run.result, state.heat), `${stem(state.picture)}.png`);
  });
}

function report(state: State, { instruction, grounding, memory }: Result, picture: Picture): object {
  const { action, box, point, text, heat, timings } = grounding;
  const round = (value: number): number => Math.round(value * 1e4) / 1e4;
  return {
    instruction,
    picture: { name: picture.name, width: picture.width, height: picture.height },
    action,
    box,
    point,
    text,
    timings,
    memory,
    model: { location: state.settings.model, ...(state.model.kind === 'ready' && state.model.info) },
    heat: heat && { columns: heat.columns, rows: heat.rows, values: Array.from(heat.values, round) },
  };
}

async function annotated(picture: Picture, { grounding }: Result, withHeat: boolean): Promise<Blob> {
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext('2d')!;
  const bitmap = await createImageBitmap(byId<HTMLImageElement>('picture'));
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  if (withHeat && grounding.heat) {
    const heat = new OffscreenCanvas(1, 1);
    drawHeat(heat, grounding.heat);
    context.drawImage(heat, 0, 0, picture.width, picture.height);
  }
  const accent = getComputedStyle(byId('box')).stroke;
  paintMarks(context, grounding.box, grounding.point, picture, accent);
  return canvas.convertToBlob({ type: 'image/png' });
}

/** "Sign in.png" gives "fovea-sign-in". */
function stem(picture: Picture): string {
  const name = picture.name.replace(/\.[a-z]+$/i, '').toLowerCase();
  return `fovea-${name.replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '').slice(0, 60) || 'picture'}`;
}

function download(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // The browser reads the address after this task.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
