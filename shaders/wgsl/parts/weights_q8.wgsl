// 8-bit weights: blocks of 32 along k, w = scale * q with q in -127..127 and an f16 scale.
// Quants and scales lie in planes of their own, so that every load is aligned.

@group(0) @binding(1) var<storage, read> weights: array<u32>;        // [rows, padded_k / 4], four i8 each
@group(0) @binding(2) var<storage, read> scales: array<u32>;         // [rows * padded_k / 32] f16, two each

// Scale and minimum of a block of 32, counted through all rows.
fn weight_scale(block: u32) -> vec2f {
    return vec2f(unpack2x16float(scales[block / 2u] >> (16u * (block % 2u))).x, 0.0);
}

fn quants4(group: u32) -> vec4f {
    // Shifts, because not every driver has unpack4xI8 of its own.
    return vec4f((vec4i(i32(weights[group])) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}

// The eight weights of octet `octet`, counted through all rows, with the scale of their block.
fn weight8(octet: u32, scale: vec2f) -> mat2x4f {
    return mat2x4f(scale.x * quants4(2u * octet), scale.x * quants4(2u * octet + 1u));
}

// The four weights of group `group`, counted through all rows, with the scale of their block.
fn scaled4(group: u32, scale: vec2f) -> vec4f {
    return scale.x * quants4(group);
}

// The same, when the scale is not at hand.
fn weight4(group: u32) -> vec4f {
    return scaled4(group, weight_scale(group / 8u));
}

