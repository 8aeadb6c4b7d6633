/** Numbers and actions as a person reads them. */

import type { Action, Box, Point } from './fovea/index.js';

const UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB'];

/** Decimal units, as browsers and networks count. */
export function bytes(count: number): string {
  let unit = 0;
  let value = count;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.5 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

export function milliseconds(time: number): string {
  if (time < 1) return '< 1 ms';
  if (time < 999.5) return `${Math.round(time)} ms`;
  return `${(time / 1000).toFixed(time < 9950 ? 1 : 0)} s`;
}

export function seconds(time: number): string {
  if (time < 9.95) return `${time.toFixed(1)} s`;
  if (time < 90) return `${Math.round(time)} s`;
  const minutes = Math.round(time / 60);
  return minutes < 90 ? `${minutes} min` : `${(time / 3600).toFixed(1)} h`;
}

export function count(value: number): string {
  return Math.round(value).toLocaleString('en');
}

/** 5,030,000 as "5.0 million". */
export function parameters(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)} billion`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} million`;
  return count(value);
}

const VERBS: Record<Action['kind'], string> = {
  click: 'Click',
  double_click: 'Double-click',
  right_click: 'Right-click',
  hover: 'Hover',
  type: 'Type',
  select: 'Select',
  scroll: 'Scroll',
  key_press: 'Press',
  gesture: 'Press',
  launch: 'Open',
  quote_text: 'Quote the text',
  quote_clipboard: 'Quote the clipboard',
  llm: 'Ask a language model',
  end: 'Nothing to act on',
  absent: 'Nothing to act on',
};

/** "Type “anna”", "Scroll down 3 steps": the action without its place. */
export function verb(action: Action): string {
  const words = [VERBS[action.kind]];
  if ('text' in action) words.push(`“${shortened(action.text)}”`);
  if (action.kind === 'scroll') words.push(action.direction);
  if (action.kind === 'scroll') words.push(`${action.steps} ${action.steps === 1 ? 'step' : 'steps'}`);
  if (action.kind === 'key_press') words.push(action.key);
  if (action.kind === 'gesture') words.push(action.keys.map((key) => key.key).join(' + '));
  if (action.kind === 'launch') words.push(action.app ?? action.url ?? '');
  return words.join(' ');
}

/** For a line; the whole text stands in the answer. */
export function shortened(text: string): string {
  return text.length <= 80 ? text : `${text.slice(0, 79)}…`;
}

export function place(point: Point): string {
  return `at ${Math.round(point.x)}, ${Math.round(point.y)}`;
}

export function extent(box: Box): string {
  const [left, right, top, bottom] = [box.left, box.right, box.top, box.bottom].map(Math.round);
  return `box ${left} to ${right} by ${top} to ${bottom}`;
}

/** "Click at 1080, 590, box 943 to 1217 by 570 to 609": the whole result in words, for a screen reader. */
export function sentence(action: Action, box: Box | undefined, point: Point | undefined): string {
  const start = point ? `${verb(action)} ${place(point)}` : verb(action);
  return box ? `${start}, ${extent(box)}` : start;
}
