// Where the golden fixtures are, by the rule of engine/src/testing/golden.rs: in tests/golden; a folder in the one that
// FOVEA_GOLDEN names takes the place of the fixture of that name.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { ROOT } from './server.mjs';

/** The folder of a fixture. */
export function golden(name) {
  const whole = process.env.FOVEA_GOLDEN;
  assert.ok(!whole || existsSync(whole), `FOVEA_GOLDEN: no folder ${whole}`);
  const replaced = whole && join(whole, name);
  return replaced && existsSync(replaced) ? replaced : join(ROOT, 'tests/golden', name);
}
