// The next token from a row of logits, and the state of a decode loop that advances by itself.
//
// Logits are ordered by a u32 key that is monotonic in the float; NaN comes last. Top-k and top-p are thresholds on that
// key, found four bits at a time from the top: each pass sums, for the keys that share the bits found so far, the weight
// (1 for top-k, softmax for top-p) in each of 16 bins. What equals the threshold is kept, as transformers' top-k does.
// Among what is kept, an exponential race draws from the softmax: the smallest E / weight wins, where E is
// exponentially distributed and hashed from (seed, step, id). Temperature 0 takes the largest logit, the lowest id
// among equals.
// One workgroup. Dispatch: (1, 1, 1).

struct Params {
    vocab: u32,            // at most 2^24, so that counts are exact in f32
    first: u32,            // index of the row's first logit
    temperature: f32,      // 0: arg-max
    top_k: u32,            // 0: off
    top_p: f32,            // 1 or more: off
    stops: u32,            // number of stop ids
    capacity: u32,         // of ids
    advance: u32,          // what position and length grow by: 1 in a decode step, 0 after the prompt
    masked: u32,           // 0: `allowed` is not read
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> stop_ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> state: array<u32>;    // see DecodeState
@group(0) @binding(4) var<storage, read_write> ids: array<u32>;      // [capacity]
@group(0) @binding(5) var<storage, read> allowed: array<u32>;        // [vocab / 32] bit sets, the lowest bit first

const TOKEN = 3u;
const LENGTH = 4u;
const STEP = 5u;
const STOPPED = 6u;
const SEED = 7u;

override THREADS: u32 = 256u;

var<workgroup> partial: array<vec4f, THREADS>;
var<workgroup> best_keys: array<u32, THREADS>;
var<workgroup> best_ids: array<u32, THREADS>;
var<workgroup> was_stopped: u32;

// Order-preserving: a < b implies key(a) < key(b). 0 for NaN, 2^31 for both zeros.
fn key_of(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let magnitude = bits & 0x7fffffffu;
    if magnitude > 0x7f800000u {
        return 0u;
    }
    if magnitude == 0u {
        return 0x80000000u;
    }
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn float_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

// The key of a token; one that is not allowed is as if its logit were NaN.
fn key_at(id: u32) -> u32 {
    if params.masked != 0u && ((allowed[id / 32u] >> (id % 32u)) & 1u) == 0u {
        return 0u;
    }
    return key_of(logits[params.first + id]);
}

// Softmax weight relative to the largest logit.
fn weight_of(key: u32, top: u32) -> f32 {
    if key == top {
        return 1.0;
    }
    // NaN and -inf, or all else beside +inf.
    if key < 0x00800000u || top > 0xff7fffffu {
        return 0.0;
    }
    let exponent = (float_of(key) - float_of(top)) / params.temperature;    // below the cut: under 2e-35
    if exponent > -80.0 {
        return exp(min(exponent, 0.0));
    }
    return 0.0;
}

fn pcg(input: u32) -> u32 {
    let state = input * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

// Exponentially distributed with mean 1, precise near 0, where races are won.
fn exponential(hash: u32) -> f32 {
    let u = (f32(hash >> 1u) + 0.5) * 4.656612873e-10;
    if u < 0.01 {
        return u * (1.0 + u * (0.5 + u * (0.33333333 + u * 0.25)));
    }
    return -log(max(1.0 - u, 5e-8));
}

// The largest key of the workgroup's candidates, and the lowest id that has it, in every thread.
fn best(key: u32, id: u32, thread: u32) -> vec2u {
    best_keys[thread] = key;
    best_ids[thread] = id;
    for (var stride = THREADS / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if thread < stride {
            let other = best_keys[thread + stride];
            let other_id = best_ids[thread + stride];
            if other > best_keys[thread] || (other == best_keys[thread] && other_id < best_ids[thread]) {
                best_keys[thread] = other;
                best_ids[thread] = other_id;
            }
        }
    }
    let result = vec2u(workgroupUniformLoad(&best_keys[0]), workgroupUniformLoad(&best_ids[0]));
    workgroupBarrier();
    return result;
}

fn sum_of_all(value: vec4f, thread: u32) -> vec4f {
    partial[thread] = value;
    for (var stride = THREADS / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if thread < stride {
            partial[thread] += partial[thread + stride];
        }
    }
    let sum = workgroupUniformLoad(&partial[0]);
    workgroupBarrier();
    return sum;
}

// The largest threshold so that the keys from it upwards, but not below `floor_key`, weigh at least `goal`.
fn threshold(goal: f32, floor_key: u32, top: u32, by_mass: bool, thread: u32) -> u32 {
    var prefix = 0u;
    var above = 0.0;
    for (var shift = 32u; shift > 0u; ) {
        shift -= 4u;
        var bins = array<vec4f, 4>();    // bin b is element b % 4 of vector b / 4
        for (var id = thread; id < params.vocab; id += THREADS) {
            let key = key_at(id);
            // The bits above this pass's four; in the first pass there are none.
            let same = shift == 28u || (key >> (shift + 4u)) == (prefix >> (shift + 4u));
            if same && key >= floor_key {
                let bin = (key >> shift) & 15u;
                if by_mass {
                    bins[bin / 4u][bin % 4u] += weight_of(key, top);
                } else {
                    bins[bin / 4u][bin % 4u] += 1.0;
                }
            }
        }
        // From the top bin down until the goal is reached. Rounding may miss it: then bin 0, which keeps all.
        var chosen = 0u;
        var open = true;
        for (var four = 4u; four > 0u; four--) {
            let sums = sum_of_all(bins[four - 1u], thread);
            for (var one = 4u; one > 0u; one--) {
                if open && (above + sums[one - 1u] >= goal || four + one == 2u) {
                    chosen = 4u * (four - 1u) + one - 1u;
                    open = false;
                }
                if open {
                    above += sums[one - 1u];
                }
            }
        }
        prefix |= chosen << shift;
    }
    return prefix;
}

@compute @workgroup_size(THREADS)
fn sample(@builtin(local_invocation_index) thread: u32) {
    // A stopped state stays as it is. Read once, before thread 0 writes it.
    if thread == 0u {
        was_stopped = state[STOPPED];
    }
    if workgroupUniformLoad(&was_stopped) != 0u {
        return;
    }

    var key = 0u;
    var id = 0u;
    for (var i = thread; i < params.vocab; i += THREADS) {
        let candidate = key_at(i);
        if candidate > key {
            key = candidate;
            id = i;
        }
    }
    // A thread without any candidate holds id 0 with key 0: the answer where every logit is NaN.
    let top = best(key, id, thread);
    var chosen = top.y;

    if params.temperature > 0.0 && top.x > 0u {
        var lowest = 1u;
        if params.top_k > 0u && params.top_k < params.vocab {
            lowest = max(lowest, threshold(f32(params.top_k), 1u, top.x, false, thread));
        }
        if params.top_p < 1.0 {
            var mass = 0.0;
            for (var i = thread; i < params.vocab; i += THREADS) {
                let candidate = key_at(i);
                if candidate >= lowest {
                    mass += weight_of(candidate, top.x);
                }
            }
            let goal = params.top_p * sum_of_all(vec4f(mass), thread).x;
            // A goal of 0 is reached above everything; the largest logit is always kept.
            lowest = clamp(threshold(goal, lowest, top.x, true, thread), lowest, top.x);
        }

        let salt = pcg(state[SEED] ^ pcg(state[STEP]));
        key = 0u;
        id = 0u;
        for (var i = thread; i < params.vocab; i += THREADS) {
            let candidate = key_at(i);
            if candidate >= lowest {
                // Both are positive, so that the bits of the quotient are ordered as it is; the winner has the largest.
                let speed = weight_of(candidate, top.x) / exponential(pcg(salt ^ pcg(i)));
                let rank = bitcast<u32>(speed);
                if rank > key {
                    key = rank;
                    id = i;
                }
            }
        }
        chosen = best(key, id, thread).y;
    }

    if thread != 0u {
        return;
    }
    let step = state[STEP];
    var stopped = 0u;
    for (var i = 0u; i < params.stops; i++) {
        if stop_ids[i] == chosen {
            stopped = 1u;
        }
    }
    if step < params.capacity {
        ids[step] = chosen;
    }
    if stopped == 0u && step + 1u >= params.capacity {
        stopped = 2u;
    }
    state[0] += params.advance;
    state[1] += params.advance;
    state[2] += params.advance;
    state[TOKEN] = chosen;
    state[LENGTH] += params.advance;
    state[STEP] = step + 1u;
    state[STOPPED] = stopped;
}
