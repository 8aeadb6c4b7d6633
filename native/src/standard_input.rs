//! Standard input in place of a file or a text.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// Stands for standard input where a file is expected.
pub(crate) const STANDARD_INPUT: &str = "-";

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether a path stands for standard input. A file of this name is `./-`.
pub(crate) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == STANDARD_INPUT
}

/// Standard input, for the first who asks.
///
/// # Errors
/// If it is being read already: what is left of it would be read as something else.
pub(crate) fn standard_input() -> io::Result<io::StdinLock<'static>> {
    match TAKEN.swap(true, Ordering::Relaxed) {
        false => Ok(io::stdin().lock()),
        true => Err(io::Error::other("only one argument can be `-`")),
    }
}
