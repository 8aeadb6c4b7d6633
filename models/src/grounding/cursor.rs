//! Reading an answer from left to right.

use super::{GroundingError, Normalised1000};

/// A place in an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, rest: text }
    }

    /// The whole answer.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    /// Goes on after the first `bytes` of the rest; to its end if that is no place between characters.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    pub(super) fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes `token`, with space before it, if it comes next.
    pub(super) fn eat(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes letters, digits and underscores.
    pub(super) fn word(&mut self) -> &'a str {
        let end = self.rest.find(|it: char| !it.is_ascii_alphanumeric() && it != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// Takes a number of digits and perhaps a point, with space before it.
    pub(super) fn number(&mut self) -> Option<&'a str> {
        let rest = self.rest.trim_start();
        let digits = |text: &str| text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
        let mut end = digits(rest);
        if end == 0 {
            return None;
        }
        if let Some(fraction) = rest.get(end..).and_then(|it| it.strip_prefix('.')) {
            let places = digits(fraction);
            end += if places > 0 { 1 + places } else { 0 };
        }
        let (number, rest) = rest.split_at(end);
        self.rest = rest;
        Some(number)
    }

    pub(super) fn malformed(&self, expected: &'static str) -> GroundingError {
        let at = self.text.chars().count().saturating_sub(self.rest.chars().count());
        GroundingError::Malformed { expected, at, text: self.text.to_owned() }
    }

    /// A coordinate as written to thousandths.
    fn thousandth(&self, written: &str) -> Result<u16, GroundingError> {
        let value = written.parse::<f64>().ok().filter(|it| *it <= 1000.0);
        value.map(|it| it.round() as u16).ok_or_else(|| GroundingError::OutOfRange {
            value: written.to_owned(),
            scale: "1000",
            text: self.text.to_owned(),
        })
    }

    /// A box of two corners, or of one, which makes a point.
    pub(super) fn region(&self, written: &[&str]) -> Result<Normalised1000, GroundingError> {
        let values: Vec<u16> = written.iter().map(|it| self.thousandth(it)).collect::<Result<_, _>>()?;
        let region = match values[..] {
            [x, y] => Normalised1000::new(x, y, x, y),
            [x0, y0, x1, y1] => Normalised1000::new(x0, y0, x1, y1),
            _ => None,
        };
        region.ok_or_else(|| self.malformed("two or four coordinates"))
    }

    /// Numbers with commas between them.
    pub(super) fn numbers(&mut self) -> Vec<&'a str> {
        let mut numbers = Vec::new();
        let mut ahead = *self;
        while let Some(number) = ahead.number() {
            numbers.push(number);
            *self = ahead;
            if !ahead.eat(",") {
                break;
            }
        }
        numbers
    }
}
