/** What went wrong, as the page tells it: a title, a sentence, what to do. */

import type { AdapterTooSmallError, AnswerError, FoveaError, QuotaError } from './fovea/index.js';
import { bytes } from './format.js';
import type { LoadProgress } from './state.js';

/** What a button of the problem does. */
export type Remedy = 'load' | 'load-without-keeping' | 'run' | 'settings';

export interface Problem {
  title: string;
  text: string;
  /** Figures, as a table. */
  facts?: [name: string, value: string][];
  /** Show what to do per browser. */
  browsers?: boolean;
  /** The model's raw answer. */
  answer?: string;
  /** What the program itself says, for a report. */
  message?: string;
  /** There was no connection: it may pass by itself. */
  offline?: boolean;
  /** It lies in instruction or answer; model and picture are as they were. */
  ofTheWords?: boolean;
  remedies: { label: string; remedy: Remedy }[];
}

const LOAD_AGAIN = { label: 'Try again', remedy: 'load' } as const;
const RUN_AGAIN = { label: 'Run again', remedy: 'run' } as const;
const SETTINGS = { label: 'Open settings', remedy: 'settings' } as const;

function noWebGpu(message: string): Problem {
  if (!window.isSecureContext) {
    return {
      title: 'WebGPU needs a secure address',
      text: 'Browsers give WebGPU only to pages that come over https or from localhost. Open this page through one of these.',
      message,
      remedies: [],
    };
  }
  return {
    title: 'This browser gives no WebGPU',
    text: 'Fovea runs its model on the graphics processor through WebGPU. Either this browser does not have it yet, or it is switched off.',
    browsers: true,
    message,
    remedies: [LOAD_AGAIN],
  };
}

function tooSmall(limit: string, has: number, needs: number, message: string): Problem {
  const inBytes = /size/i.test(limit);
  const figure = (value: number): string => (inBytes ? bytes(value) : value.toLocaleString('en'));
  return {
    title: 'This graphics adapter is too small',
    text:
      'The model needs more than the adapter allows. On a computer with two adapters, the browser may be using the smaller ' +
      'one: choose “high performance” for the browser in the system’s graphics settings.',
    facts: [
      ['Limit', limit],
      ['This adapter has', figure(has)],
      ['The model needs', figure(needs)],
    ],
    message,
    remedies: [LOAD_AGAIN],
  };
}

/** What to say about an error of loading; `progress` is how far it was. */
export function loadProblem(error: unknown, progress: LoadProgress | undefined): Problem {
  const known = error as FoveaError;
  const message = known?.message ?? String(error);
  switch (known?.code) {
    case 'webgpu-unavailable':
      return noWebGpu(message);
    case 'adapter-too-small': {
      const { limit, has, needs } = error as AdapterTooSmallError;
      return tooSmall(limit, has, needs, message);
    }
    case 'download':
      return {
        title: navigator.onLine ? 'The download stopped' : 'You are offline',
        text: `${kept(progress)}${navigator.onLine ? '' : ' It goes on by itself when the connection is back.'}`,
        message,
        offline: !navigator.onLine,
        remedies: [{ label: 'Go on', remedy: 'load' }, SETTINGS],
      };
    case 'integrity':
      return {
        title: 'A file arrived damaged',
        text: 'Its bytes differ from what the model’s manifest promises, so it was thrown away. The next attempt fetches it anew.',
        message,
        remedies: [LOAD_AGAIN],
      };
    case 'quota': {
      const { needed, available } = error as QuotaError;
      return {
        title: 'There is no room to keep the model',
        text: 'The browser’s storage is too small for it. Fovea can go on without keeping it; the next visit then downloads it again.',
        facts: [
          ['The model needs', bytes(needed)],
          ['The browser offers', bytes(available)],
        ],
        message,
        remedies: [{ label: 'Go on without keeping', remedy: 'load-without-keeping' }, LOAD_AGAIN],
      };
    }
    case 'out-of-memory':
      return {
        title: 'The graphics memory is full',
        text: 'Close other pages or programs that use it, or choose a smaller quantisation in the settings.',
        message,
        remedies: [LOAD_AGAIN, SETTINGS],
      };
    case 'device-lost':
      return deviceLost(message, LOAD_AGAIN);
    case 'model':
      return {
        title: 'The model cannot be used',
        text: 'A file of it is missing, broken or of a kind that Fovea does not know. Check its address in the settings.',
        message,
        remedies: [SETTINGS, LOAD_AGAIN],
      };
    default:
      return { title: 'The model could not be loaded', text: 'This was not expected.', message, remedies: [LOAD_AGAIN, SETTINGS] };
  }
}

/** What to say about an error of a run. */
export function runProblem(error: unknown): Problem {
  const known = error as FoveaError;
  const message = known?.message ?? String(error);
  switch (known?.code) {
    case 'device-lost':
      return deviceLost(message, { label: 'Reload and run again', remedy: 'run' });
    case 'out-of-memory':
      return {
        title: 'The graphics memory is full',
        text: 'Close other pages or programs that use it, take a smaller picture, or choose a smaller quantisation.',
        message,
        remedies: [RUN_AGAIN, SETTINGS],
      };
    case 'answer':
      return {
        title: 'The answer could not be read',
        text: 'The model wrote something that is not an action. Try other words, such as “click Sign in”.',
        answer: (error as AnswerError).text,
        ofTheWords: true,
        remedies: [RUN_AGAIN],
      };
    case 'image':
      return {
        title: 'The model cannot take this picture',
        text: 'It is broken, or too large or too small for the model. A screenshot of one window usually fits.',
        message,
        remedies: [],
      };
    case 'prompt':
      return {
        title: 'The model cannot take this instruction',
        text: 'Try a shorter one.',
        message,
        ofTheWords: true,
        remedies: [],
      };
    case 'download':
    case 'integrity':
    case 'quota':
    case 'model':
      // The model is loaded again after a lost device, so a run can fail in the ways that loading can.
      return { ...loadProblem(error, undefined), remedies: [{ label: 'Try again', remedy: 'run' }] };
    default:
      return { title: 'The run failed', text: 'This was not expected.', message, remedies: [RUN_AGAIN] };
  }
}

function deviceLost(message: string, remedy: Problem['remedies'][number]): Problem {
  return {
    title: 'The graphics device was lost',
    text:
      'The system took it away: a driver was reset, the computer slept, or memory ran out. The model can be loaded again ' +
      'from this computer’s storage.',
    message,
    remedies: [remedy],
  };
}

/** What of an unfinished download the next attempt finds. */
export function kept(progress: LoadProgress | undefined): string {
  if (!progress || progress.arrived === 0 || progress.total === 0) return 'Nothing has arrived yet.';
  const arrived = `${bytes(progress.arrived)} of ${bytes(progress.total)}`;
  const isKept = progress.cache.kind === 'opfs' || progress.cache.kind === 'cache-api';
  return isKept ? `${arrived} are kept on this computer; the next attempt goes on from there.` : `${arrived} had arrived.`;
}
