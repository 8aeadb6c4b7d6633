/** What an adapter can do, without opening a device on it. */

import type { Capabilities, Tier } from './types.js';

/** What the engine needs of an adapter: the list of `Gpu::open`, with which a test compares it. */
export const NEEDED = {
  maxStorageBuffersPerShaderStage: 8,
  maxComputeInvocationsPerWorkgroup: 128,
  maxComputeWorkgroupStorageSize: 16384,
} as const;

/** The adapter that the engine opens. */
const fastest = () => navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' });

/** Browsers tell little of an adapter, and Chromium leaves the description empty, which the module goes by. */
export async function adapterName(): Promise<string> {
  return nameOf(await fastest());
}

function nameOf(adapter: GPUAdapter | null | undefined): string {
  const { description, vendor, architecture, device } = adapter?.info ?? {};
  return description || [vendor, architecture, device].filter(Boolean).join(' ') || 'unknown';
}

/** Why this page has no WebGPU, if it has none. */
export function missing(): string | undefined {
  if (globalThis.navigator?.gpu) return undefined;
  return globalThis.isSecureContext === false
    ? 'WebGPU needs a secure page: one from https:// or from localhost'
    : 'this browser has no WebGPU (navigator.gpu is missing)';
}

const unsupported = (reason: string): Capabilities => ({
  supported: false,
  reason,
  f16: false,
  subgroups: false,
  timestamps: false,
  software: false,
  maxBufferSize: 0,
  maxStorageBufferBindingSize: 0,
});

/** What the adapter says of itself. No device is opened, and nothing is fetched. */
export async function probe(tier: Tier): Promise<Capabilities> {
  const reason = missing();
  if (reason) return unsupported(reason);
  let adapter: GPUAdapter | null;
  try {
    adapter = (await fastest()) ?? null;
  } catch (error) {
    return unsupported(`this browser gives no adapter: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!adapter) return unsupported('this browser has WebGPU, but gives no adapter: its GPU may be blocked, or there is none');
  const { features, limits, info } = adapter;
  const name = nameOf(adapter);
  const found = {
    adapter: name,
    f16: features.has('shader-f16') && tier.f16 !== false,
    subgroups: features.has('subgroups') && tier.subgroups !== false,
    timestamps: features.has('timestamp-query'),
    // Where it was before it moved to `info`.
    software: info.isFallbackAdapter ?? (adapter as { isFallbackAdapter?: boolean }).isFallbackAdapter ?? false,
    maxBufferSize: limits.maxBufferSize,
    maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
  };
  for (const [limit, needs] of Object.entries(NEEDED)) {
    const has = limits[limit as keyof typeof NEEDED];
    if (has >= needs) continue;
    return { supported: false, reason: `${name}: ${limit} is ${has}, ${needs} are needed`, limit: { name: limit, has, needs }, ...found };
  }
  return { supported: true, ...found };
}
