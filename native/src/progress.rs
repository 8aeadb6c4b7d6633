//! Progress bars on standard error where a person watches; a line a minute elsewhere, for what takes hours.

use std::{
    cell::Cell,
    io::Write,
    time::{Duration, Instant},
};

use fovea_models::Stage;
use indicatif::{ProgressBar, ProgressStyle};

use crate::json::Seconds;

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

/// How many of a long list of steps are done: a bar where a person watches, elsewhere a line a minute.
pub(crate) struct Counter {
    bar: ProgressBar,
    /// When the last line was due; `None` where there is a bar.
    lines: Option<Cell<Instant>>,
    began: Instant,
    total: usize,
    done: Cell<usize>,
}

/// Time between two lines.
const MINUTE: Duration = Duration::from_secs(60);

impl Counter {
    pub(crate) fn new(total: usize) -> Self {
        let (bar, now) = (steps(total), Instant::now());
        let lines = bar.is_hidden().then(|| Cell::new(now));
        Self { bar, lines, began: now, total, done: Cell::new(0) }
    }

    /// A step is done; `message` says how it goes.
    pub(crate) fn step(&self, message: &str) {
        self.done.set(self.done.get() + 1);
        self.bar.inc(1);
        self.bar.set_message(message.to_owned());
        if let Some(line) = self.line(Instant::now(), message) {
            let _ = writeln!(anstream::stderr(), "{line}");
        }
    }

    /// The line that is due.
    fn line(&self, now: Instant, message: &str) -> Option<String> {
        let last = self.lines.as_ref()?;
        if now.saturating_duration_since(last.get()) < MINUTE {
            return None;
        }
        last.set(now);
        let (done, elapsed) = (self.done.get(), now.saturating_duration_since(self.began).as_secs_f64());
        let left = elapsed / done.max(1) as f64 * self.total.saturating_sub(done) as f64;
        Some(format!("{done} of {}, {message}, about {:.0} min left", self.total, left / 60.0))
    }

    /// Prints something while the bar is out of the way.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
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

impl Times {
    /// With the time of loading.
    pub(crate) fn to_json(self, load: Duration) -> Seconds {
        let [load, prepare, encode, prefill, decode] =
            [load, self.prepare, self.encode, self.prefill, self.decode].map(|it| it.as_secs_f64());
        Seconds { load, prepare, encode, prefill, decode }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_minute() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let bar = ProgressBar::hidden();
        let counter = Counter { bar, lines: Some(Cell::new(began)), began, total: 40, done: Cell::new(10) };
        assert_eq!(counter.line(at(59), "7 right"), None);
        assert_eq!(counter.line(at(120), "7 right").as_deref(), Some("10 of 40, 7 right, about 6 min left"));
        assert_eq!(counter.line(at(179), "7 right"), None);
        assert!(counter.line(at(180), "7 right").is_some());
        assert_eq!(Counter { lines: None, ..counter }.line(at(999), "7 right"), None, "a bar says it");
    }
}
