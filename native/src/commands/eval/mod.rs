//! `fovea eval`: accuracy on screenshots with known targets, in ScreenSpot's format.

mod groups;
mod kind;
mod page;

use std::{
    collections::HashMap,
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use fovea_models::{
    Session,
    grounding::{PixelBox, PixelPoint},
    image::Picture,
};
use serde::{Deserialize, Serialize};

use crate::{
    Common,
    directory::read_bounded,
    failure::{Failure, Outcome},
    model::{self, Choice, Quantisation},
    output::Output,
    picture, progress,
    prompt::json,
};

use self::{
    groups::{Groups, Tally, keys},
    kind::Kind,
    page::Page,
};
use super::ground::{AnswerArguments, answer};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A list of {img_filename, bbox: [x, y, width, height], instruction, data_type, data_source, role, language}. The
    /// last four are for grouping; a bbox of null says that the target is not on the screen.
    #[arg(value_name = "ANNOTATIONS.json")]
    annotations: PathBuf,
    /// Directory of the screenshots.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Where to write each prediction as a line of JSON, as it comes.
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    /// Where to write a page that shows every answer on its screenshot, the wrong ones by kind.
    #[arg(long, value_name = "PAGE.html")]
    report: Option<PathBuf>,
    /// Ask only so many questions, spread evenly.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Predictions of another method, to print beside: lines of {"index": N, "point": [x, y] or null}.
    #[arg(long, value_name = "FILE")]
    ocr: Option<PathBuf>,
    #[command(flatten)]
    answer: AnswerArguments,
}

/// A question with its target.
#[derive(Clone, Deserialize, Serialize)]
struct Annotation {
    img_filename: String,
    /// Left, top, width, height in pixels; `None`: the target is not there.
    bbox: Option<[f32; 4]>,
    instruction: String,
    #[serde(default)]
    data_type: String,
    #[serde(default)]
    data_source: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    role: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    language: String,
}

impl Annotation {
    fn target(&self) -> Option<PixelBox> {
        self.bbox.map(|[x, y, width, height]| PixelBox::new(x, y, x + width, y + height))
    }
}

/// Whether the point lies in the target, or is missing as the target is.
fn is_right(target: Option<PixelBox>, point: Option<PixelPoint>) -> bool {
    match (target, point) {
        (Some(target), Some(point)) => target.contains(point),
        (None, None) => true,
        _ => false,
    }
}

/// An answer to a question; a line of the predictions file.
#[derive(Serialize)]
struct Prediction<'a> {
    index: usize,
    quant: &'static str,
    #[serde(flatten)]
    annotation: &'a Annotation,
    point: Option<[f32; 2]>,
    r#box: Option<[f32; 4]>,
    answer: String,
    correct: bool,
    kind: &'static str,
    seconds: f64,
}

pub(crate) fn run(arguments: &Arguments, common: &Common, output: &mut Output) -> Outcome {
    let all: Vec<Annotation> = json(&arguments.annotations)?;
    check(&arguments.annotations, &all)?;
    let ocr = arguments.ocr.as_deref().map(read_points).transpose()?;
    let chosen = spread(all.len(), arguments.limit);
    let quants = match common.model.quant {
        Some(Choice::All) => Quantisation::ALL.to_vec(),
        Some(Choice::One(quant)) => vec![quant],
        None => vec![Quantisation::Q4],
    };
    let mut predictions = arguments.predictions.as_deref().map(create).transpose()?;

    let directory = common.model.directory()?;
    let gpu = common.gpu.open()?;
    let mut page = arguments.report.as_ref().map(|_| Page::new(&format!("{}", gpu.name())));
    let mut groups = Groups::new();
    let bar = progress::steps(chosen.len() * quants.len());
    let started = Instant::now();
    for (round, &quant) in quants.iter().enumerate() {
        let system = model::load(&directory, &gpu, quant)?;
        let mut session = Session::new(&system)?;
        let mut hits = Tally::default();
        let mut screen: Option<(&str, Picture)> = None;
        for &index in &chosen {
            let annotation = &all[index];
            let path = arguments.images.join(&annotation.img_filename);
            let picture = match screen.take() {
                Some((name, picture)) if name == annotation.img_filename => picture,
                _ => picture::open(&path)?,
            };
            let size = picture.size();
            let start = Instant::now();
            let answer = answer(&mut session, &path, &picture, &annotation.instruction, arguments.answer)?;
            let action = answer.action.ok();
            let point = action.as_ref().and_then(|action| action.click_point());
            let region = action.as_ref().and_then(|action| action.target()).map(|target| target.region);
            let target = annotation.target();
            let others = all.iter().filter(|other| other.img_filename == annotation.img_filename);
            let others: Vec<PixelBox> =
                others.filter_map(Annotation::target).filter(|it| Some(*it) != target).collect();
            let kind = Kind::of(target, &others, point);
            let correct = kind == Kind::Right;
            hits.add(correct);
            let prediction = Prediction {
                index,
                quant: quant.name(),
                annotation,
                point: point.map(|point| [point.x, point.y]),
                r#box: region.map(|it| [it.left(), it.top(), it.right(), it.bottom()]),
                answer: answer.text,
                correct,
                kind: kind.name(),
                seconds: start.elapsed().as_secs_f64(),
            };
            if let Some((path, file)) = &mut predictions {
                let line = serde_json::to_string(&prediction).map_err(|error| Failure::file(path, error))?;
                writeln!(file, "{line}").and_then(|()| file.flush()).map_err(|error| Failure::file(path, error))?;
            }
            if let Some(page) = &mut page {
                page.add(&picture, &prediction, kind);
            }
            for key in keys(annotation, size) {
                let group = groups.entry(key).or_default();
                *group.kinds.entry(kind).or_default() += 1;
                group.model.entry(quant.name()).or_default().add(correct);
                if round == 0 {
                    group.baselines(target, size, ocr.as_ref().and_then(|points| points.get(&index).copied()));
                }
            }
            screen = Some((&annotation.img_filename, picture));
            bar.inc(1);
            bar.set_message(format!("{} {}/{}", quant.name(), hits.hits, hits.count));
        }
    }
    bar.finish_and_clear();
    if let (Some(page), Some(path)) = (page, &arguments.report) {
        page.write(path)?;
    }
    let seconds = started.elapsed().as_secs_f64() / (chosen.len() * quants.len()).max(1) as f64;
    groups::report(&groups, ocr.is_some(), seconds, output)
}

fn create(path: &Path) -> Outcome<(&Path, BufWriter<File>)> {
    let file = File::create(path).map_err(|error| Failure::file(path, error))?;
    Ok((path, BufWriter::new(file)))
}

/// A question that cannot be counted is found before any is asked.
fn check(path: &Path, annotations: &[Annotation]) -> Outcome {
    if annotations.is_empty() {
        return Err(Failure::file(path, "no annotations"));
    }
    for (index, annotation) in annotations.iter().enumerate() {
        let wrong = |reason: &str| Err(Failure::file(path, format_args!("annotation {index}: {reason}")));
        let is_box = |[x, y, width, height]: [f32; 4]| {
            [x, y, width, height].iter().all(|it| it.is_finite()) && width >= 0.0 && height >= 0.0
        };
        if !annotation.bbox.is_none_or(is_box) {
            return wrong("bbox must be [x, y, width, height]");
        }
        if annotation.instruction.trim().is_empty() {
            return wrong("instruction is empty");
        }
        if Path::new(&annotation.img_filename).components().any(|part| !matches!(part, std::path::Component::Normal(_)))
        {
            return wrong("img_filename leaves its directory");
        }
    }
    Ok(())
}

/// Indices of at most `limit` questions, evenly spread.
fn spread(count: usize, limit: Option<usize>) -> Vec<usize> {
    let limit = limit.unwrap_or(count).min(count);
    (0..limit).map(|i| i * count / limit.max(1)).collect()
}

/// Answers by the annotation's index, from lines of JSON; questions without a line were not asked.
fn read_points(path: &Path) -> Outcome<HashMap<usize, Option<PixelPoint>>> {
    #[derive(Deserialize)]
    struct Line {
        index: usize,
        point: Option<[f32; 2]>,
    }
    let bytes = read_bounded(path, 256 << 20).map_err(|error| Failure::file(path, error))?;
    let mut points = HashMap::new();
    for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let wrong = |error| Failure::file(path, format_args!("line {}: {error}", number + 1));
        let line: Line = serde_json::from_slice(line).map_err(wrong)?;
        points.insert(line.index, line.point.map(|[x, y]| PixelPoint { x, y }));
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_without_a_line_were_not_asked() {
        let file = std::env::temp_dir().join(format!("fovea-points-{}.jsonl", std::process::id()));
        std::fs::write(&file, "{\"index\": 0, \"point\": [1, 2]}\n\n{\"index\": 2, \"point\": null}\n").unwrap();
        let points = read_points(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!((points[&0], points[&2], points.get(&1)), (Some(PixelPoint { x: 1.0, y: 2.0 }), None, None));
    }

    #[test]
    fn questions_are_spread() {
        assert_eq!(spread(10, Some(3)), [0, 3, 6]);
        assert_eq!(spread(2, Some(5)), [0, 1]);
        assert_eq!(spread(0, None), [0usize; 0]);
    }
}
