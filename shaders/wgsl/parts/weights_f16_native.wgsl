// f16 weights on adapters with shader-f16. Rows are padded with zeros to a multiple of 32.

@group(0) @binding(1) var<storage, read> weights: array<vec4<f16>>;    // [rows, padded_k / 4]

// The four weights of group `group`, counted through all rows.
fn weight4(group: u32) -> vec4f {
    return vec4f(weights[group]);
}

