// Eight keys or values of attention, each loaded by one lane in eight and handed to the others, for subgroups of eight
// lanes or more; all must be active and want the same keys.

// The lane's number, counted round.
fn own_lane() -> u32 {
    return subgroupExclusiveAdd(1u) % 8u;
}

struct Lines {
    own: u32,
}

// The rows of keys from `first` on; those beyond `last` are `last` again. `lane` is the own one.
fn lines_from(first: u32, last: u32, lane: u32) -> Lines {
    return Lines(min(first + lane, last));
}

// Elements 4 * i .. 4 * i + 3 of the head that begins at column `start` of these rows.
fn keys8(lines: Lines, start: u32, stride: u32, i: u32, head_dim: u32) -> array<vec4f, 8> {
    let own = key4(start + lines.own * stride, i, head_dim);
    return array<vec4f, 8>(
        subgroupBroadcast(own, 0u),
        subgroupBroadcast(own, 1u),
        subgroupBroadcast(own, 2u),
        subgroupBroadcast(own, 3u),
        subgroupBroadcast(own, 4u),
        subgroupBroadcast(own, 5u),
        subgroupBroadcast(own, 6u),
        subgroupBroadcast(own, 7u),
    );
}

fn values8(lines: Lines, start: u32, stride: u32, i: u32, head_dim: u32) -> array<vec4f, 8> {
    let own = value4(start + lines.own * stride, i, head_dim);
    return array<vec4f, 8>(
        subgroupBroadcast(own, 0u),
        subgroupBroadcast(own, 1u),
        subgroupBroadcast(own, 2u),
        subgroupBroadcast(own, 3u),
        subgroupBroadcast(own, 4u),
        subgroupBroadcast(own, 5u),
        subgroupBroadcast(own, 6u),
        subgroupBroadcast(own, 7u),
    );
}

