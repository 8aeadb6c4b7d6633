// Builds the demo page into target/web/site, which any static server can serve:
//
//   node web/demo/build.mjs && npx sirv-cli target/web/site
//
// The package has to be built before, into web/js/dist; its copy becomes the site's folder `fovea`, that
// of fovea-nano `fovea-nano`.

import { spawnSync } from 'node:child_process';
import { access, cp, mkdir, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const demo = dirname(fileURLToPath(import.meta.url));
const root = join(demo, '../..');
const site = join(root, 'target/web/site');
const dist = join(root, 'web/js/dist');

/** The sample screenshots of src/samples.ts. */
const SAMPLES = {
  'bookshop.png': 'models/nano/samples/signin.png',
  'register.png': 'models/nano/eval/startbootstrap-sb-admin-2-01-00164.png',
  'dashboard.png': 'models/nano/eval/startbootstrap-sb-admin-2-01-00158.png',
  'guide.png': 'models/nano/eval/material-design-lite-01-00128.png',
};

await access(join(dist, 'index.js')).catch(() => {
  console.error(`${dist} lacks the package; build it first, with \`npm run build\` in web/js`);
  process.exit(1);
});

await rm(site, { recursive: true, force: true });
await mkdir(join(site, 'samples'), { recursive: true });

// TypeScript is a dependency of the package.
const tsc = createRequire(join(root, 'web/js/package.json')).resolve('typescript/bin/tsc');
const { status } = spawnSync(process.execPath, [tsc, '--project', demo, '--outDir', site], { stdio: 'inherit' });
if (status !== 0) process.exit(1);

await cp(dist, join(site, 'fovea'), { recursive: true });
for (const part of ['index.js', 'model']) {
  await cp(join(root, 'web/nano', part), join(site, 'fovea-nano', part), { recursive: true });
}
for (const file of ['index.html', 'style.css', 'icon.svg']) await cp(join(demo, file), join(site, file));
for (const [name, file] of Object.entries(SAMPLES)) await cp(join(root, file), join(site, 'samples', name));
console.log(`the demo page is in ${site}`);
