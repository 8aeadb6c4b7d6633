/** What is drawn over the picture: the box, the click point, and where the model looked. */

import { byId } from './dom.js';
import type { Box, HeatMap, Point } from './fovea/index.js';

export interface Size {
  width: number;
  height: number;
}

/** The colours of the heat map: share of the largest value, then red, green, blue and opacity. */
const RAMP: [at: number, red: number, green: number, blue: number, alpha: number][] = [
  [0, 124, 45, 18, 0],
  [0.5, 234, 88, 12, 0.42],
  [1, 253, 224, 71, 0.58],
];

/**
 * Places box and point by percentages of the picture, so that they stay right at any zoom and pixel ratio, while lines
 * keep their width.
 */
export function drawMarks(box: Box | undefined, point: Point | undefined, size: Size): void {
  for (const rect of [byId('box'), byId('box-halo')]) {
    rect.toggleAttribute('hidden', !box);
    if (!box) continue;
    rect.setAttribute('x', share(box.left, size.width));
    rect.setAttribute('y', share(box.top, size.height));
    rect.setAttribute('width', share(box.right - box.left, size.width));
    rect.setAttribute('height', share(box.bottom - box.top, size.height));
  }
  for (const circle of [byId('point'), byId('point-ring')]) {
    circle.toggleAttribute('hidden', !point);
    if (!point) continue;
    circle.setAttribute('cx', share(point.x, size.width));
    circle.setAttribute('cy', share(point.y, size.height));
  }
}

function share(part: number, whole: number): string {
  return `${(100 * part) / whole}%`;
}

/** One pixel for each image token; the browser smooths it when it stretches the canvas over the picture. */
export function drawHeat(canvas: HTMLCanvasElement | OffscreenCanvas, heat: HeatMap): void {
  canvas.width = heat.columns;
  canvas.height = heat.rows;
  const pixels = new ImageData(heat.columns, heat.rows);
  heat.values.forEach((value, index) => pixels.data.set(colour(value), 4 * index));
  (canvas.getContext('2d') as CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D).putImageData(pixels, 0, 0);
}

function colour(value: number): [number, number, number, number] {
  // A few tokens have most of the attention; the exponent lets the others be seen as well, without a haze over all.
  const at = Math.min(Math.max(value, 0), 1) ** 0.7;
  const upper = Math.max(1, RAMP.findIndex((stop) => at <= stop[0]));
  const [low, high] = [RAMP[upper - 1]!, RAMP[upper]!];
  const between = (at - low[0]) / (high[0] - low[0]);
  const mix = (channel: 1 | 2 | 3 | 4): number => low[channel] + (high[channel] - low[channel]) * between;
  return [mix(1), mix(2), mix(3), 255 * mix(4)];
}

/** The same marks in a picture of their own, for the exported file. */
export function paintMarks(
  context: OffscreenCanvasRenderingContext2D,
  box: Box | undefined,
  point: Point | undefined,
  size: Size,
  accent: string,
): void {
  const unit = Math.max(1, Math.max(size.width, size.height) / 1000);
  const stroke = (width: number, style: string, path: () => void): void => {
    context.beginPath();
    path();
    context.lineWidth = width * unit;
    context.strokeStyle = style;
    context.stroke();
  };
  if (box) {
    const outline = (): void => context.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
    stroke(5.5, 'rgb(255 255 255 / 0.9)', outline);
    stroke(2.5, accent, outline);
  }
  if (point) {
    const dot = (): void => context.arc(point.x, point.y, 5 * unit, 0, 2 * Math.PI);
    context.beginPath();
    dot();
    context.fillStyle = accent;
    context.fill();
    stroke(2, 'white', dot);
  }
}
