//! The places that an answer's tree has, in order, and what is to be done there.

use super::{
    tree::{Item, Kind, Node, Number, read},
    verbs::{self, Deed},
};

/// Strings within strings that are read, as the arguments of a call are one.
const DEEPEST: usize = 3;

/// How sure it is that numbers are a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Two numbers in brackets.
    Point,
    /// Four numbers in brackets.
    Box,
    /// A key, a tag or a call says so.
    Said,
}

/// What an answer says of a place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// Two or four coordinates.
    Place { numbers: Vec<Number>, fractions: bool },
    /// There is none.
    Absent,
    /// Nothing is left to do.
    End,
}

/// Why what should be a place is none.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Problem {
    /// Neither two nor four numbers.
    Count(Vec<String>),
    /// Something else than numbers.
    NoCoordinates(String),
    /// An operation without a place.
    NoPlace(String),
    /// It breaks off.
    Cut,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) rank: Rank,
    /// Places of one list, or that follow each other without words between them, have the same number.
    pub(super) group: usize,
    pub(super) found: Result<Found, Problem>,
    pub(super) deed: Deed,
    pub(super) label: Option<String>,
}

/// What a value under a place's key holds.
enum Value {
    Found(Found),
    Problem(Problem),
    /// Words that are no coordinates, under a key that may have them.
    Other,
}

#[derive(Default)]
pub(super) struct Places {
    pub(super) candidates: Vec<Candidate>,
    /// Lists and objects without anything in them.
    pub(super) empty: usize,
    group: usize,
    apart: bool,
    label: Option<String>,
    depth: usize,
    /// Whether the words since the last place speak of the upper left, or of the lower right corner.
    upper: bool,
    lower: bool,
}

/// All places of `text`.
pub(super) fn find(text: &str) -> Places {
    let mut places = Places::default();
    let items = read(text);
    places.walk(&items, &Deed::default());
    if places.candidates.is_empty() {
        // An answer of nothing but numbers.
        let numbers: Option<Vec<Number>> = items.iter().map(|item| number(&item.node)).collect();
        if let Some(numbers) = numbers.filter(|numbers| matches!(numbers.len(), 2 | 4)) {
            places.bare(numbers, &Deed::default());
        }
    }
    places
}

fn number(node: &Node) -> Option<Number> {
    match node {
        Node::Number(number) => Some(number.clone()),
        _ => None,
    }
}

/// A key without what its writers vary.
fn normal(key: &str) -> String {
    key.chars().filter(|it| it.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// How good a key is for a place: the lower the better; whether it has nothing but places.
fn place_key(key: &str) -> Option<(usize, bool)> {
    const ONLY: [&str; 15] = [
        "bbox2d",
        "box2d",
        "bbox",
        "box",
        "boundingbox",
        "boundingbox2d",
        "startbox",
        "point2d",
        "coordinate",
        "coordinates",
        "coords",
        "point",
        "points",
        "startpoint",
        "clickpoint",
    ];
    const PERHAPS: [&str; 15] = [
        "rect",
        "rectangle",
        "bounds",
        "region",
        "position",
        "location",
        "center",
        "centre",
        "place",
        "target",
        "click",
        "tap",
        "answer",
        "result",
        "output",
    ];
    let key = normal(key);
    let at = |keys: &[&str]| keys.iter().position(|it| *it == key);
    at(&ONLY).map(|at| (at, true)).or_else(|| at(&PERHAPS).map(|at| (ONLY.len() + at, false)))
}

/// Keys whose values are never places of the answer.
fn is_aside(key: &str) -> bool {
    matches!(
        normal(key).as_str(),
        "thought"
            | "thoughts"
            | "think"
            | "thinking"
            | "reasoning"
            | "reason"
            | "analysis"
            | "explanation"
            | "errors"
            | "error"
            | "label"
            | "text"
            | "content"
            | "size"
            | "imagesize"
            | "resolution"
            | "dimensions"
            | "screensize"
            | "screen"
            | "endbox"
            | "endpoint"
            | "confidence"
            | "score"
    )
}

/// Keys of the sides of a box, of a point and of an extent.
const SIDES: [&str; 28] = [
    "x",
    "y",
    "x0",
    "y0",
    "x1",
    "y1",
    "x2",
    "y2",
    "left",
    "top",
    "right",
    "bottom",
    "xmin",
    "ymin",
    "xmax",
    "ymax",
    "startx",
    "starty",
    "endx",
    "endy",
    "xend",
    "yend",
    "clickx",
    "clicky",
    "xcoordinate",
    "ycoordinate",
    "width",
    "height",
];

/// The sides of a box, or of a point, that keys have.
fn sides(items: &[Item]) -> Option<Value> {
    // The first of each side; an object may have any number of other keys.
    let mut known: Vec<(String, &Item)> = Vec::new();
    for item in items {
        let Some(key) = item.key.as_deref().filter(|key| key.len() < 20) else { continue };
        let key = normal(key);
        if SIDES.contains(&key.as_str()) && !known.iter().any(|(it, _)| *it == key) {
            known.push((key, item));
        }
    }
    if known.is_empty() {
        return None;
    }
    let get = |names: &[&str]| {
        let (_, item) = known.iter().find(|(key, _)| names.contains(&key.as_str()))?;
        Some(match &item.node {
            Node::Number(number) => Ok(number.clone()),
            Node::Text(text) => match read(text).as_slice() {
                [Item { node: Node::Number(number), .. }] => Ok(number.clone()),
                _ if is_none(text) => Err(Found::Absent),
                _ => return None,
            },
            Node::Word(word) if is_none(word) => Err(Found::Absent),
            _ => return None,
        })
    };
    let corner = [
        (["x1", "xmin", "left", "x0", "startx"], ["y1", "ymin", "top", "y0", "starty"]),
        (["x2", "xmax", "right", "endx", "xend"], ["y2", "ymax", "bottom", "endy", "yend"]),
    ];
    // `x0` goes with `x1`.
    let from_zero = get(&["x0"]).is_some();
    let first = match from_zero {
        true => (get(&["x0"]), get(&["y0"])),
        false => (get(&corner[0].0), get(&corner[0].1)),
    };
    let second = match from_zero {
        true => (get(&["x1"]), get(&["y1"])),
        false => (get(&corner[1].0), get(&corner[1].1)),
    };
    let (first, is_corner) = match first {
        (Some(x), Some(y)) => ((x, y), true),
        _ => ((get(&["x", "clickx", "xcoordinate"])?, get(&["y", "clicky", "ycoordinate"])?), false),
    };
    let (x, y) = match first {
        (Ok(x), Ok(y)) => (x, y),
        _ => return Some(Value::Found(Found::Absent)),
    };
    let extent = |from: &Number, size: Number| Number { value: from.value + size.value, ..size };
    let second = match (second, get(&["width"]), get(&["height"])) {
        ((Some(Ok(right)), Some(Ok(bottom))), ..) if is_corner => Some((right, bottom)),
        (_, Some(Ok(width)), Some(Ok(height))) => Some((extent(&x, width), extent(&y, height))),
        _ => None,
    };
    let numbers = match second {
        Some((right, bottom)) => vec![x, y, right, bottom],
        None => vec![x, y],
    };
    Some(Value::Found(Found::Place { numbers, fractions: false }))
}

/// The numbers of a list that has nothing else, those of each list in it together; `None` if it has something else, or breaks
/// off.
fn lists(items: &[Item]) -> Option<Vec<Vec<Number>>> {
    let mut lists: Vec<Vec<Number>> = vec![Vec::new()];
    for item in items {
        if item.key.is_some() {
            return None;
        }
        match &item.node {
            Node::Number(number) => lists.last_mut()?.push(number.clone()),
            Node::Semicolon => lists.push(Vec::new()),
            Node::Text(text) => {
                let inner = read(text);
                let inner = match inner.as_slice() {
                    [Item { node: Node::Group { items, whole: true, .. }, key: None }] => items,
                    _ => &inner,
                };
                let numbers: Vec<Number> = inner.iter().map(|it| number(&it.node)).collect::<Option<_>>()?;
                lists.last_mut().filter(|_| !numbers.is_empty())?.extend(numbers);
            }
            Node::Group { kind: Kind::Square | Kind::Round | Kind::Tag, items, whole: true } => {
                for inner in self::lists(items)? {
                    lists.push(inner);
                }
                lists.push(Vec::new());
            }
            Node::Label(_) | Node::Fence => {}
            _ => return None,
        }
    }
    lists.retain(|it| !it.is_empty());
    // Points that follow each other are corners.
    if lists.len() > 1 && lists.len().is_multiple_of(2) && lists.iter().all(|it| it.len() == 2) {
        lists = lists.chunks(2).map(<[Vec<Number>]>::concat).collect();
    }
    Some(lists)
}

/// Words that stand for nothing.
fn is_none(text: &str) -> bool {
    matches!(
        text.trim().to_ascii_lowercase().as_str(),
        "" | "none" | "null" | "nil" | "n/a" | "na" | "not_found" | "notfound" | "absent" | "false" | "undefined"
    )
}

impl Places {
    fn push(&mut self, rank: Rank, found: Result<Found, Problem>, deed: &Deed) {
        self.group += usize::from(std::mem::take(&mut self.apart));
        let label = deed.label.clone().or_else(|| self.label.clone());
        self.candidates.push(Candidate { rank, group: self.group, found, deed: deed.clone(), label });
        (self.upper, self.lower) = (false, false);
    }

    /// Numbers in brackets of which nothing says that they are a place.
    fn bare(&mut self, numbers: Vec<Number>, deed: &Deed) {
        let rank = if numbers.len() == 2 { Rank::Point } else { Rank::Box };
        if numbers.len() == 2
            && let Some(last) = self.candidates.last_mut()
            && last.rank == Rank::Point
            && let Ok(Found::Place { numbers: first, .. }) = &mut last.found
            && first.len() == 2
            // `(10, 20), (30, 40)`; or "from the upper left corner (10, 20) to the lower right one (30, 40)".
            && (!self.apart || self.lower && last.deed.upper)
        {
            first.extend(numbers);
            last.rank = Rank::Box;
            return;
        }
        let deed = Deed { upper: self.upper, ..deed.clone() };
        match numbers.len() {
            2 | 4 => self.push(rank, Ok(Found::Place { numbers, fractions: false }), &deed),
            0 | 1 => {}
            _ => self.push(rank, Err(Problem::Count(numbers.into_iter().map(|it| it.written).collect())), &deed),
        }
    }

    fn walk(&mut self, items: &[Item], deed: &Deed) {
        // `x: 10, y: 20` in running text.
        if let Some(Value::Found(found)) = sides(items) {
            self.push(Rank::Said, Ok(found), deed);
        }
        for (at, item) in items.iter().enumerate() {
            if let Some(key) = &item.key {
                self.words(key);
                if is_aside(key) {
                    continue;
                }
                if place_key(key).is_some() {
                    self.keyed(items, at, deed);
                    continue;
                }
            }
            match &item.node {
                Node::Group { kind, items, whole } => self.group(kind, items, *whole, deed),
                Node::Word(word) => {
                    self.apart = true;
                    self.words(word);
                }
                Node::Fence => self.apart = true,
                Node::Label(label) => self.label = Some(label.clone()),
                Node::Text(text) if text.trim_start().starts_with(['{', '[', '<']) => self.inner(text, deed),
                Node::Text(_) | Node::Number(_) | Node::Semicolon => {}
            }
        }
    }

    fn words(&mut self, word: &str) {
        let word = word.to_ascii_lowercase();
        self.upper |= ["top", "upper", "from", "左上"].iter().any(|it| word.starts_with(it));
        self.lower |= word == "to" || ["bottom", "lower", "右下"].iter().any(|it| word.starts_with(it));
    }

    /// A string that holds an answer in turn.
    fn inner(&mut self, text: &str, deed: &Deed) {
        if self.depth < DEEPEST {
            self.depth += 1;
            self.walk(&read(text), deed);
            self.depth -= 1;
        }
    }

    fn group(&mut self, kind: &Kind, items: &[Item], whole: bool, deed: &Deed) {
        if items.is_empty() && whole {
            self.empty += 1;
            if matches!(kind, Kind::Square | Kind::Round | Kind::Curly) {
                return;
            }
        }
        if let Kind::Call(name) = kind {
            return self.call(name, items, whole, deed);
        }
        if *kind == Kind::Tag {
            return match self.value(items, whole) {
                Value::Found(found) => self.push(Rank::Said, Ok(found), deed),
                Value::Problem(problem) => self.push(Rank::Said, Err(problem), deed),
                Value::Other => {}
            };
        }
        if items.iter().any(|item| item.key.is_some()) {
            return self.object(items, whole, deed, false);
        }
        match lists(items) {
            Some(lists) if whole => lists.into_iter().for_each(|numbers| self.bare(numbers, deed)),
            // The first of two corners is no place.
            Some(lists) if lists.iter().map(Vec::len).sum::<usize>() == items.len() => {
                let corner = !self.apart
                    && self.candidates.last().is_some_and(|last| {
                        last.rank == Rank::Point
                            && matches!(&last.found, Ok(Found::Place { numbers, .. }) if numbers.len() == 2)
                    });
                if corner {
                    self.candidates.pop();
                }
                self.push(Rank::Point, Err(Problem::Cut), deed);
            }
            _ => self.walk(items, deed),
        }
    }

    /// What the items of a tag, of a list or of a string under a place's key are.
    fn value(&mut self, items: &[Item], whole: bool) -> Value {
        let cut = items.iter().any(|item| matches!(&item.node, Node::Group { whole: false, .. }));
        if let Some(value) = sides(items) {
            return value;
        }
        let absent = |it: &Item| match &it.node {
            Node::Word(word) | Node::Text(word) => is_none(word),
            _ => false,
        };
        if !items.is_empty() && items.iter().all(absent) {
            return Value::Found(Found::Absent);
        }
        match lists(items) {
            Some(lists) if !lists.is_empty() => {
                let together: Vec<Number> = lists.concat();
                // Of several places the first; of numbers that make none together, all.
                let numbers = if matches!(lists[0].len(), 2 | 4) && lists.iter().all(|it| it.len() == lists[0].len()) {
                    lists[0].clone()
                } else {
                    together
                };
                match numbers.len() {
                    2 | 4 if whole || !cut && is_tagged(items) => {
                        Value::Found(Found::Place { numbers, fractions: false })
                    }
                    _ if !whole => Value::Problem(Problem::Cut),
                    _ => Value::Problem(Problem::Count(numbers.into_iter().map(|it| it.written).collect())),
                }
            }
            Some(_) if whole && items.is_empty() => Value::Found(Found::Absent),
            _ if !whole || cut => Value::Problem(Problem::Cut),
            _ => Value::Other,
        }
    }

    /// The place under a key.
    fn keyed(&mut self, items: &[Item], at: usize, deed: &Deed) {
        let Some(Item { key: Some(key), node }) = items.get(at) else { return };
        let only = place_key(key).is_some_and(|(_, only)| only);
        let value = match node {
            Node::Group { kind: Kind::Call(_), .. } => Value::Other,
            Node::Group { items, whole, .. } => self.value(items, *whole),
            Node::Text(text) => match is_none(text) || super::words::deny(text) {
                true => Value::Found(Found::Absent),
                false => match self.value(&read(text), true) {
                    Value::Other | Value::Found(Found::Absent) => Value::Problem(Problem::NoCoordinates(text.clone())),
                    value => value,
                },
            },
            Node::Word(word) if is_none(word) => Value::Found(Found::Absent),
            Node::Number(_) => {
                let more = items
                    .get(at + 1..)
                    .unwrap_or_default()
                    .iter()
                    .map_while(|it| number(&it.node).filter(|_| it.key.is_none()));
                let numbers: Vec<Number> = number(node).into_iter().chain(more).collect();
                match numbers.len() {
                    2 | 4 => Value::Found(Found::Place { numbers, fractions: false }),
                    _ => Value::Problem(Problem::Count(numbers.into_iter().map(|it| it.written).collect())),
                }
            }
            _ => Value::Other,
        };
        match value {
            Value::Found(found) => self.push(Rank::Said, Ok(found), deed),
            Value::Problem(problem @ (Problem::NoCoordinates(_) | Problem::Count(_))) if !only => drop(problem),
            Value::Problem(problem) => self.push(Rank::Said, Err(problem), deed),
            Value::Other => match node {
                Node::Group { items: inner, kind, .. }
                    if matches!(kind, Kind::Call(_))
                        || inner.iter().any(|it| matches!(it.node, Node::Group { .. })) =>
                {
                    self.walk(std::slice::from_ref(&Item { key: None, node: node.clone() }), deed);
                }
                _ if only => self.push(Rank::Said, Err(Problem::NoCoordinates(shown(node))), deed),
                _ => {}
            },
        }
    }

    fn object(&mut self, items: &[Item], whole: bool, deed: &Deed, call: bool) {
        let mut deed = deed.clone();
        verbs::learn(&mut deed, items, call);
        let before = self.candidates.len();
        if verbs::denies(items) {
            return self.push(Rank::Said, Ok(Found::Absent), &deed);
        }
        let keyed = |(at, item): (usize, &Item)| Some((place_key(item.key.as_deref()?)?.0, at));
        let mut keys: Vec<(usize, usize)> = items.iter().enumerate().filter_map(keyed).collect();
        keys.sort_unstable();
        for (_, at) in keys {
            self.keyed(items, at, &deed);
            if self.candidates.len() > before {
                return;
            }
        }
        match sides(items) {
            Some(Value::Found(found)) => return self.push(Rank::Said, Ok(found), &deed),
            Some(Value::Problem(problem)) => return self.push(Rank::Said, Err(problem), &deed),
            _ => {}
        }
        for item in items {
            let aside = item.key.as_deref().is_some_and(|key| is_aside(key) || place_key(key).is_some());
            match &item.node {
                // Numbers under a key of another meaning are no place.
                Node::Group { kind, items, whole }
                    if !aside
                        && (item.key.is_none()
                            || matches!(kind, Kind::Call(_) | Kind::Tag)
                            || lists(items).is_none()) =>
                {
                    self.group(kind, items, *whole, &deed);
                }
                Node::Text(text) if !aside && text.trim_start().starts_with(['{', '[', '<']) => self.inner(text, &deed),
                _ => {}
            }
        }
        if self.candidates.len() == before && whole {
            self.without_place(&deed);
        }
    }

    /// An operation that has no place.
    fn without_place(&mut self, deed: &Deed) {
        let Some(name) = deed.name.clone() else { return };
        match &deed.verb {
            Some(verbs::Verb::End) => self.push(Rank::Said, Ok(Found::End), deed),
            Some(verbs::Verb::Absent) => self.push(Rank::Said, Ok(Found::Absent), deed),
            Some(verbs::Verb::Click)
                // `moveTo(10, 20)`, then `click()`.
                if self.candidates.last().is_some_and(|last| last.deed.verb == Some(verbs::Verb::Hover)) =>
            {
                if let Some(last) = self.candidates.last_mut() {
                    last.deed.verb = Some(verbs::Verb::Click);
                }
            }
            _ => self.push(Rank::Said, Err(Problem::NoPlace(name)), deed),
        }
    }

    fn call(&mut self, name: &str, items: &[Item], whole: bool, deed: &Deed) {
        let known = verbs::of(name);
        let keyed = items.iter().any(|item| item.key.is_some());
        let is_place = place_key(name.rsplit('.').next().unwrap_or(name)).is_some();
        if known.is_none() && !is_place && !keyed {
            // Words right before a bracket.
            self.apart = true;
            self.words(name);
            return self.group(&Kind::Round, items, whole, deed);
        }
        let mut deed = deed.clone();
        let before = self.candidates.len();
        match known {
            Some(verb) => (deed.name, deed.verb) = (Some(name.to_owned()), verb),
            None if is_place => {}
            None => (deed.name, deed.verb) = (Some(name.to_owned()), Some(verbs::Verb::Unknown)),
        }
        let positional: Vec<Item> = items.iter().filter(|item| item.key.is_none()).cloned().collect();
        let words = positional.iter().any(|item| matches!(item.node, Node::Word(_)));
        if !keyed || !positional.is_empty() && sides(items).is_none() {
            // A string may say what to write or where to turn.
            let numeric: Vec<Item> = positional
                .into_iter()
                .filter(|item| !matches!(&item.node, Node::Text(text) if lists(std::slice::from_ref(&Item { key: None, node: Node::Text(text.clone()) })).is_none()))
                .collect();
            if !numeric.is_empty() {
                match self.value(&numeric, whole) {
                    Value::Found(found) => self.push(Rank::Said, Ok(found), &deed),
                    Value::Problem(problem) => self.push(Rank::Said, Err(problem), &deed),
                    Value::Other => {}
                }
            }
        }
        if self.candidates.len() == before && keyed {
            self.object(items, whole, &deed, true);
        } else {
            verbs::learn(&mut deed, items, true);
            if let Some(last) = self.candidates.get_mut(before) {
                last.deed = deed.clone();
            }
            // "click(s)" is a word.
            if self.candidates.len() == before && whole && !words && known.is_some() {
                self.without_place(&deed);
            }
        }
        let fractions = name.to_ascii_lowercase().starts_with("pyautogui");
        for candidate in self.candidates.get_mut(before..).unwrap_or_default() {
            if let Ok(Found::Place { fractions: allowed, .. }) = &mut candidate.found {
                *allowed |= fractions;
            }
        }
    }
}

/// Whether all numbers are within brackets of their own that are closed.
fn is_tagged(items: &[Item]) -> bool {
    items.iter().all(|item| matches!(item.node, Node::Group { whole: true, .. } | Node::Text(_) | Node::Semicolon))
}

fn shown(node: &Node) -> String {
    match node {
        Node::Word(text) | Node::Text(text) | Node::Label(text) => text.clone(),
        Node::Number(number) => number.written.clone(),
        Node::Group { items, .. } => {
            let shown: Vec<String> = items.iter().take(8).map(|item| shown(&item.node)).collect();
            shown.join(", ")
        }
        Node::Semicolon | Node::Fence => String::new(),
    }
}
