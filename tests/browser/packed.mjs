// Both packages as npm would publish them, installed into a folder.

import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { ROOT } from './server.mjs';

const exec = promisify(execFile);

/** Packs `names` of the packages and installs them, without a network. */
export async function install(folder, names = ['fovea', 'fovea-nano']) {
  await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
  const packed = [];
  for (const name of names) {
    const cwd = join(ROOT, name === 'fovea' ? 'web/js' : 'web/nano');
    const { stdout } = await exec('npm', ['pack', '--json', '--pack-destination', folder], { cwd });
    // The build's own words come first.
    const [{ filename }] = JSON.parse(stdout.slice(stdout.indexOf('[\n')));
    packed.push(join(folder, filename));
  }
  await exec('npm', ['install', '--offline', '--no-audit', '--no-fund', ...packed], { cwd: folder });
}
