/**
 * Subgroups for the module: wgpu 30 knows the feature on native programs only, and drops it from what it requests of a
 * browser (its `FEATURES_MAPPING`). For a thread that nobody else uses: it changes `GPUAdapter` while a device opens.
 */

let opening = 0;

/** Calls `open` so that the device it requests has subgroups, and tells it whether the adapter has them. */
export async function withSubgroups<T>(open: (subgroups: boolean) => Promise<T>): Promise<T> {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter?.features.has('subgroups')) return open(false);
  opening += 1;
  if (opening === 1) GPUAdapter.prototype.requestDevice = requestWithSubgroups;
  try {
    return await open(true);
  } finally {
    opening -= 1;
    if (opening === 0) GPUAdapter.prototype.requestDevice = requestDevice;
  }
}

const requestDevice = globalThis.GPUAdapter?.prototype.requestDevice;

function requestWithSubgroups(this: GPUAdapter, descriptor?: GPUDeviceDescriptor): Promise<GPUDevice> {
  const features = new Set(descriptor?.requiredFeatures);
  if (this.features.has('subgroups')) features.add('subgroups');
  return requestDevice.call(this, { ...descriptor, requiredFeatures: [...features] });
}
