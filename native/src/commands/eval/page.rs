//! A page that shows every answer on its screenshot, for a person to look through.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    io::Cursor,
};

use fovea_models::image::Picture;
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};

use super::kind::Kind;
use crate::json::Prediction;

/// Quality of the screenshots: letters stay readable.
const JPEG_QUALITY: u8 = 70;

/// One file without anything outside it: screenshots are classes of its style sheet, so that each is there once.
pub(super) struct Page {
    adapter: String,
    /// A style rule for each screenshot, and the class by the file's name.
    screens: String,
    classes: HashMap<String, usize>,
    /// Figures by kind.
    figures: BTreeMap<Kind, Vec<String>>,
}

impl Page {
    pub(super) fn new(adapter: &str) -> Self {
        Self { adapter: adapter.to_owned(), screens: String::new(), classes: HashMap::new(), figures: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, picture: &Picture, prediction: &Prediction<'_>, kind: Kind) {
        let size = picture.size();
        let next = self.classes.len();
        let name = prediction.img_filename;
        let class = *self.classes.entry(name.to_owned()).or_insert_with(|| {
            let (width, height) = (size.width, size.height);
            let _ = writeln!(
                self.screens,
                ".s{next} {{ aspect-ratio: {width} / {height}; background-image: url({}); }}",
                data_url(picture)
            );
            next
        });
        let share = |value: f32, of: u32| 100.0 * value / of.max(1) as f32;
        let frame = |class: &str, [left, top, right, bottom]: [f32; 4]| {
            format!(
                r#"<i class="{class}" style="left:{:.2}%;top:{:.2}%;width:{:.2}%;height:{:.2}%"></i>"#,
                share(left, size.width),
                share(top, size.height),
                share(right - left, size.width),
                share(bottom - top, size.height),
            )
        };
        let marks = [prediction.target.map(|it| frame("target", it)), prediction.r#box.map(|it| frame("answer", it))];
        let point = prediction.point.map(|[x, y]| frame("point", [x, y, x, y]));
        let marks: String = marks.into_iter().chain([point]).flatten().collect();
        let figure = format!(
            r#"<figure><div tabindex="0" class="screen s{class}">{marks}</div><figcaption><b>{}</b> {} · {} · {}</figcaption></figure>"#,
            escape(prediction.instruction),
            escape(prediction.answer.trim()),
            escape(name),
            prediction.quant,
        );
        self.figures.entry(kind).or_default().push(figure);
    }

    pub(super) fn text(&self) -> String {
        let count = |kind: Kind| self.figures.get(&kind).map_or(0, Vec::len);
        let answers: usize = Kind::ALL.into_iter().map(count).sum();
        let kinds = Kind::ALL.into_iter().filter(|&kind| count(kind) > 0);
        let mut text = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width\">\n<title>{answers} answers</title>\n<style>\n{STYLE}{}</style>\n\
             <h1>{answers} answers</h1>\n<p>On {}. Green: the target. Red: the answer, and where it clicks. A click on a \
             screenshot enlarges it.</p>\n<ul>\n",
            self.screens,
            escape(&self.adapter),
        );
        for kind in kinds.clone() {
            let share = 100.0 * count(kind) as f64 / answers.max(1) as f64;
            let _ = writeln!(text, "<li><a href=\"#{kind:?}\">{}</a>: {} ({share:.1} %)", kind.name(), count(kind));
        }
        text += "</ul>\n";
        for kind in kinds {
            let _ = writeln!(text, "<h2 id=\"{kind:?}\">{}</h2>\n<section>", kind.name());
            for figure in self.figures.get(&kind).into_iter().flatten() {
                text += figure;
                text.push('\n');
            }
            text += "</section>\n";
        }
        text
    }
}

const STYLE: &str = "\
body { margin: 2rem; font: 15px/1.4 system-ui, sans-serif; color-scheme: light dark; }
section { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: 1.5rem; }
figure { margin: 0; }
figcaption { margin-top: 0.4rem; overflow-wrap: anywhere; }
.screen { position: relative; background-size: cover; outline: 1px solid #8888; overflow: hidden; }
.screen:focus { position: fixed; z-index: 1; inset: 2vh auto auto 2vw; width: min(96vw, 120vh); box-shadow: 0 0 0 99rem #000b; }
i { position: absolute; }
.target { outline: 3px solid #12a150; }
.answer { outline: 1px solid #e61e3c; }
.point { outline: 3px solid #e61e3c; border-radius: 50%; }
";

/// The picture as JPEG, in the page's own text. A picture that cannot be packed is left out: it is decoration.
fn data_url(picture: &Picture) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let size = picture.size();
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
    match encoder.encode(picture.rgb(), size.width, size.height, ExtendedColorType::Rgb8) {
        Ok(()) => format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes.into_inner())),
        Err(_) => String::new(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
