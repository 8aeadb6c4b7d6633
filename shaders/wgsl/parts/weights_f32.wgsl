// f32 weights. Rows are padded with zeros to a multiple of 32, so that a group of four never spans two rows.

@group(0) @binding(1) var<storage, read> weights: array<vec4f>;    // [rows, padded_k / 4]

// The four weights of group `group`, counted through all rows.
fn weight4(group: u32) -> vec4f {
    return weights[group];
}

