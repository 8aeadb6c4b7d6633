/** A problem on the page: what, why, what to do. */

import { make } from './dom.js';
import type { Problem, Remedy } from './problem.js';

export function problemCard(problem: Problem, onRemedy: (remedy: Remedy) => void): HTMLElement {
  const title = make('h2', 'problem-title', problem.title);
  title.tabIndex = -1;
  const card = make('div', 'problem', title, make('p', '', problem.text));

  if (problem.answer !== undefined) card.append(make('pre', 'answer-text', problem.answer || '(nothing)'));
  if (problem.facts) {
    const list = make('dl', 'facts');
    for (const [name, value] of problem.facts) list.append(make('div', '', make('dt', '', name), make('dd', '', value)));
    card.append(list);
  }
  if (problem.browsers) card.append(browserHelp());
  if (problem.message) {
    card.append(make('details', 'report', make('summary', '', 'What the program says'), make('p', '', problem.message)));
  }
  if (problem.remedies.length > 0) {
    const buttons = problem.remedies.map(({ label, remedy }, index) => {
      const button = make('button', index === 0 ? 'primary' : '', label);
      button.type = 'button';
      button.addEventListener('click', () => onRemedy(remedy));
      return button;
    });
    card.append(make('p', 'buttons', ...buttons));
  }
  return card;
}

const BROWSERS: { name: string; agent: RegExp; help: string }[] = [
  {
    name: 'Chrome, Edge and other Chromium browsers',
    agent: /Chrome|Chromium|Edg/,
    help:
      'Version 113 or newer on Windows, macOS and ChromeOS, 121 on Android. Turn on “Use graphics acceleration when ' +
      'available” in the settings under System. On Linux, start it with --enable-unsafe-webgpu --enable-features=Vulkan.',
  },
  {
    name: 'Firefox',
    agent: /Firefox/,
    help:
      'Version 141 or newer on Windows, 145 on macOS with Apple silicon. Elsewhere take Firefox Nightly, or set ' +
      'dom.webgpu.enabled to true in about:config.',
  },
  {
    name: 'Safari',
    agent: /^(?!.*Chrom).*Safari/,
    help: 'Version 26 or newer, on macOS Tahoe 26, iOS 26, iPadOS 26 and visionOS 26. Older versions do not have it.',
  },
];

function browserHelp(): HTMLElement {
  const list = make('dl', 'browsers');
  for (const { name, agent, help } of BROWSERS) {
    const mine = agent.test(navigator.userAgent);
    const term = make('dt', '', name);
    if (mine) term.append(' ', make('span', 'tag', 'this browser'));
    list.append(make('div', mine ? 'mine' : '', term, make('dd', '', help)));
  }
  return list;
}
