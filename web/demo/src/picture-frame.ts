/** The picture with what is drawn over it, and how large it is shown. */

import { byId, setText } from './dom.js';
import { drawHeat, drawMarks } from './overlay.js';
import type { Picture } from './picture.js';
import { problemCard } from './problem-card.js';
import type { Problem, Remedy } from './problem.js';
import type { Result, State, Store, Zoom } from './state.js';

/** Small pictures are not blown up beyond this to fill the frame. */
const LARGEST_FIT = 2;
/** Share of the frame that the box may take when the view closes in on it. */
const BOX_SHARE = 0.4;
const LARGEST_ZOOM = 4;

export function connectPictureFrame(store: Store, onRemedy: (remedy: Remedy) => void): void {
  const frame = byId('frame');
  const scene = byId('scene');
  const image = byId<HTMLImageElement>('picture');
  const heat = byId<HTMLCanvasElement>('heat');
  const marks = byId<SVGSVGElement>('marks');
  const caption = byId('caption');
  const toolbar = byId('toolbar');
  const showHeat = byId<HTMLInputElement>('show-heat');
  const zoomChoices = [...document.querySelectorAll<HTMLInputElement>('input[name="zoom"]')];
  const problems = byId('picture-problem');

  let picture: Picture | undefined;
  let result: Result | undefined;
  let zoom: Zoom = 'fit';
  let problem: Problem | undefined;

  const layOut = (): void => {
    if (picture) place(frame, scene, picture, zoom, result);
  };
  new ResizeObserver(layOut).observe(frame);

  showHeat.addEventListener('change', () => store.set({ heat: showHeat.checked }));
  for (const choice of zoomChoices) {
    choice.addEventListener('change', () => store.set({ zoom: choice.value as Zoom }));
  }

  const takePicture = (next: Picture): void => {
    image.src = next.url;
    image.alt = `Screenshot: ${next.name}`;
    frame.setAttribute('aria-label', `Picture: ${next.name}`);
    frame.style.setProperty('--ratio', String(next.width / next.height));
    setText(caption.querySelector('.name')!, next.name);
    (caption as HTMLElement).title = next.name;
    setText(caption.querySelector('.size')!, `${next.width} × ${next.height}`);
  };

  const takeResult = (next: Result | undefined, of: Picture): void => {
    const grounding = next?.grounding;
    drawMarks(grounding?.box, grounding?.point, of);
    marks.toggleAttribute('hidden', !grounding?.box && !grounding?.point);
    if (grounding?.heat) drawHeat(heat, grounding.heat);
  };

  store.subscribe((state: State) => {
    const nextResult = state.run.kind === 'done' ? state.run.result : undefined;
    const changed = state.picture !== picture || nextResult !== result || state.zoom !== zoom;
    if (state.picture && state.picture !== picture) takePicture(state.picture);
    if (state.picture && (state.picture !== picture || nextResult !== result)) takeResult(nextResult, state.picture);
    picture = state.picture;
    result = nextResult;
    zoom = state.zoom;

    byId('empty').hidden = picture !== undefined;
    scene.hidden = picture === undefined;
    toolbar.hidden = picture === undefined;
    frame.classList.toggle('filled', picture !== undefined);
    document.body.classList.toggle('software', state.model.kind === 'ready' && state.model.info.software);
    frame.classList.toggle('busy', state.run.kind === 'running');
    heat.hidden = !state.heat || !result?.grounding.heat;
    showHeat.checked = state.heat;
    byId('heat-control').hidden = !result?.grounding.heat;
    for (const choice of zoomChoices) {
      choice.checked = choice.value === zoom;
      if (choice.value === 'box') choice.disabled = !result?.grounding.box;
    }
    if (state.pictureProblem !== problem) {
      problem = state.pictureProblem;
      problems.replaceChildren(...(problem ? [problemCard(problem, onRemedy)] : []));
    }
    if (changed) layOut();
  });
}

/** Sizes the scene within the frame, and scrolls to the box where the view closes in on it. */
function place(frame: HTMLElement, scene: HTMLElement, picture: Picture, zoom: Zoom, result: Result | undefined): void {
  // Not the client size, which scroll bars take from: they come and go with the zoom.
  const [width, height] = [frame.offsetWidth, frame.offsetHeight];
  const fit = Math.min(width / picture.width, height / picture.height, LARGEST_FIT);
  const box = result?.grounding.box;
  const scale = zoom === 'actual' ? 1 : zoom === 'box' && box ? closeIn(box, width, height, fit) : fit;
  scene.style.width = `${picture.width * scale}px`;
  scene.style.height = `${picture.height * scale}px`;
  frame.classList.toggle('fits', scale <= fit);
  if (zoom === 'box' && box) {
    frame.scrollLeft = ((box.left + box.right) / 2) * scale - frame.clientWidth / 2;
    frame.scrollTop = ((box.top + box.bottom) / 2) * scale - frame.clientHeight / 2;
  }
}

function closeIn(box: NonNullable<Result['grounding']['box']>, width: number, height: number, fit: number): number {
  const across = (BOX_SHARE * width) / Math.max(1, box.right - box.left);
  const down = (BOX_SHARE * height) / Math.max(1, box.bottom - box.top);
  return Math.max(fit, Math.min(across, down, LARGEST_ZOOM));
}
