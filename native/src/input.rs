//! Arguments that are texts, files and standard input, and the paths that results are written to.

use std::{
    borrow::Cow,
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, BufRead, Read},
    path::{Path, PathBuf},
};

use clap::builder::{PathBufValueParser, StringValueParser, TypedValueParser};

use fovea_engine::weights::foreign;

use crate::{
    failure::{Failure, Outcome},
    standard_input::{STANDARD_INPUT, is_standard_input, standard_input},
};

/// Longest text that standard input may have.
const LARGEST_TEXT: u64 = 16 << 20;

/// The bytes of a file, or of standard input, if there are at most `limit` of them.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let source: Box<dyn Read> = if is_standard_input(path) {
        Box::new(standard_input()?)
    } else if fs::metadata(path)?.is_dir() {
        return Err(io::Error::other("a directory"));
    } else {
        Box::new(File::open(path)?)
    };
    let mut bytes = Vec::new();
    let read = source.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match read as u64 > limit {
        true => Err(io::Error::other(format!("more than {} MiB", limit >> 20))),
        false => Ok(bytes),
    }
}

/// What an argument that looks like an option and is none begins with on its way through clap. No system has it in
/// arguments; [`text`] and [`path`] take it away, and all arguments of texts and paths are read by them.
const TEXT: char = '\0';

/// The program's arguments, for clap. No option has a blank in its name: `"- 5 of 12"` and `"-h is help"` are texts.
pub(crate) fn arguments() -> impl Iterator<Item = OsString> {
    env::args_os().map(marked)
}

/// A text of clap's without the marks of arguments.
pub(crate) fn unmarked(text: &str) -> Cow<'_, str> {
    match text.contains(TEXT) {
        true => text.replace(TEXT, "").into(),
        false => text.into(),
    }
}

fn marked(argument: OsString) -> OsString {
    let is_text = argument.to_str().is_some_and(|text| {
        let name = text.split('=').next().unwrap_or_default();
        text.starts_with('-') && name.contains(char::is_whitespace)
    });
    if !is_text {
        return argument;
    }
    let mut text = OsString::from(TEXT.to_string());
    text.push(argument);
    text
}

/// A text for clap. Texts may also be negative numbers, where clap is told so (`allow_negative_numbers`).
pub(crate) fn text() -> impl TypedValueParser<Value = String> {
    StringValueParser::new().map(|text| unmarked(&text).into_owned())
}

/// The text of an argument, which `-` takes from standard input.
pub(crate) fn text_or_standard_input(text: &str) -> Outcome<String> {
    if text != STANDARD_INPUT {
        return Ok(text.to_owned());
    }
    let path = Path::new(STANDARD_INPUT);
    let bytes = read_bounded(path, LARGEST_TEXT).map_err(|error| Failure::file(path, error))?;
    let text = utf8(bytes).map_err(|reason| Failure::file(path, reason))?;
    // A shell's `echo` ends its text with a line's end.
    Ok(text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).unwrap_or(&text).to_owned())
}

/// Bytes as text, without a byte order mark.
pub(crate) fn utf8(bytes: Vec<u8>) -> Result<String, &'static str> {
    let reason = foreign(&bytes).unwrap_or("not UTF-8");
    let text = String::from_utf8(bytes).map_err(|_| reason)?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The lines of standard input that are not blank, as they come.
pub(crate) fn lines() -> Outcome<impl Iterator<Item = Outcome<String>>> {
    let path = Path::new(STANDARD_INPUT);
    let wrong = move |error| Failure::file(path, error);
    let mut input = standard_input().map_err(wrong)?;
    let next = move || {
        let mut line = Vec::new();
        let read = input.by_ref().take(LARGEST_TEXT).read_until(b'\n', &mut line).map_err(wrong);
        match read {
            Ok(0) => None,
            Ok(_) if line.len() as u64 >= LARGEST_TEXT => Some(Err(Failure::file(path, "a line of more than 16 MiB"))),
            Ok(_) => Some(utf8(line).map_err(|reason| Failure::file(path, reason))),
            Err(failure) => Some(Err(failure)),
        }
    };
    let trimmed = |line: Outcome<String>| line.map(|line| line.trim().to_owned());
    let mut failed = false;
    let all = std::iter::from_fn(next).map(trimmed).filter(|line| line.as_ref().map_or(true, |line| !line.is_empty()));
    // What follows an error could be the rest of a line.
    Ok(all.take_while(move |line| !std::mem::replace(&mut failed, line.is_err())))
}

/// A path for clap.
pub(crate) fn path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(|path| match path.to_str().and_then(|text| text.strip_prefix(TEXT)) {
        Some(text) => text.into(),
        None => path,
    })
}

/// A path for clap that something is written to.
pub(crate) fn output_path() -> impl TypedValueParser<Value = PathBuf> {
    path().try_map(|path| match is_standard_input(&path) {
        true => Err("standard output has the answer: name a file"),
        false => Ok(path),
    })
}

/// Whether two paths are the same file: writing to one would overwrite the other.
pub(crate) fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_no_options() {
        for text in ["- 5 of 12", "-h is help", "--what is this?", "-\u{a0}x", "- a=b"] {
            assert_eq!(marked(text.into()), OsString::from(format!("{TEXT}{text}")));
        }
        for option in ["-h", "--help", "--out=a b", "-", "--", "a - b", "", "-1"] {
            assert_eq!(marked(option.into()), option);
        }
    }
}
