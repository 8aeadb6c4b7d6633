/** The package `fovea-nano`, which need not be installed. */
declare module 'fovea-nano' {
  const nano: import('./types.js').ModelPackage;
  export default nano;
}
