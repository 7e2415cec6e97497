//! Words for findings: lists, and the nearest of several names.

/// `a`, `a and b`, `a, b and 3 more`.
pub(super) fn few<T: AsRef<str>>(items: &[T]) -> String {
    const SHOWN: usize = 3;
    let names: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [init @ .., last] if names.len() <= SHOWN => format!("{} and {last}", init.join(", ")),
        all => {
            let shown = all.get(..SHOWN - 1).unwrap_or(all);
            format!("{} and {} more", shown.join(", "), all.len() - shown.len())
        }
    }
}

/// The candidate most like a word, if one is like it enough to be what was meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|c| {
            let extended = c.starts_with(word) || word.starts_with(c);
            let d = distance(word, c);
            (d <= limit || (extended && !c.is_empty())).then_some((d, c))
        })
        .min()
        .map(|(_, c)| c)
}

/// How many letters to change, add or remove to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.iter().skip(1)) {
            let cost = diagonal + usize::from(x != *y);
            left = cost.min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_slip_away() {
        assert_eq!(nearest("ledger-api", ["ledger", "payroll"]), Some("ledger"));
        assert_eq!(nearest("checkuot", ["checkout", "check"]), Some("checkout"));
        assert_eq!(nearest("frontend", ["database"]), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(few(&["a", "b"]), "a and b");
        assert_eq!(few(&["a", "b", "c", "d"]), "a, b and 2 more");
    }
}
