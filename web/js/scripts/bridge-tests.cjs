// Runs the tests of the crate `fovea-web` in Node, for Cargo to call with the module (`./x test`).
//
// `fovea-web-bundle`, whose path is in FOVEA_WEB_BUNDLE, makes JavaScript of it. The rest is what wasm-bindgen's own runner
// does, whose hundred crates are not worth it: the module exports every test under a name that begins with `__wbgt_`, and
// wasm-bindgen-test, at the lock file's version, runs them and prints as libtest does.

const { execFileSync } = require('node:child_process');
const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

const folder = mkdtempSync(join(tmpdir(), 'fovea-bridge-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
execFileSync(process.env.FOVEA_WEB_BUNDLE, ['--tests', process.argv[2], folder], { stdio: 'inherit' });

// wasm-bindgen-test writes through these, and hears what tests print.
globalThis.__wbgtest_og_console_log = console.log;
globalThis.__wbgtest_og_console_error = console.error;
globalThis.__wbg_test_invoke = (run) => run();

const module_ = require(join(folder, 'fovea_web.js'));
for (const method of ['debug', 'log', 'info', 'warn', 'error']) {
  console[method] = (...values) => module_[`__wbgtest_console_${method}`](values);
}
const tests = Object.keys(module_.__wasm).filter((name) => name.startsWith('__wbgt_'));
if (tests.length === 0) throw new Error('the module has no tests');
const context = new module_.WasmBindgenTestContext({ is_bench: false });
context.filtered_count(0);
context
  .run(tests.map((name) => module_.__wasm[name]))
  .then((passed) => process.exit(passed ? 0 : 1));
