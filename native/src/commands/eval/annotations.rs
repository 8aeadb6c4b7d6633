//! Questions with known targets, in the layouts that benchmarks publish.
//!
//! Four numbers say nothing of their convention: ScreenSpot has left, top, width and height in pixels, ScreenSpot-Pro the
//! corners, others fractions of the sides. A file has one convention. It is the one that no box contradicts, beside its
//! picture's size; where several are left and give different boxes, the fields of a known benchmark decide, and where
//! there are none the caller must say it.

use std::{collections::HashMap, fmt, path::Path};

use fovea_models::{grounding::PixelBox, image::Size, json_text};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::{
    failure::{Failure, Outcome},
    input::read_bounded,
};

/// Largest file of annotations that is read.
const LARGEST_FILE: u64 = 256 << 20;

/// How a box is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Boxes {
    /// Left, top, width, height in pixels (ScreenSpot).
    Xywh,
    /// Left, top, right, bottom in pixels (ScreenSpot-Pro).
    Corners,
    /// Left, top, right, bottom as fractions of the picture's sides.
    Fractions,
    /// Left, top, width, height as fractions of the picture's sides.
    FractionsXywh,
}

impl Boxes {
    const ALL: [Self; 4] = [Self::Xywh, Self::Corners, Self::Fractions, Self::FractionsXywh];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Xywh => "xywh",
            Self::Corners => "corners",
            Self::Fractions => "fractions",
            Self::FractionsXywh => "fractions-xywh",
        }
    }

    fn are_fractions(self) -> bool {
        matches!(self, Self::Fractions | Self::FractionsXywh)
    }

    /// Left, top, right, bottom in the unit of the numbers.
    fn corners(self, [a, b, c, d]: [f64; 4]) -> [f64; 4] {
        match self {
            Self::Xywh | Self::FractionsXywh => [a, b, a + c, b + d],
            Self::Corners | Self::Fractions => [a, b, c, d],
        }
    }

    /// The box in pixels of a picture.
    pub(super) fn to_pixels(self, numbers: [f64; 4], size: Size) -> PixelBox {
        let (width, height) = match self.are_fractions() {
            true => (f64::from(size.width), f64::from(size.height)),
            false => (1.0, 1.0),
        };
        let [left, top, right, bottom] = self.corners(numbers);
        PixelBox::new((left * width) as f32, (top * height) as f32, (right * width) as f32, (bottom * height) as f32)
    }

    /// Why these numbers cannot be so written. Benchmarks have boxes a little beyond the edge: a fiftieth of the side is
    /// allowed.
    fn contradiction(self, numbers: [f64; 4], size: Option<Size>) -> Option<&'static str> {
        const BEYOND: f64 = 0.02;
        let [left, top, right, bottom] = self.corners(numbers);
        if right < left || bottom < top {
            return Some(match self {
                Self::Xywh | Self::FractionsXywh => "its width or height is negative",
                Self::Corners | Self::Fractions => "its right or lower edge lies before the other",
            });
        }
        let (width, height) = match (self.are_fractions(), size) {
            (true, _) => (1.0, 1.0),
            (false, Some(size)) => (f64::from(size.width), f64::from(size.height)),
            (false, None) => return None,
        };
        let outside = |from: f64, to: f64, side: f64| from < -BEYOND * side || to > (1.0 + BEYOND) * side;
        (outside(left, right, width) || outside(top, bottom, height)).then_some(match self.are_fractions() {
            true => "it lies outside of 0 to 1",
            false => "it lies outside of its picture",
        })
    }
}

impl fmt::Display for Boxes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xywh => "[left, top, width, height] in pixels",
            Self::Corners => "[left, top, right, bottom] in pixels",
            Self::Fractions => "[left, top, right, bottom] in fractions of the sides",
            Self::FractionsXywh => "[left, top, width, height] in fractions of the sides",
        })
    }
}

/// A question as its file has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Annotation {
    pub(super) img_filename: String,
    /// As written; `None`: what is asked for is not on the screen.
    pub(super) bbox: Option<[f64; 4]>,
    pub(super) instruction: String,
    pub(super) data_type: String,
    pub(super) data_source: String,
    pub(super) role: String,
    pub(super) language: String,
}

/// A file of questions.
#[derive(Debug)]
pub(super) struct Annotations {
    pub(super) all: Vec<Annotation>,
    /// The convention of the benchmark that its fields are known from, with its name.
    published: Option<(Boxes, &'static str)>,
}

/// A list of objects, whose errors say which of them is wrong.
struct List(Vec<Map<String, Value>>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;

        impl<'de> Visitor<'de> for Items {
            type Value = List;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of objects")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<List, A::Error> {
                let mut all = Vec::new();
                loop {
                    let next = items.next_element();
                    let next = next.map_err(|error| de::Error::custom(format!("annotation {}: {error}", all.len())));
                    let Some(object) = next? else { return Ok(List(all)) };
                    all.push(object);
                }
            }
        }

        deserializer.deserialize_seq(Items)
    }
}

/// What a parser says; of Python's numbers that JSON does not have, that they are none.
fn not_json(error: &serde_json::Error, bytes: &[u8]) -> String {
    let line = bytes.split(|&byte| byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let at = line.get(error.column().saturating_sub(1)..).unwrap_or_default();
    let at = at.strip_prefix(b"-").unwrap_or(at);
    let is_none = at.starts_with(b"NaN") || at.starts_with(b"Infinity") || at.starts_with(b"I");
    match is_none {
        true => format!("{error} (NaN and Infinity are no numbers of a box)"),
        false => error.to_string(),
    }
}

const FILE_NAMES: [&str; 5] = ["img_filename", "file_name", "image_path", "image", "img_path"];

impl Annotations {
    /// Reads a list of objects, or an object on each line.
    pub(super) fn read(path: &Path) -> Outcome<Self> {
        let bytes = read_bounded(path, LARGEST_FILE).map_err(|error| Failure::file(path, error))?;
        Self::parse(&bytes).map_err(|reason| Failure::file(path, reason))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.starts_with(b"PAR1") {
            return Err("a Parquet file: write its rows as JSON lines".to_owned());
        }
        let bytes = json_text(bytes)?;
        let objects = match bytes.trim_ascii_start() {
            [b'[', ..] => {
                serde_json::from_slice::<List>(bytes).map(|list| list.0).map_err(|error| not_json(&error, bytes))?
            }
            [b'{', ..] => (0..)
                .zip(serde_json::Deserializer::from_slice(bytes).into_iter())
                .map(|(index, object): (usize, _)| {
                    object.map_err(|error| {
                        let reason = not_json(&error, bytes);
                        format!(
                            "annotation {index}: {reason} (a list of objects is expected, or an object on each line)"
                        )
                    })
                })
                .collect::<Result<Vec<_>, _>>()?,
            _ => return Err("neither a list of objects nor an object on each line".to_owned()),
        };
        if objects.is_empty() {
            return Err("no annotations".to_owned());
        }
        let named = |index: usize| move |reason: String| format!("annotation {index}: {reason}");
        let all = (0..).zip(&objects).map(|(index, object)| annotation(object).map_err(named(index)));
        let all: Vec<Annotation> = all.collect::<Result<_, _>>()?;
        let has = |names: &[&str]| objects.iter().all(|object| names.iter().all(|name| object.contains_key(*name)));
        let published = if has(&["img_size", "ui_type"]) || has(&["application", "platform"]) {
            Some((Boxes::Corners, "ScreenSpot-Pro"))
        } else if has(&["img_filename", "data_type", "data_source"]) {
            Some((Boxes::Xywh, "ScreenSpot"))
        } else {
            None
        };
        Ok(Self { all, published })
    }

    /// How the boxes are written, for pictures of these sizes by name.
    pub(super) fn convention(&self, asked: Option<Boxes>, sizes: &HashMap<&str, Size>) -> Result<Boxes, String> {
        let boxes: Vec<_> = (0..)
            .zip(&self.all)
            .filter_map(|(index, it)| Some((index, it.bbox?, sizes.get(it.img_filename.as_str()).copied())))
            .collect();
        let contradiction = |candidate: Boxes| {
            boxes.iter().find_map(|&(index, numbers, size): &(usize, _, _)| {
                let reason = candidate.contradiction(numbers, size)?;
                Some(format!("annotation {index}: bbox {numbers:?} is not {candidate}: {reason}"))
            })
        };
        if let Some(asked) = asked {
            return contradiction(asked).map_or(Ok(asked), |reason| Err(format!("--boxes {}: {reason}", asked.name())));
        }
        let small = |numbers: &[f64; 4]| numbers.iter().all(|&it| it <= 1.0);
        let fractions = !boxes.is_empty() && boxes.iter().all(|(_, numbers, _)| small(numbers));
        // A target of a pixel or less in each picture is none.
        let candidates = Boxes::ALL.into_iter().filter(|it| boxes.is_empty() || it.are_fractions() == fractions);
        let mut left = Vec::new();
        let mut reasons = Vec::new();
        for candidate in candidates {
            match contradiction(candidate) {
                None => left.push(candidate),
                Some(reason) => reasons.push(reason),
            }
        }
        let Some(&first) = left.first() else {
            return Err(format!("no convention fits all boxes (name one with --boxes):\n  {}", reasons.join("\n  ")));
        };
        let alike = |other: &Boxes| boxes.iter().all(|(_, it, _)| first.corners(*it) == other.corners(*it));
        if left.iter().all(alike) {
            return Ok(first);
        }
        match self.published {
            Some((boxes, _)) if left.contains(&boxes) => Ok(boxes),
            _ => {
                let names: Vec<&str> = left.iter().map(|it| it.name()).collect();
                let list: Vec<String> = left.iter().map(ToString::to_string).collect();
                let names = names.join(" or --boxes ");
                Err(format!("the boxes could be {}: give --boxes {names}", list.join(" or ")))
            }
        }
    }
}

fn annotation(object: &Map<String, Value>) -> Result<Annotation, String> {
    if object.contains_key("element") && !object.contains_key("instruction") {
        return Err("several targets in `element` (ShowUI's layout): write an object for each".to_owned());
    }
    let text = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("{name} is {other}, expected a text")),
    };
    let needed = |names: &[&'static str]| {
        let Some(name) = names.iter().find(|name| object.contains_key(**name)) else {
            let has: Vec<&str> = object.keys().map(String::as_str).collect();
            return Err(format!("no {}; it has {}", names.join(" or "), has.join(", ")));
        };
        text(name).map(|text| (*name, text))
    };
    let (name, img_filename) = needed(&FILE_NAMES)?;
    let path = Path::new(&img_filename);
    if img_filename.is_empty() || path.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
        return Err(format!("{name} {img_filename:?} is no file inside the directory of --images"));
    }
    let (_, instruction) = needed(&["instruction"])?;
    if instruction.trim().is_empty() {
        return Err("instruction is empty".to_owned());
    }
    let bbox = match object.get("bbox") {
        Some(Value::Null) => None,
        Some(value) => Some(numbers(value)?),
        // Without a word of it, a question for something that is there would count as one for what is not.
        None => {
            let has: Vec<&str> = object.keys().map(String::as_str).collect();
            let null = "null if what is asked for is not on the screen";
            return Err(format!("no bbox (four numbers; {null}); it has {}", has.join(", ")));
        }
    };
    let [data_type, data_source, role, language] = ["data_type", "data_source", "role", "language"].map(text);
    let (data_type, data_source) = (data_type?, data_source?);
    Ok(Annotation { img_filename, bbox, instruction, data_type, data_source, role: role?, language: language? })
}

fn numbers(value: &Value) -> Result<[f64; 4], String> {
    /// More than any picture's side.
    const LARGEST: f64 = 1e9;
    let list = value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
    let numbers = list.and_then(|list| <[f64; 4]>::try_from(list).ok());
    let numbers = numbers.ok_or_else(|| format!("bbox is {value}, expected four numbers or null"))?;
    match numbers.iter().all(|it| it.is_finite() && it.abs() < LARGEST) {
        true => Ok(numbers),
        false => Err(format!("bbox is {value}, which lies outside of any picture")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SIZE: Size = Size::new(1000, 500);

    fn read(value: &Value) -> Result<Annotations, String> {
        Annotations::parse(value.to_string().as_bytes())
    }

    fn question(bbox: Value) -> Value {
        json!({ "img_filename": "a.png", "instruction": "click", "bbox": bbox })
    }

    fn convention(bboxes: &[Value]) -> Result<Boxes, String> {
        let all: Vec<Value> = bboxes.iter().cloned().map(question).collect();
        read(&json!(all)).unwrap().convention(None, &HashMap::from([("a.png", SIZE)]))
    }

    #[test]
    fn conventions_are_read_from_what_contradicts_the_others() {
        // A far corner cannot be a size, and a narrow box at the right cannot have its right edge before its left.
        assert_eq!(convention(&[json!([800, 300, 900, 350])]), Ok(Boxes::Corners));
        assert_eq!(convention(&[json!([800, 300, 90, 35])]), Ok(Boxes::Xywh));
        assert_eq!(convention(&[json!([0.8, 0.3, 0.9, 0.35])]), Ok(Boxes::Fractions));
        assert_eq!(convention(&[json!([0.8, 0.3, 0.1, 0.1])]), Ok(Boxes::FractionsXywh));
        // One box decides for all.
        assert_eq!(convention(&[json!([10, 10, 100, 50]), json!([800, 300, 900, 350])]), Ok(Boxes::Corners));
        // A box a little beyond the edge is no contradiction.
        assert_eq!(convention(&[json!([900, 300, 105, 35])]), Ok(Boxes::Xywh));
        // Both say the same, or there is nothing to say.
        assert_eq!(convention(&[json!([0, 0, 100, 50])]), Ok(Boxes::Xywh));
        assert_eq!(convention(&[Value::Null]), Ok(Boxes::Xywh));
    }

    #[test]
    fn what_could_be_either_is_refused() {
        let error = convention(&[json!([10, 10, 100, 50])]).unwrap_err();
        assert!(error.contains("--boxes xywh or --boxes corners"), "{error}");
        let error = convention(&[json!([0.1, 0.1, 0.3, 0.3])]).unwrap_err();
        assert!(error.contains("fractions or --boxes fractions-xywh"), "{error}");
        let error = convention(&[json!([800, 300, 900, 350]), json!([800, 300, 90, 35])]).unwrap_err();
        assert!(error.contains("annotation 0") && error.contains("annotation 1"), "{error}");
        assert!(convention(&[json!([-1, -1, -1, -1])]).is_err());
    }

    #[test]
    fn known_benchmarks_decide_where_both_fit() {
        let with = |more: Value| {
            let mut question = question(json!([10, 10, 100, 50]));
            question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            read(&json!([question])).unwrap().convention(None, &HashMap::from([("a.png", SIZE)]))
        };
        assert_eq!(with(json!({ "data_type": "text", "data_source": "shop" })), Ok(Boxes::Xywh));
        assert_eq!(with(json!({ "img_size": [1000, 500], "ui_type": "icon" })), Ok(Boxes::Corners));
        assert!(with(json!({})).is_err());
    }

    #[test]
    fn a_convention_that_is_asked_for_must_fit() {
        let annotations = read(&json!([question(json!([800, 300, 900, 350]))])).unwrap();
        let sizes = HashMap::from([("a.png", SIZE)]);
        assert_eq!(annotations.convention(Some(Boxes::Corners), &sizes), Ok(Boxes::Corners));
        for wrong in [Boxes::Xywh, Boxes::Fractions] {
            let error = annotations.convention(Some(wrong), &sizes).unwrap_err();
            assert!(error.contains(wrong.name()) && error.contains("annotation 0"), "{error}");
        }
    }

    #[test]
    fn boxes_in_pixels() {
        let expected = PixelBox::new(100.0, 50.0, 300.0, 150.0);
        for (boxes, numbers) in [
            (Boxes::Xywh, [100.0, 50.0, 200.0, 100.0]),
            (Boxes::Corners, [100.0, 50.0, 300.0, 150.0]),
            (Boxes::Fractions, [0.1, 0.1, 0.3, 0.3]),
            (Boxes::FractionsXywh, [0.1, 0.1, 0.2, 0.2]),
        ] {
            let got = boxes.to_pixels(numbers, SIZE);
            let near = |a: f32, b: f32| (a - b).abs() < 1e-3;
            assert!(near(got.left(), expected.left()) && near(got.right(), expected.right()), "{boxes:?} {got:?}");
            assert!(near(got.top(), expected.top()) && near(got.bottom(), expected.bottom()), "{boxes:?} {got:?}");
        }
    }

    #[test]
    fn lists_and_lines_are_the_same() {
        let lines = format!("\u{feff}{}\n\n{}\n", question(json!([1, 2, 3, 4])), question(Value::Null));
        let list = json!([question(json!([1, 2, 3, 4])), question(Value::Null)]);
        assert_eq!(Annotations::parse(lines.as_bytes()).unwrap().all, read(&list).unwrap().all);
    }

    #[test]
    fn what_is_missing_is_named() {
        let without = |name: &str| {
            let mut question = question(json!([1, 2, 3, 4]));
            question.as_object_mut().unwrap().remove(name);
            read(&json!([question])).unwrap_err()
        };
        for name in ["img_filename", "bbox", "instruction"] {
            assert!(without(name).contains(name) && without(name).contains("annotation 0"), "{}", without(name));
        }
        for (bytes, named) in [
            ("", "empty"),
            ("[]", "no annotations"),
            ("PAR1\u{15}", "Parquet"),
            ("img_filename,bbox\n", "neither"),
            ("<!DOCTYPE html><html></html>", "web page (HTML)"),
            ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
            ("{\"img_filename\": ", "object on each line"),
            ("[3]", "invalid type"),
        ] {
            let error = Annotations::parse(bytes.as_bytes()).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
        for bbox in [json!([1, 2, 3]), json!([1, 2, 3, "4"]), json!("1,2,3,4"), json!([1, 2, 3, 1e300])] {
            let error = read(&json!([question(bbox.clone())])).unwrap_err();
            assert!(error.contains("bbox"), "{error}");
        }
        let good = question(json!([1, 2, 3, 4]));
        let bad = |bbox: &str| question(json!("HERE")).to_string().replace("\"HERE\"", bbox);
        for (bbox, reason) in [
            ("[1, 2, 3, 1e300]", "outside of any picture"),
            ("[-1e12, 2, 3, 4]", "outside of any picture"),
            ("[1, 2, NaN, 4]", "NaN and Infinity are no numbers"),
            ("[1, 2, 3, -Infinity]", "NaN and Infinity are no numbers"),
            ("[1, 2, 3, 1e999]", "number out of range"),
            ("[1, 2, 3", "annotation 1"),
        ] {
            for text in [format!("[{good},\n {}]", bad(bbox)), format!("{good}\n{}\n", bad(bbox))] {
                let error = Annotations::parse(text.as_bytes()).unwrap_err();
                assert!(error.contains("annotation 1: ") && error.contains(reason), "{error}");
            }
        }
        for name in ["../a.png", "/a.png", "", "a/../b.png"] {
            let error = read(&json!([{ "img_filename": name, "instruction": "x", "bbox": null }])).unwrap_err();
            assert!(error.contains("img_filename"), "{error}");
        }
        let error = read(&json!([{ "img_url": "a.png", "element": [] }])).unwrap_err();
        assert!(error.contains("element"), "{error}");
    }
}
