/** nano's files, for `Fovea.load({ model })`; `model: 'nano'` finds them by itself. */
declare const nano: { name: string; files: Record<string, string> };
export default nano;
