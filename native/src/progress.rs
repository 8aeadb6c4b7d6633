//! Progress bars on standard error, only where a person watches.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use fovea_models::Stage;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar of bytes for loading.
pub(crate) fn loading() -> ProgressBar {
    bar(0, "loading   {bar:40.cyan/blue} {bytes}/{total_bytes}")
}

/// A bar of steps, such as questions.
pub(crate) fn steps(count: usize) -> ProgressBar {
    bar(count as u64, "{bar:40.cyan/blue} {pos}/{len} {msg}  eta {eta}")
}

fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// A bar for encoding and prefilling that notes when each stage began and ended.
pub(crate) struct Stages {
    bar: ProgressBar,
    start: Instant,
    encode_began: Cell<Option<Instant>>,
    encode_ended: Cell<Option<Instant>>,
    prefill_ended: Cell<Option<Instant>>,
}

/// How long each stage took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) prepare: Duration,
    pub(crate) encode: Duration,
    pub(crate) prefill: Duration,
    pub(crate) decode: Duration,
}

impl Stages {
    pub(crate) fn new() -> Self {
        Self {
            bar: bar(1000, "{msg:9} {bar:40.cyan/blue} {percent}%"),
            start: Instant::now(),
            encode_began: Cell::new(None),
            encode_ended: Cell::new(None),
            prefill_ended: Cell::new(None),
        }
    }

    pub(crate) fn hear(&self, stage: Stage) {
        let now = Some(Instant::now());
        let share = match stage {
            Stage::Encode(share) => {
                self.bar.set_message("encoding");
                if self.encode_began.get().is_none() {
                    self.encode_began.set(now);
                }
                self.encode_ended.set(now);
                share
            }
            Stage::Prefill(share) => {
                self.bar.set_message("reading");
                self.prefill_ended.set(now);
                share
            }
        };
        self.bar.set_position((share * 1000.0) as u64);
    }

    /// Prints something while the bar is out of the way.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Ends the bar; `now` is when the answer was complete.
    pub(crate) fn finish(self) -> Times {
        self.bar.finish_and_clear();
        let now = Instant::now();
        let encode_began = self.encode_began.get().unwrap_or(self.start);
        let encode_ended = self.encode_ended.get().unwrap_or(encode_began);
        let prefill_ended = self.prefill_ended.get().unwrap_or(encode_ended);
        Times {
            prepare: encode_began - self.start,
            encode: encode_ended - encode_began,
            prefill: prefill_ended - encode_ended,
            decode: now - prefill_ended,
        }
    }
}
