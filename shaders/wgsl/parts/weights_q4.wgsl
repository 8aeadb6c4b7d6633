// 4-bit weights: blocks of 32 along k, w = scale * q + minimum with q in 0..15 and f16 scale and minimum.
// Element 8j + i of a block lies in bits 4i..4i+3 of the block's word j.

@group(0) @binding(1) var<storage, read> weights: array<u32>;        // [rows, padded_k / 8], eight nibbles each
@group(0) @binding(2) var<storage, read> scales: array<u32>;         // [rows, padded_k / 32], (scale, minimum) f16

// Scale and minimum of a block of 32, counted through all rows.
fn weight_scale(block: u32) -> vec2f {
    return unpack2x16float(scales[block]);
}

fn nibbles4(bits: u32, scale: vec2f) -> vec4f {
    return scale.x * vec4f((vec4u(bits) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u)) + scale.y;
}

// The eight weights of octet `octet`, counted through all rows, with the scale of their block.
fn weight8(octet: u32, scale: vec2f) -> mat2x4f {
    let bits = weights[octet];
    return mat2x4f(nibbles4(bits, scale), nibbles4(bits >> 16u, scale));
}

// The four weights of group `group`, counted through all rows, with the scale of their block.
fn scaled4(group: u32, scale: vec2f) -> vec4f {
    return nibbles4(weights[group / 2u] >> (16u * (group % 2u)), scale);
}

// The same, when the scale is not at hand.
fn weight4(group: u32) -> vec4f {
    return scaled4(group, weight_scale(group / 8u));
}

