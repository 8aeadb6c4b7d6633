//! The places that a look at a picture tells apart.

use super::PixelPoint;

/// How far from a place the next one is at least, in image tokens of one row. Lines of text may lie in rows that follow
/// each other.
pub(crate) const APART: usize = 2;
/// What a place gets of the attention at least, as a share of what the first gets.
const SHARE: f32 = 0.002;
/// What it gets of all attention at least.
const LEAST: f32 = 0.0005;
/// So many are told apart at the most.
const MOST: usize = 24;

/// The places of a picture that were looked at, the most looked at first: `looks` has a number for each image token, row by
/// row, `width` in each, and a place is a token that gets more than those beside it.
pub fn alike(looks: &[f32], width: usize) -> Vec<usize> {
    let width = width.max(1);
    let most = looks.iter().copied().fold(0.0, f32::max);
    let near = |a: usize, b: usize| a / width == b / width && a.abs_diff(b) <= APART;
    let mut bright: Vec<usize> = (0..looks.len()).filter(|&at| looks[at] >= (SHARE * most).max(LEAST)).collect();
    bright.sort_by(|&a, &b| looks[b].total_cmp(&looks[a]).then(a.cmp(&b)));
    let mut places: Vec<usize> = Vec::new();
    for at in bright {
        // A slope towards a place is not one of its own.
        let around = at.saturating_sub(APART)..looks.len().min(at + APART + 1);
        let slope = around.into_iter().any(|other| near(at, other) && looks[other] > looks[at]);
        if places.len() < MOST && !slope && !places.iter().any(|&place| near(at, place)) {
            places.push(at);
        }
    }
    places
}

/// What was found at several places, in reading order and each once: things whose middles are less than `apart` wide and
/// high from each other are one, and what is less than half as high from another stands on its line. The first of each
/// pair is kept.
pub fn in_reading_order<T>(mut found: Vec<(PixelPoint, T)>, apart: (f32, f32)) -> Vec<T> {
    let mut once: Vec<(PixelPoint, T)> = Vec::new();
    for (at, thing) in found.drain(..) {
        let same = |(other, _): &(PixelPoint, T)| (other.x - at.x).abs() < apart.0 && (other.y - at.y).abs() < apart.1;
        if !once.iter().any(same) {
            once.push((at, thing));
        }
    }
    once.sort_by(|(a, _), (b, _)| a.y.total_cmp(&b.y));
    let mut lines: Vec<Vec<(PixelPoint, T)>> = Vec::new();
    for (at, thing) in once {
        match lines.last_mut() {
            Some(line) if line.last().is_some_and(|(last, _)| at.y - last.y < 0.5 * apart.1) => line.push((at, thing)),
            _ => lines.push(vec![(at, thing)]),
        }
    }
    lines.iter_mut().for_each(|line| line.sort_by(|(a, _), (b, _)| a.x.total_cmp(&b.x)));
    lines.into_iter().flatten().map(|(_, thing)| thing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look of 20 by 10 tokens.
    fn looks(at: &[(usize, usize, f32)]) -> Vec<f32> {
        let mut looks = vec![0.0001; 200];
        at.iter().for_each(|&(x, y, value)| looks[y * 20 + x] = value);
        looks
    }

    #[test]
    fn places_stand_out() {
        let seen =
            looks(&[(15, 4, 0.3), (2, 5, 0.2), (3, 5, 0.19), (4, 8, 0.1), (9, 0, 0.0005), (19, 0, 0.25), (0, 1, 0.24)]);
        // Rows are apart, though they follow each other; 0.0005 is too little; (3, 5) is the side of (2, 5).
        assert_eq!(alike(&seen, 20), [95, 19, 20, 102, 164]);
        assert_eq!(alike(&looks(&[(4, 4, 0.3), (5, 4, 0.3)]), 20), [84]);
        assert_eq!(alike(&[0.01; 10_000], 1).len(), MOST);
    }

    #[test]
    fn nothing_stands_out_where_nothing_is_seen() {
        assert!(alike(&looks(&[]), 20).is_empty());
        assert!(alike(&[], 0).is_empty());
        assert!(alike(&[f32::NAN; 4], 2).is_empty());
    }

    #[test]
    fn lines_are_read_from_left_to_right() {
        let at = |x, y| PixelPoint { x, y };
        let found =
            vec![(at(300.0, 104.0), 'b'), (at(20.0, 140.0), 'c'), (at(20.0, 98.0), 'a'), (at(22.0, 101.0), '-')];
        assert_eq!(in_reading_order(found, (40.0, 20.0)), ['a', 'b', 'c']);
        assert!(in_reading_order(Vec::<(PixelPoint, u8)>::new(), (1.0, 1.0)).is_empty());
    }
}
