//! SentencePiece's `precompiled_charsmap`: which runs of bytes a text's normal form replaces by which.
//!
//! Four bytes that give the size of a trie, the trie (a double array of u32: Yata, "Darts-clone"), and replacements that
//! end with a zero. At each place the longest run that the trie has is replaced; else a character stays. Source:
//! `Normalizer::NormalizePrefix` of SentencePiece. The `tokenizers` crate looks at characters and short graphemes instead,
//! which differs where marks follow.

/// The map.
#[derive(Debug)]
pub(super) struct Charsmap {
    trie: Vec<u32>,
    replacements: Vec<u8>,
}

impl Charsmap {
    /// `None` if the bytes are no such map.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk::<4>()?;
        let (trie, replacements) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        let (units, []) = trie.as_chunks::<4>() else { return None };
        let trie = units.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        Some(Self { trie, replacements: replacements.to_vec() })
    }

    /// The normal form of a text.
    pub(super) fn normalise(&self, text: &str) -> String {
        let mut normal = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (length, replacement) = self.longest(rest).unwrap_or((0, ""));
            // A run ends between characters.
            match rest.get(length..).filter(|_| length > 0) {
                Some(behind) => {
                    normal.push_str(replacement);
                    rest = behind;
                }
                None => {
                    normal.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        normal
    }

    /// Bytes of the longest run that `text` begins with, and what replaces it.
    fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut place = offset(*self.trie.first()?);
        let mut found = None;
        for (index, byte) in text.bytes().enumerate() {
            place ^= usize::from(byte);
            let Some(&unit) = self.trie.get(place).filter(|&&unit| unit & (1 << 31 | 0xff) == u32::from(byte)) else {
                break;
            };
            place ^= offset(unit);
            if unit >> 8 & 1 == 1 {
                found = self.trie.get(place).map(|value| (index + 1, (value & !(1 << 31)) as usize));
            }
        }
        let (length, at) = found?;
        let replacement = self.replacements.get(at..)?.split(|&byte| byte == 0).next()?;
        Some((length, std::str::from_utf8(replacement).ok()?))
    }
}
