// Eight keys or values of attention, each loaded by one lane in four and handed to the others. Any subgroup has four
// lanes at least; all must be active and want the same keys.

// The lane's number, counted round.
fn own_lane() -> u32 {
    return subgroupExclusiveAdd(1u) % 4u;
}

struct Lines {
    upper: u32,
    lower: u32,
}

// The rows of keys from `first` on; those beyond `last` are `last` again. `lane` is the own one.
fn lines_from(first: u32, last: u32, lane: u32) -> Lines {
    return Lines(min(first + lane, last), min(first + 4u + lane, last));
}

// Elements 4 * i .. 4 * i + 3 of the head that begins at column `start` of these rows.
fn keys8(lines: Lines, start: u32, stride: u32, i: u32, head_dim: u32) -> array<vec4f, 8> {
    let upper = key4(start + lines.upper * stride, i, head_dim);
    let lower = key4(start + lines.lower * stride, i, head_dim);
    return array<vec4f, 8>(
        subgroupBroadcast(upper, 0u),
        subgroupBroadcast(upper, 1u),
        subgroupBroadcast(upper, 2u),
        subgroupBroadcast(upper, 3u),
        subgroupBroadcast(lower, 0u),
        subgroupBroadcast(lower, 1u),
        subgroupBroadcast(lower, 2u),
        subgroupBroadcast(lower, 3u),
    );
}

fn values8(lines: Lines, start: u32, stride: u32, i: u32, head_dim: u32) -> array<vec4f, 8> {
    let upper = value4(start + lines.upper * stride, i, head_dim);
    let lower = value4(start + lines.lower * stride, i, head_dim);
    return array<vec4f, 8>(
        subgroupBroadcast(upper, 0u),
        subgroupBroadcast(upper, 1u),
        subgroupBroadcast(upper, 2u),
        subgroupBroadcast(upper, 3u),
        subgroupBroadcast(lower, 0u),
        subgroupBroadcast(lower, 1u),
        subgroupBroadcast(lower, 2u),
        subgroupBroadcast(lower, 3u),
    );
}

