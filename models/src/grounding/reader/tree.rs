//! An answer as a tree of numbers, words, strings and what brackets, calls and tags hold: what JSON, Python, XML and running
//! text have in common, read without failing, in one pass.

/// Brackets within brackets that are read; what lies deeper is taken as if it had none.
const DEEPEST: usize = 48;
/// Bytes of the longest tag.
const LONGEST_TAG: usize = 300;

/// A number as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Number {
    pub(super) value: f64,
    pub(super) percent: bool,
    pub(super) written: String,
}

/// How a group of items is held together.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// By `[]`.
    Square,
    /// By `()`.
    Round,
    /// By `{}`.
    Curly,
    /// By the brackets of `name(...)`.
    Call(String),
    /// By a tag that marks a place, such as `<box>` or `<|point_start|>`; as attributes too.
    Tag,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Number(Number),
    Text(String),
    Word(String),
    /// A name that a model gives what follows.
    Label(String),
    Semicolon,
    /// Three backticks.
    Fence,
    Group {
        kind: Kind,
        items: Vec<Item>,
        /// Whether the answer goes on after it.
        whole: bool,
    },
}

/// Something, perhaps after `key:` or `key=`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) key: Option<String>,
    pub(super) node: Node,
}

struct Frame {
    kind: Option<Kind>,
    items: Vec<Item>,
    key: Option<String>,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    stack: Vec<Frame>,
    /// Brackets that were too deep.
    deeper: usize,
    /// The last character that is no space, and whether the last node ends right before here.
    before: char,
    key: Option<String>,
}

/// The ASCII character that a full-width or typographic one stands for.
fn plain(it: char) -> char {
    match it {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(it as u32 - 0xfee0).unwrap_or(it),
        '“' | '”' | '„' => '"',
        '‘' | '’' => '\'',
        '【' => '[',
        '】' => ']',
        '、' => ',',
        '−' | '–' => '-',
        '\u{3000}' | '\u{feff}' | '\u{200b}' => ' ',
        other => other,
    }
}

/// Everything in `text`.
pub(super) fn read(text: &str) -> Vec<Item> {
    let root = Frame { kind: None, items: Vec::new(), key: None };
    let mut reader = Reader { text, at: 0, stack: vec![root], deeper: 0, before: ' ', key: None };
    while reader.step() {}
    reader.finish()
}

impl Reader<'_> {
    fn peek_from(&self, at: usize) -> Option<char> {
        self.text.get(at..)?.chars().next().map(plain)
    }

    fn step(&mut self) -> bool {
        let Some(raw) = self.text.get(self.at..).and_then(|rest| rest.chars().next()) else { return false };
        let it = plain(raw);
        let start = self.at;
        self.at += raw.len_utf8();
        if it.is_whitespace() {
            return true;
        }
        let before = std::mem::replace(&mut self.before, it);
        // A letter or digit right before makes a sign a dash, and an opening bracket a call's.
        let touches = start > 0 && self.text[..start].chars().next_back().is_some_and(char::is_alphanumeric);
        match it {
            '[' => self.open(Kind::Square),
            '(' => match touches.then(|| self.called()).flatten() {
                Some(name) => self.open(Kind::Call(name)),
                None => self.open(Kind::Round),
            },
            '{' => self.open(Kind::Curly),
            ']' | ')' | '}' => self.close(it),
            ';' => self.push(Node::Semicolon),
            '<' => self.tag(start),
            '`' if self.text[start..].starts_with("```") => {
                self.at = start + 3;
                let language = self.text[self.at..].find(|it: char| !it.is_ascii_alphanumeric());
                self.at += language.unwrap_or(self.text.len() - self.at);
                while self.stack.len() > 1 {
                    self.pop(true);
                }
                self.deeper = 0;
                self.push(Node::Fence);
            }
            '"' | '\'' if self.stack.len() > 1 && matches!(before, '[' | '{' | '(' | ',' | ':' | '=' | ';' | '\\') => {
                self.string(it, before == '\\' && self.text[..start].ends_with('\\'));
            }
            '"' | '\'' if self.stack.len() > 1 && self.follows_a_value(start) => self.string(it, false),
            '0'..='9' => self.number(start),
            '-' | '+' if !touches && self.begins_number(self.at) => self.number(start),
            '.' if !touches && self.peek_from(self.at).is_some_and(|it| it.is_ascii_digit()) => self.number(start),
            it if it.is_alphanumeric() || it == '_' => self.word(start),
            _ => {}
        }
        true
    }

    /// Whether a quote stands in a new line of an object whose last line has no comma.
    fn follows_a_value(&self, start: usize) -> bool {
        let spaces = &self.text[self.text[..start].trim_end().len()..start];
        spaces.contains('\n')
            && self.stack.last().and_then(|frame| frame.items.last()).is_some_and(|item| item.key.is_some())
    }

    fn begins_number(&self, at: usize) -> bool {
        match self.peek_from(at) {
            Some('.') => self.peek_from(at + 1).is_some_and(|it| it.is_ascii_digit()),
            next => next.is_some_and(|it| it.is_ascii_digit()),
        }
    }

    /// The word that was just read, if it can be the name of a call.
    fn called(&mut self) -> Option<String> {
        let items = &mut self.stack.last_mut()?.items;
        match items.last() {
            Some(Item { node: Node::Word(_), .. }) => {}
            _ => return None,
        }
        let Item { key, node } = items.pop()?;
        self.key = key;
        match node {
            Node::Word(name) => Some(name),
            _ => None,
        }
    }

    fn push(&mut self, node: Node) {
        let key = self.key.take();
        if let Some(frame) = self.stack.last_mut() {
            frame.items.push(Item { key, node });
        }
    }

    fn open(&mut self, kind: Kind) {
        if self.stack.len() > DEEPEST {
            self.deeper += 1;
            return;
        }
        let key = self.key.take();
        self.stack.push(Frame { kind: Some(kind), items: Vec::new(), key });
    }

    fn close(&mut self, bracket: char) {
        if self.deeper > 0 {
            self.deeper -= 1;
            return;
        }
        let closes = |frame: &Frame| match &frame.kind {
            Some(Kind::Square) => bracket == ']',
            Some(Kind::Round | Kind::Call(_)) => bracket == ')',
            Some(Kind::Curly) => bracket == '}',
            Some(Kind::Tag) | None => false,
        };
        let open = self.stack.iter().rposition(closes);
        // Of several that are open, those within it end with it; one of another kind was mistaken for it.
        let down_to = open.unwrap_or(self.stack.len() - 1).max(1);
        if open.is_none() && self.stack.last().is_some_and(|frame| frame.kind == Some(Kind::Tag)) {
            return;
        }
        while self.stack.len() > down_to {
            self.pop(true);
        }
    }

    fn pop(&mut self, whole: bool) {
        self.key = None;
        if self.stack.len() < 2 {
            return;
        }
        if let Some(Frame { kind: Some(kind), items, key }) = self.stack.pop() {
            self.key = key;
            self.push(Node::Group { kind, items, whole });
        }
    }

    /// `name:` or `name=`, but no address and no comparison.
    fn key_follows(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let spaces = rest.len() - rest.trim_start_matches([' ', '\t', '\u{3000}']).len();
        let Some(mark) = rest[spaces..].chars().next().filter(|&it| matches!(plain(it), ':' | '=')) else {
            return false;
        };
        let after = self.at + spaces + mark.len_utf8();
        if matches!(self.text.as_bytes().get(after), Some(b'/' | b'=')) {
            return false;
        }
        self.at = after;
        self.before = plain(mark);
        true
    }

    fn word(&mut self, start: usize) {
        let rest = &self.text[start..];
        let mut end = rest.len();
        let mut chars = rest.char_indices().peekable();
        while let Some((at, it)) = chars.next() {
            // A point or a dash joins what goes on after it.
            let joins = matches!(it, '.' | '-') && chars.peek().is_some_and(|(_, next)| next.is_alphanumeric());
            if !(it.is_alphanumeric() || it == '_' || joins) {
                end = at;
                break;
            }
        }
        let word = &rest[..end];
        self.at = start + end;
        self.before = 'a';
        if self.key_follows() {
            self.key = Some(word.to_owned());
        } else if let Some(numbers) = underscored(word) {
            self.key = Some("bbox".to_owned());
            let items = numbers.into_iter().map(|it| Item { key: None, node: Node::Number(it) }).collect();
            self.push(Node::Group { kind: Kind::Square, items, whole: self.at < self.text.len() });
        } else {
            self.push(Node::Word(word.to_owned()));
        }
    }

    fn number(&mut self, start: usize) {
        let mut written = String::new();
        let mut at = start;
        let (mut point, mut exponent) = (false, false);
        while let Some(raw) = self.text[at..].chars().next() {
            let it = plain(raw);
            let takes = match it {
                '0'..='9' => true,
                '-' | '+' => written.is_empty() || written.ends_with(['e', 'E']),
                '.' => !point && !exponent && self.peek_from(at + raw.len_utf8()).is_some_and(|it| it.is_ascii_digit()),
                'e' | 'E' => {
                    let sign = self.peek_from(at + 1).is_some_and(|it| matches!(it, '-' | '+'));
                    !exponent && self.peek_from(at + 1 + usize::from(sign)).is_some_and(|it| it.is_ascii_digit())
                }
                _ => false,
            };
            if !takes {
                break;
            }
            (point, exponent) = (point || it == '.', exponent || matches!(it, 'e' | 'E'));
            written.push(it);
            at += raw.len_utf8();
        }
        let rest = &self.text[at..];
        let goes_on = rest.starts_with("px") && !rest[2..].starts_with(char::is_alphanumeric);
        if goes_on {
            at += 2;
        } else if rest.starts_with(|it: char| it.is_alphanumeric() || it == '_')
            || rest.starts_with('.') && self.peek_from(at + 1).is_some_and(|it| it.is_ascii_digit())
        {
            // "2nd", "1.2.3": no coordinate.
            let end = rest.find(|it: char| !(it.is_alphanumeric() || matches!(it, '_' | '.'))).unwrap_or(rest.len());
            self.at = at + end;
            self.before = 'a';
            let word = self.text[start..self.at].to_owned();
            return self.push(Node::Word(word));
        }
        let spaces = self.text[at..].len() - self.text[at..].trim_start_matches(' ').len();
        let mark = self.text[at + spaces..].chars().next().filter(|&it| plain(it) == '%');
        let percent = mark.is_some();
        at += mark.map_or(0, |mark| spaces + mark.len_utf8());
        self.at = at;
        self.before = '0';
        let value = written.parse().unwrap_or(f64::NAN);
        self.push(Node::Number(Number { value, percent, written }));
    }

    /// A string; its quotes may not be escaped, so that one ends it only if what follows goes on as after a string.
    fn string(&mut self, quote: char, escaped: bool) {
        let mut string = String::new();
        while let Some(raw) = self.text[self.at..].chars().next() {
            self.at += raw.len_utf8();
            if raw == '\\' {
                let next = self.text[self.at..].chars().next();
                if escaped && next == Some(quote) && self.ends_string(self.at + 1) {
                    self.at += 1;
                    return self.put_string(string);
                }
                self.at += next.map_or(0, char::len_utf8);
                match next {
                    Some('n') => string.push('\n'),
                    Some('t') => string.push('\t'),
                    Some(next) => string.push(next),
                    None => {}
                }
            } else if !escaped && plain(raw) == quote && self.ends_string(self.at) {
                return self.put_string(string);
            } else {
                string.push(raw);
            }
        }
        // It breaks off: half a string is no value.
        self.before = 'a';
        self.key = None;
    }

    fn put_string(&mut self, string: String) {
        self.before = '"';
        if self.key.is_none() && self.key_follows() {
            // Where the string before has no end, its beginning is a part of this.
            let name = string.rsplit(['"', '\'']).next().unwrap_or_default();
            self.key = Some(name.to_owned());
        } else {
            self.push(Node::Text(string));
        }
    }

    fn ends_string(&self, at: usize) -> bool {
        let rest = &self.text[at..];
        let after = rest.trim_start();
        match after.chars().next().map(plain) {
            None | Some(',' | ':' | ';' | ']' | ')' | '}' | '=') => true,
            Some('\\') => true,
            Some('"' | '\'') => rest[..rest.len() - after.len()].contains('\n'),
            Some('<') => after.starts_with("</") || after.starts_with("<|"),
            Some('`') => after.starts_with("```"),
            _ => false,
        }
    }

    fn tag(&mut self, start: usize) {
        let rest = &self.text[start + 1..];
        if !rest.starts_with(|it: char| it.is_ascii_alphabetic() || matches!(it, '/' | '|')) {
            return;
        }
        let near = rest.char_indices().take_while(|&(at, it)| at < LONGEST_TAG && it != '<').find(|&(_, it)| it == '>');
        let Some((end, _)) = near else { return };
        let inner = &rest[..end];
        self.at = start + 1 + end + 1;
        let closing = inner.starts_with('/');
        let name = inner.trim_matches(|it| matches!(it, '/' | '|'));
        let (name, attributes) = name.split_once(char::is_whitespace).unwrap_or((name, ""));
        let name = name.to_ascii_lowercase();
        let ends = closing || name.ends_with("_end");
        let numeric = |frame: &Frame| {
            (1..=8).contains(&frame.items.len())
                && frame.items.iter().all(|it| matches!((&it.node, &it.key), (Node::Number(_), None)))
        };
        if ends {
            // A tag within a list of numbers stands for its bracket.
            if self.stack.last().is_some_and(numeric) && self.stack.len() > 1 {
                self.pop(true);
            }
            let tagged = self.stack.iter().rposition(|frame| frame.kind == Some(Kind::Tag));
            if let Some(tagged) = tagged.filter(|_| is_place(&name)) {
                while self.stack.len() > tagged {
                    self.pop(true);
                }
            }
        } else if matches!(name.as_str(), "ref" | "object_ref_start" | "p" | "phrase") {
            let text = &self.text[self.at..];
            let end = text.find('<').unwrap_or(text.len());
            let label = text[..end].trim().to_owned();
            self.at += end;
            self.push(Node::Label(label));
        } else if matches!(name.as_str(), "x" | "y" | "x1" | "y1" | "x2" | "y2" | "x0" | "y0") {
            self.key = Some(name);
        } else if is_place(&name) {
            let items: Vec<Item> = match attributes.contains('=') {
                true => attributes.split_whitespace().filter_map(attribute).collect(),
                false => Vec::new(),
            };
            match items.is_empty() {
                true => self.open(Kind::Tag),
                false => self.push(Node::Group { kind: Kind::Tag, items, whole: true }),
            }
        }
    }

    fn finish(mut self) -> Vec<Item> {
        // What may go on is not known yet.
        let touches = self.text.ends_with(|it: char| plain(it).is_ascii_digit());
        if let Some(frame) = self.stack.last_mut().filter(|frame| frame.kind.is_some())
            && touches
            && matches!(frame.items.last(), Some(Item { node: Node::Number(_), .. }))
        {
            frame.items.pop();
        }
        while self.stack.len() > 1 {
            self.pop(false);
        }
        self.stack.pop().map(|root| root.items).unwrap_or_default()
    }
}

/// Whether a tag's name says that a place follows.
fn is_place(name: &str) -> bool {
    let name = name.strip_suffix("_start").or_else(|| name.strip_suffix("_end")).unwrap_or(name);
    matches!(
        name,
        "box"
            | "bbox"
            | "bbox_2d"
            | "box_2d"
            | "point"
            | "points"
            | "point_2d"
            | "coordinate"
            | "coordinates"
            | "click"
            | "position"
    )
}

fn attribute(written: &str) -> Option<Item> {
    let (key, value) = written.split_once('=')?;
    let number = read(value.trim_matches(['"', '\''])).into_iter().next()?;
    Some(Item { key: Some(key.to_owned()), node: number.node })
}

/// The numbers of `bbox_10_20_30_40`.
fn underscored(word: &str) -> Option<Vec<Number>> {
    let numbers = word.strip_prefix("bbox_").or_else(|| word.strip_prefix("box_"))?;
    let number = |written: &str| {
        let digits = !written.is_empty() && written.len() < 10 && written.bytes().all(|it| it.is_ascii_digit());
        Some(Number { value: written.parse().ok().filter(|_| digits)?, percent: false, written: written.to_owned() })
    };
    let numbers: Option<Vec<Number>> = numbers.split('_').map(number).collect();
    numbers.filter(|numbers| numbers.len() == 4)
}
