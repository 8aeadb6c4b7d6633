// Eight keys or values of attention, each loaded by every lane.

// The lane's number, counted round.
fn own_lane() -> u32 {
    return 0u;
}

struct Lines {
    first: u32,
    last: u32,
}

// The rows of keys from `first` on; those beyond `last` are `last` again. `lane` is the own one.
fn lines_from(first: u32, last: u32, lane: u32) -> Lines {
    return Lines(first, last);
}

// Elements 4 * i .. 4 * i + 3 of the head that begins at column `start` of these rows.
fn keys8(lines: Lines, start: u32, stride: u32, i: u32, head_dim: u32) -> array<vec4f, 8> {
    return array<vec4f, 8>(
        key4(start + min(lines.first, lines.last) * stride, i, head_dim),
        key4(start + min(lines.first + 1u, lines.last) * stride, i, head_dim),
        key4(start + min(lines.first + 2u, lines.last) * stride, i, head_dim),
        key4(start + min(lines.first + 3u, lines.last) * stride, i, head_dim),
        key4(start + min(lines.first + 4u, lines.last) * stride, i, head_dim),
        key4(start + min(lines.first + 5u, lines.last) * stride, i, head_dim),
        key4(start + min(lines.first + 6u, lines.last) * stride, i, head_dim),
        key4(start + min(lines.first + 7u, lines.last) * stride, i, head_dim),
    );
}

fn values8(lines: Lines, start: u32, stride: u32, i: u32, head_dim: u32) -> array<vec4f, 8> {
    return array<vec4f, 8>(
        value4(start + min(lines.first, lines.last) * stride, i, head_dim),
        value4(start + min(lines.first + 1u, lines.last) * stride, i, head_dim),
        value4(start + min(lines.first + 2u, lines.last) * stride, i, head_dim),
        value4(start + min(lines.first + 3u, lines.last) * stride, i, head_dim),
        value4(start + min(lines.first + 4u, lines.last) * stride, i, head_dim),
        value4(start + min(lines.first + 5u, lines.last) * stride, i, head_dim),
        value4(start + min(lines.first + 6u, lines.last) * stride, i, head_dim),
        value4(start + min(lines.first + 7u, lines.last) * stride, i, head_dim),
    );
}

