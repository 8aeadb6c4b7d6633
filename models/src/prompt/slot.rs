//! What stands for a picture in a prompt: its rows alone, or tokens between them.

use crate::image::{PatchGrid, Tiling};

/// How a picture's slot is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotText {
    /// The placeholder for each row, and nothing else.
    Rows,
    /// The placeholder alone: the picture has no rows in the prompt, layers attend to it.
    Apart,
    /// Tokens before and behind the rows (InternVL).
    Between(&'static str, &'static str),
    /// A token behind each line of patches, another behind the last (Pixtral).
    Lines {
        /// Behind a line.
        line: &'static str,
        /// Behind the last.
        last: &'static str,
    },
    /// Each tile with its row and column, a line break behind each row of tiles, then the whole (Idefics3). Source:
    /// `get_image_prompt_string` of `processing_idefics3.py`, transformers 4.57.1.
    Tiles,
}

/// What a slot of Idefics3's begins and ends with.
const AROUND: &str = "<fake_token_around_image>";

impl SlotText {
    /// The text of a slot, `placeholder` for each of the picture's rows, for views of these tokens; `None` where that is
    /// all there is.
    pub fn write(self, placeholder: &str, views: &[PatchGrid], tiling: &Tiling) -> Option<String> {
        let rows = |grid: &PatchGrid| placeholder.repeat(grid.patches());
        match self {
            Self::Rows | Self::Apart => None,
            Self::Between(before, behind) => {
                let all: String = views.iter().map(rows).collect();
                Some(format!("{before}{all}{behind}"))
            }
            Self::Lines { line, last } => {
                let grid = views.first()?;
                let tokens = placeholder.repeat(grid.width as usize);
                let lines = vec![tokens; grid.height as usize].join(line);
                Some(lines + last)
            }
            Self::Tiles => {
                let mut text = String::new();
                if tiling.overview.is_some() {
                    for (index, view) in (0u32..).zip(views.iter().take(tiling.tiles())) {
                        let (row, column) = (index / tiling.columns + 1, index % tiling.columns + 1);
                        text += &format!("{AROUND}<row_{row}_col_{column}>{}", rows(view));
                        if column == tiling.columns {
                            text.push('\n');
                        }
                    }
                    text.push('\n');
                }
                let whole = rows(views.get(tiling.whole())?);
                Some(text + &format!("{AROUND}<global-img>{whole}{AROUND}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Size;

    #[test]
    fn slots_are_written_as_published() {
        let (wide, one) = (PatchGrid { time: 1, height: 2, width: 3 }, PatchGrid { time: 1, height: 1, width: 1 });
        let alone = Tiling::one(Size::new(9, 9));
        let lines = SlotText::Lines { line: "/", last: "." };
        assert_eq!(lines.write("x", &[wide], &alone).unwrap(), "xxx/xxx.");
        assert_eq!(SlotText::Between("<", ">").write("x", &[one, one], &alone).unwrap(), "<xx>");
        assert_eq!(SlotText::Rows.write("x", &[one], &alone), None);
        let two = Tiling { columns: 2, rows: 1, overview: Some(2), original: Size::new(9, 9) };
        let expected = "<fake_token_around_image><row_1_col_1>x<fake_token_around_image><row_1_col_2>x\n\n\
            <fake_token_around_image><global-img>x<fake_token_around_image>";
        assert_eq!(SlotText::Tiles.write("x", &[one; 3], &two).unwrap(), expected);
        let expected = "<fake_token_around_image><global-img>x<fake_token_around_image>";
        assert_eq!(SlotText::Tiles.write("x", &[one], &alone).unwrap(), expected);
    }
}
