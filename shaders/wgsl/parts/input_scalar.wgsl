// The input of a matrix product whose rows have any width.

@group(0) @binding(3) var<storage, read> input: array<f32>;    // [rows, k]

// Where a row that is `k` wide begins, for `input4`.
fn input_start(row: u32, k: u32) -> u32 {
    return row * k;
}

// Elements 4 * k4 .. 4 * k4 + 3 of the row that begins at `start`; zero beyond its end.
fn input4(start: u32, k4: u32, k: u32) -> vec4f {
    let at = start + 4u * k4;
    let four = vec4f(input[at], input[at + 1u], input[at + 2u], input[at + 3u]);
    return select(vec4f(), four, 4u * k4 + vec4u(0u, 1u, 2u, 3u) < vec4u(k));
}

