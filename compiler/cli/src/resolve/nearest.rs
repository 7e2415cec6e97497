//! Words that somebody may have meant.

/// Candidates that are spelt like `wanted`, nearest first.
pub(crate) fn nearest<'a>(
    wanted: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    at_most: usize,
) -> Vec<String> {
    let mut all: Vec<(usize, &str)> = candidates
        .into_iter()
        .map(|c| (distance(wanted, c), c))
        .filter(|(d, c)| *d <= 2 + wanted.len() / 4 || (wanted.len() > 2 && c.contains(wanted)))
        .collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().take(at_most).map(|(_, c)| c.to_owned()).collect()
}

/// Edits between two words: insertions, deletions, replacements.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for ((y, above), left_above) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            let left = next.last().copied().unwrap_or(0);
            next.push((left + 1).min(above + 1).min(left_above + usize::from(x != *y)));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
