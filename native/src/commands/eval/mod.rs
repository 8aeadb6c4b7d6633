//! `fovea eval`: accuracy on screenshots with known targets, in ScreenSpot's format.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use fovea_models::{
    Session,
    grounding::{PixelBox, PixelPoint, read_answer},
    image::{Picture, Size},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Common,
    directory::read_bounded,
    failure::{Failure, Outcome},
    model::{self, Choice, Quantisation},
    output::Output,
    picture, progress,
    prompt::json,
};

use super::ground::{AnswerArguments, answer};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A list of {img_filename, bbox: [x, y, width, height], instruction, data_type, data_source}.
    #[arg(value_name = "ANNOTATIONS.json")]
    annotations: PathBuf,
    /// Directory of the screenshots.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Where to write each prediction as a line of JSON, as it comes.
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
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
    /// Left, top, width, height in pixels.
    bbox: [f32; 4],
    instruction: String,
    #[serde(default)]
    data_type: String,
    #[serde(default)]
    data_source: String,
}

impl Annotation {
    fn target(&self) -> PixelBox {
        let [x, y, width, height] = self.bbox;
        PixelBox::new(x, y, x + width, y + height)
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
    seconds: f64,
}

/// Hits among questions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tally {
    hits: usize,
    count: usize,
}

impl Tally {
    fn add(&mut self, hit: bool) {
        self.hits += usize::from(hit);
        self.count += 1;
    }

    fn share(self) -> f64 {
        self.hits as f64 / self.count.max(1) as f64
    }

    /// Wilson's score interval at 95 %: sound for small counts, too.
    fn interval(self) -> (f64, f64) {
        const Z: f64 = 1.959_964;
        let n = self.count as f64;
        if self.count == 0 {
            return (0.0, 1.0);
        }
        let p = self.share();
        let middle = p + Z * Z / (2.0 * n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        (((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0))
    }
}

/// What is known of a group of questions: all, one type, one source.
#[derive(Clone, Default)]
struct Group {
    model: BTreeMap<&'static str, Tally>,
    ocr: Tally,
    centre: Tally,
    /// Sum of the chances of a random point.
    random: f64,
    count: usize,
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
    let mut groups: BTreeMap<(usize, String), Group> = BTreeMap::new();
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
            let action = read_answer(system.blueprint().grammar, &answer.text, size, answer.resized).ok();
            let point = action.as_ref().and_then(|action| action.click_point());
            let region = action.as_ref().and_then(|action| action.target()).map(|target| target.region);
            let target = annotation.target();
            let correct = point.is_some_and(|point| target.contains(point));
            hits.add(correct);
            let prediction = Prediction {
                index,
                quant: quant.name(),
                annotation,
                point: point.map(|point| [point.x, point.y]),
                r#box: region.map(|it| [it.left(), it.top(), it.right(), it.bottom()]),
                answer: answer.text,
                correct,
                seconds: start.elapsed().as_secs_f64(),
            };
            if let Some((path, file)) = &mut predictions {
                let line = serde_json::to_string(&prediction).map_err(|error| Failure::file(path, error))?;
                writeln!(file, "{line}").and_then(|()| file.flush()).map_err(|error| Failure::file(path, error))?;
            }
            for key in keys(annotation) {
                let group = groups.entry(key).or_default();
                group.model.entry(quant.name()).or_default().add(correct);
                if round == 0 {
                    group.baselines(target, size, ocr.as_ref().map(|points| points.get(&index).copied()));
                }
            }
            screen = Some((&annotation.img_filename, picture));
            bar.inc(1);
            bar.set_message(format!("{} {}/{}", quant.name(), hits.hits, hits.count));
        }
    }
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64() / (chosen.len() * quants.len()).max(1) as f64;
    report(&groups, ocr.is_some(), seconds, output)
}

fn create(path: &Path) -> Outcome<(&Path, BufWriter<File>)> {
    let file = File::create(path).map_err(|error| Failure::file(path, error))?;
    Ok((path, BufWriter::new(file)))
}

/// The groups that a question counts in; the number keeps their order.
fn keys(annotation: &Annotation) -> Vec<(usize, String)> {
    let mut keys = vec![(0, "all".to_owned())];
    if !annotation.data_type.is_empty() {
        keys.push((1, format!("type {}", annotation.data_type)));
    }
    if !annotation.data_source.is_empty() {
        keys.push((2, format!("source {}", annotation.data_source)));
    }
    keys
}

impl Group {
    fn baselines(&mut self, target: PixelBox, size: Size, ocr: Option<Option<PixelPoint>>) {
        let (width, height) = (size.width as f32, size.height as f32);
        let inside = |from: f32, to: f32, most: f32| (to.min(most) - from.max(0.0)).max(0.0);
        let area = inside(target.left(), target.right(), width) * inside(target.top(), target.bottom(), height);
        self.random += f64::from(area) / size.pixels().max(1) as f64;
        self.centre.add(target.contains(PixelPoint { x: width / 2.0, y: height / 2.0 }));
        if let Some(point) = ocr {
            self.ocr.add(point.is_some_and(|point| target.contains(point)));
        }
        self.count += 1;
    }
}

fn report(groups: &BTreeMap<(usize, String), Group>, ocr: bool, seconds: f64, output: &mut Output) -> Outcome {
    if output.is_json() {
        let tally = |tally: Tally| {
            let (low, high) = tally.interval();
            json!({ "hits": tally.hits, "accuracy": tally.share(), "interval": [low, high] })
        };
        let groups: serde_json::Map<_, _> = groups
            .iter()
            .map(|((_, name), group)| {
                let mut value = json!({
                    "count": group.count,
                    "random": group.random / group.count.max(1) as f64,
                    "centre": tally(group.centre),
                });
                for (quant, hits) in &group.model {
                    value[*quant] = tally(*hits);
                }
                if ocr {
                    value["ocr"] = tally(group.ocr);
                }
                (name.clone(), value)
            })
            .collect();
        return output.value(&json!({ "groups": groups, "seconds_per_question": seconds }));
    }
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let quants: Vec<_> = groups.values().next().map(|group| group.model.keys().copied().collect()).unwrap_or_default();
    let mut headings = vec!["questions".to_owned(), "count".to_owned()];
    for quant in &quants {
        headings.extend([format!("{quant} hits"), (*quant).to_owned(), "95 % interval".to_owned()]);
    }
    headings.extend(["random".to_owned(), "centre".to_owned()]);
    if ocr {
        headings.push("ocr".to_owned());
    }
    let rows: Vec<_> = groups
        .iter()
        .map(|((_, name), group)| {
            let mut row = vec![name.clone(), group.count.to_string()];
            for quant in &quants {
                let tally = group.model.get(quant).copied().unwrap_or_default();
                let (low, high) = tally.interval();
                let interval = format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high);
                row.extend([tally.hits.to_string(), percent(tally.share()), interval]);
            }
            row.extend([percent(group.random / group.count.max(1) as f64), percent(group.centre.share())]);
            if ocr {
                row.push(percent(group.ocr.share()));
            }
            row
        })
        .collect();
    let headings: Vec<_> = headings.iter().map(String::as_str).collect();
    output.table(&headings, &rows)?;
    output.line(format_args!("{seconds:.2} s a question"))
}

/// A question that cannot be counted is found before any is asked.
fn check(path: &Path, annotations: &[Annotation]) -> Outcome {
    if annotations.is_empty() {
        return Err(Failure::file(path, "no annotations"));
    }
    for (index, annotation) in annotations.iter().enumerate() {
        let wrong = |reason: &str| Err(Failure::file(path, format_args!("annotation {index}: {reason}")));
        if annotation.bbox.iter().any(|it| !it.is_finite()) || annotation.bbox[2] < 0.0 || annotation.bbox[3] < 0.0 {
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

/// Points by the annotation's index, from lines of JSON.
fn read_points(path: &Path) -> Outcome<HashMap<usize, PixelPoint>> {
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
        if let Some([x, y]) = line.point {
            points.insert(line.index, PixelPoint { x, y });
        }
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_wilsons() {
        // Wilson 1927; values from R's prop.test(x, n, correct = FALSE).
        let near = |got: (f64, f64), want: (f64, f64)| {
            assert!((got.0 - want.0).abs() < 1e-4 && (got.1 - want.1).abs() < 1e-4, "{got:?} {want:?}");
        };
        near(Tally { hits: 5, count: 10 }.interval(), (0.2366, 0.7634));
        near(Tally { hits: 0, count: 10 }.interval(), (0.0, 0.2775));
        near(Tally::default().interval(), (0.0, 1.0));
    }

    #[test]
    fn questions_are_spread() {
        assert_eq!(spread(10, Some(3)), [0, 3, 6]);
        assert_eq!(spread(2, Some(5)), [0, 1]);
        assert_eq!(spread(0, None), [0usize; 0]);
    }

    #[test]
    fn baselines_know_the_picture() {
        let mut group = Group::default();
        let target = PixelBox::new(0.0, 0.0, 50.0, 50.0);
        group.baselines(target, Size::new(100, 100), Some(Some(PixelPoint { x: 1.0, y: 1.0 })));
        group.baselines(target, Size::new(100, 100), Some(None));
        assert_eq!(group.random / 2.0, 0.25);
        assert_eq!(group.centre, Tally { hits: 2, count: 2 });
        assert_eq!(group.ocr, Tally { hits: 1, count: 2 });
    }
}
