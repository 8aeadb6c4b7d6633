//! Accuracy by groups of questions, beside simple baselines.

use std::collections::BTreeMap;

use fovea_models::{
    grounding::{PixelBox, PixelPoint},
    image::Size,
};

use super::{
    annotations::{Annotation, Boxes},
    kind::Kind,
};
use crate::{
    failure::Outcome,
    json::{self, NotAsked, VERSION},
    output::Output,
};

/// Hits among questions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) hits: usize,
    pub(super) count: usize,
}

impl Tally {
    pub(super) fn add(&mut self, hit: bool) {
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

/// Groups by their place among the others and their name.
pub(super) type Groups = BTreeMap<(usize, String), Group>;

/// What is known of a group of questions: all, one type, one source.
#[derive(Clone, Default)]
pub(super) struct Group {
    /// By quantisation.
    pub(super) model: BTreeMap<&'static str, Tally>,
    /// Answers of each kind, of all quantisations.
    pub(super) kinds: BTreeMap<Kind, usize>,
    ocr: Tally,
    centre: Tally,
    /// Sum of the chances of a random point.
    random: f64,
    count: usize,
}

/// The groups that a question counts in; the number keeps their order.
pub(super) fn keys(annotation: &Annotation, screen: Size) -> Vec<(usize, String)> {
    let mut keys = vec![(0, "all".to_owned())];
    let kinds = ["type", "role", "source", "language"];
    let names = [&annotation.data_type, &annotation.role, &annotation.data_source, &annotation.language];
    for (place, (kind, name)) in kinds.iter().zip(names).enumerate() {
        if !name.is_empty() {
            keys.push((place + 1, format!("{kind} {name}")));
        }
    }
    if annotation.bbox.is_none() {
        keys.push((5, "not on the screen".to_owned()));
    }
    let width = match screen.width {
        ..600 => "under 600",
        600..1200 => "600 to 1199",
        _ => "1200 and more",
    };
    keys.push((6, format!("width {width}")));
    keys
}

impl Group {
    /// Counts what a random point, the centre and the recogniser's point hit; a target that is not there is hit by none.
    pub(super) fn baselines(&mut self, target: Option<PixelBox>, size: Size, ocr: Option<Option<PixelPoint>>) {
        self.count += 1;
        if let Some(point) = ocr {
            let right = match (target, point) {
                (Some(target), Some(point)) => target.contains(point),
                (None, None) => true,
                _ => false,
            };
            self.ocr.add(right);
        }
        let Some(target) = target else {
            self.centre.add(false);
            return;
        };
        let (width, height) = (size.width as f32, size.height as f32);
        let inside = |from: f32, to: f32, most: f32| (to.min(most) - from.max(0.0)).max(0.0);
        let area = inside(target.left(), target.right(), width) * inside(target.top(), target.bottom(), height);
        self.random += f64::from(area) / size.pixels().max(1) as f64;
        self.centre.add(target.contains(PixelPoint { x: width / 2.0, y: height / 2.0 }));
    }
}

/// What a run has found.
pub(super) struct Summary<'a> {
    pub(super) groups: &'a Groups,
    pub(super) boxes: Boxes,
    pub(super) not_asked: &'a [NotAsked],
    /// Whether another method's answers were given.
    pub(super) ocr: bool,
    /// Of a question.
    pub(super) seconds: f64,
}

impl Summary<'_> {
    /// Prints the groups, and how often the answers were wrong in which way.
    pub(super) fn print(&self, output: &mut Output) -> Outcome {
        if !output.is_json() {
            return self.tables(output);
        }
        let accuracy = |tally: Tally| json::Accuracy {
            hits: tally.hits,
            count: tally.count,
            accuracy: tally.share(),
            interval: tally.interval(),
        };
        let groups = self.groups.iter().map(|((_, name), group)| {
            let value = json::Group {
                count: group.count,
                model: group.model.iter().map(|(quant, tally)| (*quant, accuracy(*tally))).collect(),
                answers: group.kinds.iter().map(|(kind, count)| (kind.name(), *count)).collect(),
                random: group.random / group.count.max(1) as f64,
                centre: accuracy(group.centre),
                ocr: self.ocr.then(|| accuracy(group.ocr)),
            };
            (name.clone(), value)
        });
        let groups = groups.collect();
        output.value(&json::Evaluation {
            version: VERSION,
            boxes: self.boxes.name(),
            groups,
            not_asked: self.not_asked,
            seconds_per_question: self.seconds,
        })
    }

    fn tables(&self, output: &mut Output) -> Outcome {
        let &Self { groups, ocr, seconds, .. } = self;
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let quants: Vec<_> =
            groups.values().next().map(|group| group.model.keys().copied().collect()).unwrap_or_default();
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
        let all = groups.values().next().cloned().unwrap_or_default();
        let answers: usize = all.kinds.values().sum();
        let kinds = all.kinds.iter().map(|(kind, count)| {
            let share = percent(*count as f64 / answers.max(1) as f64);
            vec![kind.name().to_owned(), count.to_string(), share]
        });
        output.line("")?;
        output.table(&["answers", "count", "share"], &kinds.collect::<Vec<_>>())?;
        output.line(format_args!("{seconds:.2} s a question"))
    }
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
    fn baselines_know_the_picture() {
        let mut group = Group::default();
        let target = PixelBox::new(0.0, 0.0, 50.0, 50.0);
        group.baselines(Some(target), Size::new(100, 100), Some(Some(PixelPoint { x: 1.0, y: 1.0 })));
        group.baselines(Some(target), Size::new(100, 100), Some(None));
        assert_eq!(group.random / 2.0, 0.25);
        assert_eq!(group.centre, Tally { hits: 2, count: 2 });
        assert_eq!(group.ocr, Tally { hits: 1, count: 2 });
    }
}
