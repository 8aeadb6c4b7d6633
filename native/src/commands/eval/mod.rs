//! `fovea eval`: accuracy on screenshots with known targets.

mod annotations;
mod groups;
mod kind;
mod page;

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{Seek, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use fovea_engine::Gpu;
use fovea_models::{
    Session,
    grounding::{PixelBox, PixelPoint},
    image::{Picture, Size},
    json_text,
};
use serde::Deserialize;

use crate::{
    common::Common,
    failure::{Failure, Kind as Fault, Outcome},
    input::{self, read_bounded},
    json::{NotAsked, Prediction, VERSION},
    model::{self, Choice, Quantisation},
    output::{self, Output},
    picture,
    progress::Counter,
};

use self::{
    annotations::{Annotation, Annotations, Boxes},
    groups::{Groups, Summary, Tally, keys},
    kind::Kind,
    page::Page,
};
use super::ground::{AnswerArguments, Reply, answer};

const EXAMPLES: &str = "\
Examples:
  fovea eval screenspot_web.json --images screenspot_imgs --limit 100
  fovea eval ScreenSpot-Pro/annotations/vscode_macos.json --images ScreenSpot-Pro/images --report report.html
  fovea eval questions.jsonl --boxes fractions --images . --predictions predictions.jsonl --json

Exit code 3: some questions could not be asked. The table counts the others.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A list of {img_filename, bbox, instruction, data_type, data_source, role, language}, or one on each line. The last
    /// four are for grouping; a bbox of null says that the target is not on the screen. `-` reads standard input.
    #[arg(value_name = "ANNOTATIONS.json", value_parser = input::path())]
    annotations: PathBuf,
    /// Directory of the screenshots.
    #[arg(long, value_name = "DIR", value_parser = input::path())]
    images: PathBuf,
    /// How boxes are written, where the file leaves it open.
    #[arg(long, value_enum, value_name = "CONVENTION")]
    boxes: Option<Boxes>,
    /// Ask only so many questions, spread evenly.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Predictions of another method, to print beside: lines of {"index": N, "point": [x, y] or null}.
    #[arg(long, value_name = "FILE", value_parser = input::path())]
    ocr: Option<PathBuf>,
    /// Where to write each prediction as a line of JSON, as it comes.
    #[arg(long, value_name = "FILE", value_parser = input::output_path())]
    predictions: Option<PathBuf>,
    /// Where to write a page that shows every answer on its screenshot, the wrong ones by kind.
    #[arg(long, value_name = "PAGE.html", value_parser = input::output_path())]
    report: Option<PathBuf>,
    #[command(flatten)]
    answer: AnswerArguments,
}

/// A file that results go to, opened before the work and emptied when there is something to write.
struct OutputFile<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> OutputFile<'a> {
    fn open(path: &'a Path) -> Outcome<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.map_or(Ok(()), fs::create_dir_all).map_err(|error| Failure::file(path, error))?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        Ok(Self { path, file: file.map_err(|error| Failure::file(path, error))? })
    }

    /// Empties a regular file; devices and pipes have nothing to empty.
    fn clear(&mut self) -> Outcome {
        let regular = self.file.metadata().is_ok_and(|metadata| metadata.is_file());
        let cleared = if regular { self.file.set_len(0).and_then(|()| self.file.rewind()) } else { Ok(()) };
        cleared.map_err(|error| Failure::file(self.path, error))
    }

    fn write(&mut self, text: &str) -> Outcome {
        self.file.write_all(text.as_bytes()).map_err(|error| Failure::file(self.path, error))
    }
}

/// The questions of a run, and what is known of them before they are asked.
struct Questions {
    all: Vec<Annotation>,
    chosen: Vec<usize>,
    boxes: Boxes,
    ocr: Option<HashMap<usize, Option<PixelPoint>>>,
}

impl Questions {
    fn read(arguments: &Arguments) -> Outcome<Self> {
        let path = &arguments.annotations;
        let annotations = Annotations::read(path)?;
        let ocr = arguments.ocr.as_deref().map(read_points).transpose()?;
        let mut sizes = HashMap::new();
        let mut first_fault = None;
        for Annotation { img_filename, .. } in &annotations.all {
            if sizes.contains_key(img_filename.as_str()) {
                continue;
            }
            match picture::size(&arguments.images.join(img_filename)) {
                Ok(size) => drop(sizes.insert(img_filename.as_str(), size)),
                Err(failure) => drop(first_fault.get_or_insert(failure)),
            }
        }
        // Not one: the directory is another.
        if let (true, Some(failure)) = (sizes.is_empty(), first_fault) {
            return Err(failure);
        }
        let boxes = annotations.convention(arguments.boxes, &sizes).map_err(|reason| Failure::file(path, reason))?;
        let chosen = spread(annotations.all.len(), arguments.limit.map(|limit| limit as usize));
        Ok(Self { all: annotations.all, chosen, boxes, ocr })
    }

    /// A question's target in pixels of its picture.
    fn target(&self, annotation: &Annotation, size: Size) -> Option<PixelBox> {
        annotation.bbox.map(|numbers| self.boxes.to_pixels(numbers, size))
    }
}

pub(crate) fn run(arguments: &Arguments, common: &Common, output: &mut Output) -> Outcome {
    let quants = match common.model.quant {
        Some(Choice::All) => Quantisation::ALL.to_vec(),
        Some(Choice::One(quant)) => vec![quant],
        None => vec![Quantisation::Q4],
    };
    let inputs = [Some(&arguments.annotations), arguments.ocr.as_ref()];
    let outputs = [arguments.predictions.as_ref(), arguments.report.as_ref()];
    for out in outputs.into_iter().flatten() {
        if inputs.into_iter().flatten().any(|input| input::same_file(input, out)) {
            return Err(Failure::usage(format_args!("{} is an input: writing would destroy it", out.display())));
        }
    }
    let questions = Questions::read(arguments)?;
    let model = common.model.find()?;
    let mut report = arguments.report.as_deref().map(OutputFile::open).transpose()?;
    let mut predictions = arguments.predictions.as_deref().map(OutputFile::open).transpose()?;
    if let [Some(a), Some(b)] = outputs
        && input::same_file(a, b)
    {
        return Err(Failure::usage("--predictions and --report are the same file"));
    }
    if let Some(file) = &mut predictions {
        file.clear()?;
    }

    let gpu = common.gpu.open()?;
    let mut run = Run {
        arguments,
        questions: &questions,
        groups: Groups::new(),
        not_asked: Vec::new(),
        page: report.as_ref().map(|_| Page::new(&gpu.name().to_string())),
        predictions,
        lost: None,
        counter: Counter::new(questions.chosen.len() * quants.len()),
    };
    let started = Instant::now();
    let ended = run.all(&quants, &model, &gpu);
    run.counter.finish();
    let Run { groups, not_asked, page, lost, .. } = run;
    let asked: usize = groups.values().next().map_or(0, |group| group.kinds.values().sum());
    if asked > 0 {
        let summary = Summary {
            groups: &groups,
            boxes: questions.boxes,
            not_asked: &not_asked,
            ocr: questions.ocr.is_some(),
            seconds: started.elapsed().as_secs_f64() / asked as f64,
        };
        summary.print(output)?;
        output.flush()?;
    }
    if let (Some(page), Some(report)) = (page, &mut report)
        && asked > 0
    {
        report.clear()?;
        report.write(&page.text())?;
    }
    // A GPU that fails ends the run; what was counted until then is printed.
    ended?;
    if let Some(failure) = lost {
        return Err(failure);
    }
    match not_asked.first() {
        None => Ok(()),
        Some(first) => {
            let (count, all) = (not_asked.len(), questions.chosen.len());
            let reason = format!("{count} of {all} questions could not be asked; the first: {}", first.reason);
            Err(Failure::new(Fault::Input, reason))
        }
    }
}

/// A run and what it has found so far.
struct Run<'a> {
    arguments: &'a Arguments,
    questions: &'a Questions,
    groups: Groups,
    not_asked: Vec<NotAsked>,
    page: Option<Page>,
    predictions: Option<OutputFile<'a>>,
    /// Why predictions are not written any more.
    lost: Option<Failure>,
    counter: Counter,
}

impl Run<'_> {
    fn all(&mut self, quants: &[Quantisation], model: &crate::directory::Model, gpu: &Gpu) -> Outcome {
        for (round, &quant) in quants.iter().enumerate() {
            let system = model::load(model, gpu, quant)?;
            let mut session = Session::new(&system)?;
            let mut hits = Tally::default();
            let mut screen: Option<(&str, Picture)> = None;
            for &index in &self.questions.chosen {
                let annotation = &self.questions.all[index];
                let name = annotation.img_filename.as_str();
                let path = self.arguments.images.join(name);
                let opened = match screen.take() {
                    Some((kept, picture)) if kept == name => Ok(picture),
                    _ => picture::open(&path),
                };
                let asked = opened.and_then(|picture| self.ask(&mut session, index, quant, round == 0, picture));
                match asked {
                    Ok((picture, correct)) => {
                        hits.add(correct);
                        screen = Some((name, picture));
                    }
                    Err(failure) if failure.kind() == Some(Fault::Input) => {
                        if round == 0 {
                            let reason = failure.to_string();
                            self.counter.suspend(|| output::warning(format_args!("question {index}: {reason}")));
                            let img_filename = name.to_owned();
                            self.not_asked.push(NotAsked { index, img_filename, reason });
                        }
                    }
                    Err(failure) => return Err(failure),
                }
                self.counter.step(&format!("{} {} right of {}", quant.name(), hits.hits, hits.count));
            }
        }
        Ok(())
    }

    /// Asks a question, and counts its answer; hands the picture back, with whether the answer is right.
    fn ask(
        &mut self,
        session: &mut Session,
        index: usize,
        quant: Quantisation,
        first: bool,
        picture: Picture,
    ) -> Outcome<(Picture, bool)> {
        let (questions, arguments) = (self.questions, self.arguments);
        let annotation = &questions.all[index];
        let path = arguments.images.join(&annotation.img_filename);
        let size = picture.size();
        let start = Instant::now();
        let answer = answer(session, &path, &picture, &annotation.instruction, arguments.answer)?;
        let target = questions.target(annotation, size);
        let others = questions.all.iter().filter(|other| other.img_filename == annotation.img_filename);
        let others: Vec<PixelBox> =
            others.filter_map(|other| questions.target(other, size)).filter(|it| Some(*it) != target).collect();
        let reply = answer.reply();
        let kind = Kind::of(target, &others, reply);
        let mark = match reply {
            Reply::Place(mark) => Some(mark),
            _ => None,
        };
        let corners = |it: PixelBox| [it.left(), it.top(), it.right(), it.bottom()];
        let prediction = Prediction {
            version: VERSION,
            index,
            quant: quant.name(),
            img_filename: &annotation.img_filename,
            instruction: &annotation.instruction,
            data_type: &annotation.data_type,
            data_source: &annotation.data_source,
            role: &annotation.role,
            language: &annotation.language,
            target: target.map(corners),
            point: mark.map(|mark| [mark.click.x, mark.click.y]),
            r#box: mark.map(|mark| corners(mark.region)),
            answer: &answer.text,
            correct: kind == Kind::Right,
            kind: kind.name(),
            seconds: start.elapsed().as_secs_f64(),
        };
        self.write(&prediction);
        if let Some(page) = &mut self.page {
            page.add(&picture, &prediction, kind);
        }
        for key in keys(annotation, size) {
            let group = self.groups.entry(key).or_default();
            *group.kinds.entry(kind).or_default() += 1;
            group.model.entry(quant.name()).or_default().add(kind == Kind::Right);
            if first {
                group.baselines(target, size, questions.ocr.as_ref().and_then(|points| points.get(&index).copied()));
            }
        }
        Ok((picture, kind == Kind::Right))
    }

    /// Writes a prediction; a disk that is full does not end hours of work.
    fn write(&mut self, prediction: &Prediction<'_>) {
        let Some(file) = &mut self.predictions else { return };
        let line = serde_json::to_string(prediction).map_err(|error| Failure::file(file.path, error));
        if let Err(failure) = line.and_then(|line| file.write(&(line + "\n"))) {
            self.counter.suspend(|| output::warning(format_args!("no more predictions are written: {failure}")));
            self.lost = Some(failure);
            self.predictions = None;
        }
    }
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
    let bytes = json_text(&bytes).map_err(|reason| Failure::file(path, reason))?;
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
