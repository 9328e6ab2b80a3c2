//! "Did you mean": the known word nearest to a misspelt one.

use std::cmp::Reverse;

/// Maximum length of a word that is compared, in bytes: longer words are no typing errors.
const WORD_BYTES_MAX: usize = 64;

/// Returns the candidate that a misspelt word most likely means, if one is near.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let far = match word.len() {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().max(word.len()) <= WORD_BYTES_MAX)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance < far.min(candidate.len()))
        .min_by_key(|(distance, candidate)| {
            let pairs = candidate.bytes().zip(word.bytes());
            let same = pairs.take_while(|(left, right)| left == right).count();
            (*distance, Reverse(same))
        })
        .map(|(_, candidate)| candidate)
}

/// Returns the number of letters that are missing, added, different or swapped with their
/// neighbour; case is ignored.
fn distance(left: &str, right: &str) -> usize {
    let letters = |word: &str| -> Vec<u8> { word.to_ascii_lowercase().into_bytes() };
    let (left, right) = (letters(left), letters(right));
    let mut rows = vec![(0..=right.len()).collect::<Vec<usize>>()];
    for (i, letter) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in right.iter().enumerate() {
            let changed = rows[i][j] + usize::from(letter != other);
            let mut least = changed.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == right[j - 1] && left[i - 1] == *other {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_another_word_does_not() {
        let words = ["amount", "account", "from", "to", "note"];
        assert_eq!(nearest("amuont", words), Some("amount"));
        assert_eq!(nearest("acount", words), Some("account"));
        assert_eq!(nearest("form", words), Some("from"));
        assert_eq!(nearest("fron", words), Some("from"));
        assert_eq!(nearest("Note", words), Some("note"));
        assert_eq!(nearest("x", words), None);
        assert_eq!(nearest("reference", words), None);
        assert_eq!(nearest("", words), None);
    }
}
