// Starts Chromium with WebGPU on SwiftShader for tests.
//
//   const browser = await launch();
//   const page = await browser.page(server.url);
//   … page is Playwright's …
//   await browser.close();

import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// The package's development dependencies are installed in its own folder.
const require = createRequire(new URL('../../web/js/package.json', import.meta.url));
const { chromium } = require('playwright-core');

/** Chromium's program: `FOVEA_CHROMIUM`, or Debian's. */
export const CHROMIUM = process.env.FOVEA_CHROMIUM ?? '/usr/bin/chromium';

/**
 * A browser with a profile of its own on disk, which storage (OPFS, quota) needs, deleted when it closes.
 *
 * `webgpu: false` starts it as a browser without WebGPU. Messages of the pages' consoles and uncaught errors are kept
 * in `messages`, and printed if `FOVEA_VERBOSE` is set.
 *
 * @param {{ webgpu?: boolean, args?: string[], context?: object }} [options] `context`: more of Playwright's options
 *   for `launchPersistentContext`, such as `viewport` or `colorScheme`.
 */
export async function launch({ webgpu = true, args = [], context: options = {} } = {}) {
  const profile = await mkdtemp(join(tmpdir(), 'fovea-chromium-'));
  const gpu = webgpu
    ? ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan']
    : ['--disable-features=WebGPU', '--disable-webgpu'];
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    headless: false, // the old headless mode has no WebGPU
    args: ['--headless=new', '--no-sandbox', ...gpu, ...args],
    ...options,
  });
  // A processor's WebGPU is slow: what is slow is no failure.
  context.setDefaultTimeout(180_000);
  const messages = [];
  const note = (text) => {
    messages.push(text);
    if (process.env.FOVEA_VERBOSE) console.error(`  [browser] ${text}`);
  };
  context.on('console', (message) => note(`${message.type()}: ${message.text()}`));
  context.on('weberror', (error) => note(`uncaught: ${error.error().stack ?? error.error()}`));
  return {
    context,
    messages,
    /** A new tab; at `url` if there is one. */
    async page(url) {
      const page = await context.newPage();
      if (url) await page.goto(url);
      return page;
    },
    async close() {
      await context.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
