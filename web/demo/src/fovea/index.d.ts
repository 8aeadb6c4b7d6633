// The site has the package in `fovea/`, beside the page's own modules; here are its types.
export * from '../../../js/dist/index.js';
