//! Instructions that tell by its place, or by counting, which of several things of one name is meant.
//!
//! A small model finds what is named, in one look. "the Edit button in the row of Anna" takes two: Anna's name, and the
//! Edit button in the part of the screen that this leaves. "the second Edit" takes two as well: all that are called so,
//! and then that one alone.

use super::{PixelBox, PixelPoint, alike::APART, quotations};
use crate::image::Size;

/// Where something is, seen from something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// On the same line.
    Row,
    /// At its left or right.
    Beside,
    /// Around it.
    Near,
    /// Above it.
    Above,
    /// Below it.
    Below,
    /// On the same line, at its left.
    Left,
    /// On the same line, at its right.
    Right,
}

/// Which part of a screen an instruction is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place<'a> {
    /// These shares of its width and height: left, top, right, bottom.
    Part([f32; 4]),
    /// What lies so beside the thing of this name.
    By(Side, &'a str),
}

/// Which of several, in reading order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordinal {
    /// So many come before it.
    After(usize),
    /// None comes after it.
    Last,
}

impl Ordinal {
    /// Which it is of so many.
    pub fn of(self, count: usize) -> Option<usize> {
        match self {
            Self::After(before) => (before < count).then_some(before),
            Self::Last => count.checked_sub(1),
        }
    }
}

/// An instruction, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Relation<'a> {
    /// The instruction without the rest, such as "click the Edit button".
    pub wish: String,
    /// Which of those that are called so.
    pub ordinal: Option<Ordinal>,
    /// Where it is looked for.
    pub place: Option<Place<'a>>,
}

const PHRASES: [(&str, Side); 22] = [
    ("in the row of", Side::Row),
    ("in the row with", Side::Row),
    ("in the row for", Side::Row),
    ("on the row of", Side::Row),
    ("in the same row as", Side::Row),
    ("in the line of", Side::Row),
    ("in the line with", Side::Row),
    ("on the line of", Side::Row),
    ("on the same line as", Side::Row),
    ("next to", Side::Beside),
    ("beside", Side::Beside),
    ("near", Side::Near),
    ("close to", Side::Near),
    ("above", Side::Above),
    ("below", Side::Below),
    ("beneath", Side::Below),
    ("underneath", Side::Below),
    ("under", Side::Below),
    ("to the left of", Side::Left),
    ("left of", Side::Left),
    ("to the right of", Side::Right),
    ("right of", Side::Right),
];

const PARTS: [(&str, [f32; 4]); 16] = [
    ("top", [0.0, 0.0, 1.0, 0.5]),
    ("header", [0.0, 0.0, 1.0, 0.5]),
    ("bottom", [0.0, 0.5, 1.0, 1.0]),
    ("footer", [0.0, 0.5, 1.0, 1.0]),
    ("left", [0.0, 0.0, 0.5, 1.0]),
    ("right", [0.5, 0.0, 1.0, 1.0]),
    ("top left", [0.0, 0.0, 0.5, 0.5]),
    ("upper left", [0.0, 0.0, 0.5, 0.5]),
    ("top right", [0.5, 0.0, 1.0, 0.5]),
    ("upper right", [0.5, 0.0, 1.0, 0.5]),
    ("bottom left", [0.0, 0.5, 0.5, 1.0]),
    ("lower left", [0.0, 0.5, 0.5, 1.0]),
    ("bottom right", [0.5, 0.5, 1.0, 1.0]),
    ("lower right", [0.5, 0.5, 1.0, 1.0]),
    ("upper half", [0.0, 0.0, 1.0, 0.5]),
    ("lower half", [0.0, 0.5, 1.0, 1.0]),
];

/// What a wish has besides the name of a thing. Other verbs, such as "Open", are often the name.
const VERBS: [&str; 13] =
    ["click", "find", "go", "hit", "press", "tap", "on", "into", "to", "the", "a", "please", "now"];

const ORDINALS: [(&str, &str, Ordinal); 11] = [
    ("first", "1st", Ordinal::After(0)),
    ("second", "2nd", Ordinal::After(1)),
    ("third", "3rd", Ordinal::After(2)),
    ("fourth", "4th", Ordinal::After(3)),
    ("fifth", "5th", Ordinal::After(4)),
    ("sixth", "6th", Ordinal::After(5)),
    ("seventh", "7th", Ordinal::After(6)),
    ("eighth", "8th", Ordinal::After(7)),
    ("ninth", "9th", Ordinal::After(8)),
    ("tenth", "10th", Ordinal::After(9)),
    ("last", "last", Ordinal::Last),
];

/// What may stand before an ordinal, besides `VERBS` and what is quoted.
const LEADS: [&str; 16] = [
    "open", "select", "choose", "check", "tick", "toggle", "show", "follow", "focus", "type", "enter", "write", "put",
    "fill", "in", "with",
];

/// With an ordinal before them, names of their own.
const COUNTED: [&str; 18] = [
    "name", "names", "page", "day", "week", "month", "year", "time", "step", "aid", "floor", "language", "address",
    "half", "quarter", "class", "edition", "place",
];

/// What tells of a row which it is, and is no text in it.
const POINTERS: [&str; 9] = ["a", "each", "every", "my", "same", "that", "the", "this", "your"];

/// What may follow the name of a thing that something is beside.
const KINDS: [&str; 12] =
    ["heading", "header", "headline", "title", "label", "text", "section", "button", "link", "field", "icon", "row"];

impl<'a> Relation<'a> {
    /// Takes an instruction apart; `None` if it tells no place and does not count, or has nothing else. What it quotes is
    /// not looked into: that is a name, or to be typed.
    pub fn read(instruction: &'a str) -> Option<Self> {
        let trimmed = instruction.trim();
        let quoted = quotations(trimmed);
        // Quoted letters and capitals match nothing, and every place stays where it is.
        let mut plain = trimmed.as_bytes().to_ascii_lowercase();
        quoted.iter().for_each(|range| plain[range.clone()].fill(b'"'));
        let plain = String::from_utf8(plain).ok()?;
        let told = by(trimmed, &plain).or_else(|| own_row(trimmed, &plain)).or_else(|| part(trimmed, &plain));
        let told = told.filter(|(wish, _)| names(wish));
        let (wish, place) = match told {
            Some((wish, place)) => (wish, Some(place)),
            None => (trimmed, None),
        };
        let (ordinal, wish) = match counted(wish) {
            Some((ordinal, wish)) => (Some(ordinal), wish),
            None => (None, wish.to_owned()),
        };
        (place.is_some() || ordinal.is_some()).then_some(Self { wish, ordinal, place })
    }
}

/// "click the second Edit": which, and the rest. A number in words is one after "the" alone: "Second language" is a name.
fn counted(wish: &str) -> Option<(Ordinal, String)> {
    let quoted = quotations(wish);
    let (mut at, mut article) = (0, false);
    for part in wish.split_inclusive(char::is_whitespace) {
        let (start, word) = (at, part.trim_end());
        at += part.len();
        if word.is_empty() || quoted.iter().any(|range| range.start < at && start < range.end) {
            continue;
        }
        let is_ordinal = |&&(name, short, _): &&(&str, &str, _)| {
            word.eq_ignore_ascii_case(short) && short != name || article && word.eq_ignore_ascii_case(name)
        };
        if let Some(&(_, _, ordinal)) = ORDINALS.iter().find(is_ordinal) {
            let (before, rest) = (wish.get(..start)?, wish.get(at..)?.trim());
            let own = rest.split_whitespace().next().is_some_and(|word| is(word, &COUNTED));
            let named =
                rest.split_whitespace().any(|word| ![&KINDS[..], &VERBS, &["one"]].iter().any(|it| is(word, it)));
            return (named && !own).then(|| (ordinal, format!("{before}{rest}")));
        }
        if !is(word, &VERBS) && !is(word, &LEADS) {
            return None; // a word of a name
        }
        article = word.eq_ignore_ascii_case("the");
    }
    None
}

/// Whether a word is one of these.
fn is(word: &str, list: &[&str]) -> bool {
    list.iter().any(|it| word.eq_ignore_ascii_case(it))
}

/// "click Edit next to Anna", or "next to Anna, click Edit".
fn by<'a>(instruction: &'a str, plain: &str) -> Option<(&'a str, Place<'a>)> {
    let phrases = PHRASES.iter().filter_map(|&(phrase, side)| Some((word(plain, phrase)?, phrase.len(), side)));
    // The first, and of those that begin there the longest.
    let (at, length, side) = phrases.min_by_key(|&(at, length, _)| (at, std::cmp::Reverse(length)))?;
    let (before, behind) = (instruction.get(..at)?.trim(), instruction.get(at + length..)?);
    let (wish, anchor) = match (before.is_empty(), behind.split_once(',')) {
        (true, Some((anchor, wish))) => (wish.trim(), anchor),
        (true, None) => return None,
        (false, _) => (before.trim_end_matches(','), behind),
    };
    let anchor = tidy(anchor);
    (!anchor.is_empty()).then_some((wish, Place::By(side, anchor)))
}

/// "click Edit in the Anna row", "click Edit in Anna's row".
fn own_row<'a>(instruction: &'a str, plain: &str) -> Option<(&'a str, Place<'a>)> {
    let end = plain.trim_end_matches(['.', '!', ' ']).strip_suffix(" row")?.len();
    let (at, from) = match plain.get(..end)?.rfind(" in the ") {
        Some(at) => (at, at + " in the ".len()),
        None => plain.get(..end)?.rfind(" in ").map(|at| (at, at + " in ".len()))?,
    };
    let anchor = instruction.get(from..end)?.trim();
    let anchor = tidy(anchor.strip_suffix("'s").or_else(|| anchor.strip_suffix("’s")).unwrap_or(anchor));
    let wish = instruction.get(..at)?.trim();
    (!anchor.is_empty() && !is(anchor, &POINTERS)).then_some((wish, Place::By(Side::Row, anchor)))
}

/// "click Search in the top right corner of the page".
fn part<'a>(instruction: &'a str, plain: &str) -> Option<(&'a str, Place<'a>)> {
    let (at, length) = [" at the ", " in the ", " on the "]
        .iter()
        .filter_map(|phrase| Some((plain.rfind(phrase)?, phrase.len())))
        .max()?;
    let rest = plain.get(at + length..)?.trim_end_matches(['.', '!', ' ']);
    let page = [" of the page", " of the screen", " of the window"];
    let rest = page.iter().find_map(|page| rest.strip_suffix(page)).unwrap_or(rest);
    let rest = [" corner", " side", " edge"].iter().find_map(|it| rest.strip_suffix(it)).unwrap_or(rest);
    let (_, part) = PARTS.iter().find(|(name, _)| *name == rest)?;
    Some((instruction.get(..at)?.trim(), Place::Part(*part)))
}

/// Where a phrase first stands as words of its own.
fn word(plain: &str, phrase: &str) -> Option<usize> {
    let ends = |it: Option<char>| it.is_none_or(char::is_whitespace);
    plain.match_indices(phrase).map(|(at, _)| at).find(|&at| {
        let (before, behind) = plain.split_at(at);
        ends(before.chars().next_back()) && behind.get(phrase.len()..).is_some_and(|it| ends(it.chars().next()))
    })
}

/// A name without what stands around it: marks, an article, what kind of thing it is.
fn tidy(name: &str) -> &str {
    let mut name = name.trim().trim_end_matches(['.', ',', '!', '?', ';']).trim();
    if name.get(..4).is_some_and(|it| it.eq_ignore_ascii_case("the ")) {
        name = name.get(4..).unwrap_or_default();
    }
    if let Some((rest, last)) = name.rsplit_once(' ')
        && is(last, &KINDS)
    {
        name = rest.trim_end();
    }
    match quotations(name).as_slice() {
        [only] => name.get(only.clone()).unwrap_or(name),
        _ => name,
    }
}

/// Whether a wish has the name of a thing.
fn names(wish: &str) -> bool {
    wish.split_whitespace().any(|word| !is(word, &VERBS))
}

/// A part of a screen, in its pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Area {
    all: PixelBox,
    /// What is not of it.
    holes: Vec<PixelBox>,
}

/// How wide a letter is, in image tokens: text is about a token high.
const LETTER: f32 = 0.35;

impl Area {
    /// These shares of a screen: left, top, right, bottom.
    pub fn part([left, top, right, bottom]: [f32; 4], size: Size) -> Self {
        let (width, height) = (size.width as f32, size.height as f32);
        Self { all: PixelBox::new(left * width, top * height, right * width, bottom * height), holes: Vec::new() }
    }

    /// What lies so beside a text of `letters` that was found at `anchor`; `token` is the width and height of an image
    /// token. The text itself is not of it: it would be taken for what is looked for, where that is hard to find.
    pub fn beside(side: Side, anchor: PixelBox, letters: usize, token: (f32, f32), size: Size) -> Self {
        let (width, height) = (size.width as f32, size.height as f32);
        let PixelPoint { x, y } = anchor.centre();
        let around = |at: f32, reach: f32| (at - reach, at + reach);
        // A line lies in one row of tokens or, where its middle is at their edge, in two.
        let line = around(y, 0.51 * token.1);
        let text = around(x, (0.5 * LETTER * letters as f32 + 0.5) * token.0);
        let beside = around(y, token.1);
        let ((x0, x1), (y0, y1)) = match side {
            Side::Row => ((0.0, width), line),
            Side::Beside => (around(x, 0.25 * width), beside),
            Side::Near => (around(x, 0.2 * width), around(y, 0.2 * height)),
            Side::Above => (around(x, 0.25 * width), (y - 0.5 * height, line.0)),
            Side::Below => (around(x, 0.25 * width), (line.1, y + 0.5 * height)),
            Side::Left => ((0.0, x), beside),
            Side::Right => ((x, width), beside),
        };
        // Beyond an edge of the screen nothing is left.
        let all = PixelBox::new(x0.min(width), y0.min(height), x1.max(0.0), y1.max(0.0));
        Self { all, holes: vec![PixelBox::new(text.0, line.0, text.1, line.1)] }
    }

    /// What lies at a place of a look ([`super::alike()`]): the image tokens of its row that are nearer to `middle` than the next
    /// place is.
    pub fn around(middle: PixelPoint, token: (f32, f32)) -> Self {
        let (x, y) = ((APART as f32 + 0.5) * token.0, 0.5 * token.1);
        Self { all: PixelBox::new(middle.x - x, middle.y - y, middle.x + x, middle.y + y), holes: Vec::new() }
    }

    /// All of a screen but what lies at such places. A thing may reach into the rows above and below its own.
    pub fn without(middles: &[PixelPoint], token: (f32, f32), size: Size) -> Self {
        let (x, y) = ((APART as f32 + 1.0) * token.0, 1.5 * token.1);
        let hole = |it: &PixelPoint| PixelBox::new(it.x - x, it.y - y, it.x + x, it.y + y);
        Self { holes: middles.iter().map(hole).collect(), ..Self::part([0.0, 0.0, 1.0, 1.0], size) }
    }

    /// Whether a point is of it.
    pub fn contains(&self, point: PixelPoint) -> bool {
        self.all.contains(point) && !self.holes.iter().any(|hole| hole.contains(point))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_told_from_names() {
        use Side::{Above, Below, Beside, Left, Near, Right, Row};
        let by = |side, anchor| Place::By(side, anchor);
        let cases = [
            ("click the Edit button in the row of Anna", "click the Edit button", by(Row, "Anna")),
            ("Edit in the same row as the \"New York\" label.", "Edit", by(Row, "New York")),
            ("click Edit in the Anna Smith row", "click Edit", by(Row, "Anna Smith")),
            ("Open in the row of Anna", "Open", by(Row, "Anna")),
            ("press Delete in Anna's row.", "press Delete", by(Row, "Anna")),
            ("In the row of Anna, click Edit", "click Edit", by(Row, "Anna")),
            ("click Reply next to the Sign up button", "click Reply", by(Beside, "Sign up")),
            ("open More near Prices", "open More", by(Near, "Prices")),
            ("click Buy below Blue shoes", "click Buy", by(Below, "Blue shoes")),
            ("click Buy ABOVE Blue shoes!", "click Buy", by(Above, "Blue shoes")),
            ("tick Remember me to the left of Help", "tick Remember me", by(Left, "Help")),
            ("tick Remember me right of Help", "tick Remember me", by(Right, "Help")),
            ("type \"left of it\" into Note under Anna", "type \"left of it\" into Note", by(Below, "Anna")),
            ("click Search at the top", "click Search", Place::Part([0.0, 0.0, 1.0, 0.5])),
            ("click Search in the top right corner of the page.", "click Search", Place::Part([0.5, 0.0, 1.0, 0.5])),
            ("click Privacy in the footer", "click Privacy", Place::Part([0.0, 0.5, 1.0, 1.0])),
        ];
        for (instruction, wish, place) in cases {
            let told = Relation { wish: wish.to_owned(), ordinal: None, place: Some(place) };
            assert_eq!(Relation::read(instruction), Some(told), "{instruction}");
        }
        let none = [
            "click Sign in",
            "click Below",
            "click Under $50",
            "click above the fold",
            "next to Anna",
            "open \"Edit in the row of Anna\"",
            "click the Nearby button",
            "go to Terms at the cinema",
            "select the row",
            "click Edit in this row",
            "click Edit in the same row",
            "at the top",
            "click the first name field",
            "click Last name",
            "click the second button",
            "go to the second floor",
            "go to Second language",
            "click \"the second Edit\"",
            "click Step, the second one",
            "first",
            "",
            "   ",
        ];
        for instruction in none {
            assert_eq!(Relation::read(instruction), None, "{instruction}");
        }
    }

    #[test]
    fn what_is_counted_is_told_from_names() {
        let row = Place::By(Side::Row, "Anna");
        let cases = [
            ("click the second Edit button", "click the Edit button", Ordinal::After(1), None),
            ("Open the LAST Details", "Open the Details", Ordinal::Last, None),
            ("3rd Add to cart", "Add to cart", Ordinal::After(2), None),
            (
                "type \"second\" into the first Email field",
                "type \"second\" into the Email field",
                Ordinal::After(0),
                None,
            ),
            ("click the second Edit in the row of Anna", "click the Edit", Ordinal::After(1), Some(row)),
        ];
        for (instruction, wish, ordinal, place) in cases {
            let told = Relation { wish: wish.to_owned(), ordinal: Some(ordinal), place };
            assert_eq!(Relation::read(instruction), Some(told), "{instruction}");
        }
        assert_eq!([1, 2, 3].map(|count| Ordinal::After(1).of(count)), [None, Some(1), Some(1)]);
        assert_eq!([0, 3].map(|count| Ordinal::Last.of(count)), [None, Some(2)]);
    }

    #[test]
    fn areas_lie_where_their_side_says() {
        let (size, token) = (Size::new(1000, 800), (20.0, 20.0));
        let anchor = PixelBox::new(440.0, 390.0, 460.0, 410.0);
        let at = |side: Side, x: f32, y: f32| {
            // Ten letters of 7 pixels, and half a token: from 405 to 495.
            Area::beside(side, anchor, 10, token, size).contains(PixelPoint { x, y })
        };
        assert!(at(Side::Row, 990.0, 410.0) && !at(Side::Row, 600.0, 411.0));
        assert!(at(Side::Row, 500.0, 400.0) && !at(Side::Row, 490.0, 400.0));
        assert!(at(Side::Left, 10.0, 400.0) && !at(Side::Left, 410.0, 400.0) && !at(Side::Left, 500.0, 400.0));
        assert!(at(Side::Right, 990.0, 400.0) && !at(Side::Right, 490.0, 400.0) && !at(Side::Right, 400.0, 400.0));
        assert!(at(Side::Above, 450.0, 300.0) && !at(Side::Above, 450.0, 400.0));
        assert!(at(Side::Below, 450.0, 500.0) && !at(Side::Below, 450.0, 400.0));
        assert!(at(Side::Beside, 600.0, 400.0) && !at(Side::Beside, 900.0, 400.0));
        assert!(at(Side::Near, 450.0, 500.0) && !at(Side::Near, 450.0, 700.0));
        let corner = Area::part([0.5, 0.0, 1.0, 0.5], size);
        assert!(
            corner.contains(PixelPoint { x: 700.0, y: 100.0 }) && !corner.contains(PixelPoint { x: 400.0, y: 100.0 })
        );
    }

    proptest! {
        /// Whatever is said, what is taken apart is of the instruction and names something.
        #[test]
        fn nothing_said_is_too_strange(words in prop::collection::vec("next to|in the row of|Anna's|the second|last|\"|row|at the|top|é|ẞ|[ -~]{0,6}", 0..9)) {
            let instruction = words.join(" ");
            if let Some(Relation { wish, place, .. }) = Relation::read(&instruction) {
                prop_assert!(names(&wish));
                if let Some(Place::By(_, anchor)) = place {
                    prop_assert!(instruction.contains(anchor) && !anchor.trim().is_empty());
                }
            }
        }
    }
}
