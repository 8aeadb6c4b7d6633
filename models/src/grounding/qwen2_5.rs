//! Qwen2.5-VL's boxes: JSON, often fenced, with `bbox_2d` or `point_2d` in pixels of the resized picture.

use serde_json::{Deserializer, Value};

use super::{GroundingError, Labelled, ResizedBox, cursor::Cursor};

/// Keys that hold coordinates, those of the model's documentation first.
const KEYS: [&str; 4] = ["bbox_2d", "point_2d", "bbox", "point"];

/// All boxes and points of an answer: ```` ```json [{"bbox_2d": [x0, y0, x1, y1], "label": "..."}] ``` ````, a single
/// object, bare lists of coordinates, with or without a fence and words around it.
///
/// Of a list that breaks off, the objects before the break are taken.
///
/// # Errors
/// [`GroundingError::NoBox`] if there is no JSON or no object in it, [`GroundingError::Malformed`] if it is damaged or
/// an object has no box.
pub fn parse_qwen2_5_boxes(text: &str) -> Result<Vec<Labelled<ResizedBox>>, GroundingError> {
    let mut cursor = Cursor::new(text);
    if let Some(fence) = text.find("```") {
        cursor.skip(fence + 3);
    }
    let none = || GroundingError::NoBox { text: text.to_owned() };
    cursor.skip(cursor.rest().find(['[', '{']).ok_or_else(none)?);
    let json = cursor.rest().split("```").next().unwrap_or_default();

    let values = match complete(json) {
        Some(values) => values,
        // Python's spelling.
        None if !json.contains('"') => complete(&json.replace('\'', "\"")).unwrap_or_default(),
        None => Vec::new(),
    };
    if values.is_empty() {
        return Err(cursor.malformed("JSON"));
    }
    let mut boxes = Vec::new();
    for value in &values {
        collect(value, &mut boxes).map_err(|expected| cursor.malformed(expected))?;
    }
    if boxes.is_empty() { Err(none()) } else { Ok(boxes) }
}

/// The first value of `json`, or the whole elements of a list that breaks off; `None` if damaged.
fn complete(json: &str) -> Option<Vec<Value>> {
    let mut values = Deserializer::from_str(json).into_iter::<Value>();
    match values.next()? {
        Ok(value) => Some(vec![value]),
        Err(error) if error.is_eof() => {
            let mut rest = json.strip_prefix('[')?;
            let mut elements = Vec::new();
            loop {
                let mut values = Deserializer::from_str(rest).into_iter::<Value>();
                let Some(Ok(value)) = values.next() else { break };
                let end = values.byte_offset();
                elements.push(value);
                match rest.get(end..).and_then(|it| it.trim_start().strip_prefix(',')) {
                    Some(after) => rest = after,
                    None => break,
                }
            }
            // Numbers of a bare list that breaks off are no boxes.
            elements.retain(|it| it.is_object() || it.is_array());
            (!elements.is_empty()).then_some(elements)
        }
        Err(_) => None,
    }
}

fn collect(value: &Value, boxes: &mut Vec<Labelled<ResizedBox>>) -> Result<(), &'static str> {
    match value {
        Value::Array(items) if items.iter().any(Value::is_number) => {
            boxes.push(Labelled { region: region(value)?, label: None });
        }
        Value::Array(items) => {
            for item in items {
                collect(item, boxes)?;
            }
        }
        Value::Object(object) => {
            let coordinates =
                KEYS.iter().find_map(|&key| object.get(key)).ok_or("an object with `bbox_2d` or `point_2d`")?;
            let label = object.get("label").and_then(Value::as_str).map(str::to_owned);
            boxes.push(Labelled { region: region(coordinates)?, label });
        }
        _ => return Err("an object with `bbox_2d` or `point_2d`"),
    }
    Ok(())
}

fn region(value: &Value) -> Result<ResizedBox, &'static str> {
    const EXPECTED: &str = "two or four coordinates";
    let items = value.as_array().ok_or(EXPECTED)?;
    let numbers: Option<Vec<f32>> =
        items.iter().map(|it| it.as_f64().map(|it| it as f32).filter(|it| it.is_finite())).collect();
    match numbers.as_deref() {
        Some(&[x, y]) => Ok(ResizedBox::new(x, y, x, y)),
        Some(&[x0, y0, x1, y1]) => Ok(ResizedBox::new(x0, y0, x1, y1)),
        _ => Err(EXPECTED),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image::Size;

    fn read(text: &str) -> Vec<([f32; 4], Option<String>)> {
        parse_qwen2_5_boxes(text).unwrap().into_iter().map(|it| (it.region.corners(), it.label)).collect()
    }

    #[test]
    fn reads_what_the_model_prints() {
        let fenced = "Sure:\n```json\n[\n\t{\"bbox_2d\": [10, 20, 30, 40], \"label\": \"Save\"},\n\t{\"point_2d\": [5, 6]}\n]\n```\nDone [1].";
        assert_eq!(read(fenced), [([10.0, 20.0, 30.0, 40.0], Some("Save".into())), ([5.0, 6.0, 5.0, 6.0], None)]);
        let cut = "```json\n[{\"bbox_2d\": [10, 20, 30, 40], \"label\": \"a\"}, {\"bbox_2d\": [1, 2";
        assert_eq!(read(cut), [([10.0, 20.0, 30.0, 40.0], Some("a".into()))]);
        assert_eq!(read("{\"bbox_2d\": [30.5, 40, 10, 20]}"), [([10.0, 20.0, 30.5, 40.0], None)]);
        assert_eq!(read("[{'bbox_2d': [1, 2, 3, 4]}]"), [([1.0, 2.0, 3.0, 4.0], None)]);
        assert_eq!(read("[1, 2, 3, 4]"), [([1.0, 2.0, 3.0, 4.0], None)]);
        assert_eq!(read("[[1, 2, 3, 4], [5, 6]]<|im_end|>").len(), 2);
    }

    /// The middle of a 1920x1080 screen, which the tower saw as 1932x1092.
    #[test]
    fn a_known_target() {
        let region = parse_qwen2_5_boxes("[{\"bbox_2d\": [483, 273, 1449, 819]}]").unwrap()[0].region;
        let centre = region.to_pixels(Size::new(1920, 1080), Size::new(1932, 1092)).centre();
        assert_eq!((centre.x, centre.y), (960.0, 540.0));
    }

    #[test]
    fn errors_carry_the_text() {
        for text in ["", "nothing here", "[]", "```json\n```"] {
            let error = parse_qwen2_5_boxes(text).unwrap_err();
            assert_eq!(error, GroundingError::NoBox { text: text.to_owned() });
        }
        for text in [
            "[{\"label\": \"a\"}]",
            "{\"bbox_2d\": [1, 2, 3]}",
            "{\"bbox_2d\": \"all\"}",
            "[1, 2, 3",
            "[x]",
            "{\"bbox_2d\": [1, 2e300]}",
        ] {
            let error = parse_qwen2_5_boxes(text).unwrap_err();
            assert!(matches!(error, GroundingError::Malformed { .. }), "{text}: {error}");
            assert_eq!(error.text(), text);
        }
    }

    proptest! {
        #[test]
        fn printed_boxes_come_back(c in prop::array::uniform4(0u16..4000), label in "\\PC{0,12}") {
            let answer = serde_json::json!([{ "bbox_2d": c, "label": label }]);
            let boxes = parse_qwen2_5_boxes(&format!("```json\n{answer}\n```"));
            // A label may hold a fence, which ends the answer early.
            if !label.contains("```") {
                let [x0, y0, x1, y1] = c.map(f32::from);
                prop_assert_eq!(boxes, Ok(vec![Labelled { region: ResizedBox::new(x0, y0, x1, y1), label: Some(label) }]));
            }
        }

        #[test]
        fn any_text_is_handled(text in "(\\[|\\]|\\{|\\}|:|,|\"bbox_2d\"|```|[0-9]{1,4}|\\PC){0,40}") {
            let _ = parse_qwen2_5_boxes(&text);
        }
    }
}
