//! What Maglev keeps when backends come and go.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_precision_loss, reason = "tests")]

use portcullis_services::maglev::{SIZES, table};

fn keys(n: u32) -> Vec<Vec<u8>> {
    (0..n).map(|n| [&[10, 0][..], &n.to_be_bytes()[2..], &[0x1f, 0x90, 6]].concat()).collect()
}

/// The share of flows that move though their backend is still there.
fn moved(size: u32, gone: usize) -> f64 {
    let all = keys(100);
    let before = table(&all, size);
    let mut left = all.clone();
    left.remove(gone);
    let after = table(&left, size);
    let stay = before.iter().zip(&after).filter(|(b, _)| **b as usize != gone);
    let (mut moves, mut kept) = (0u32, 0u32);
    for (b, a) in stay {
        if all[*b as usize] == left[*a as usize] { kept += 1 } else { moves += 1 }
    }
    f64::from(moves) / f64::from(moves + kept)
}

#[test]
fn a_backend_of_a_hundred_that_goes_moves_at_most_two_percent_of_the_others_flows() {
    for size in [16_381, 65_521] {
        let all: Vec<f64> = (0..100).map(|gone| moved(size, gone)).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let worst = all.iter().copied().fold(0.0, f64::max);
        println!("{size} places: {:.2} % on average, {:.2} % at most", mean * 100.0, worst * 100.0);
        assert!(worst <= 0.02, "{size}: {worst}");
    }
}

#[test]
fn shares_are_even_and_sizes_are_prime() {
    for size in SIZES {
        assert!((2..size).take_while(|d| d * d <= size).all(|d| !size.is_multiple_of(d)), "{size}");
    }
    let filled = table(&keys(100), 16_381);
    let mut shares = [0u32; 100];
    for backend in &filled {
        shares[*backend as usize] += 1;
    }
    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    assert!(most - least <= 1, "{least} to {most}");
}

#[test]
fn more_backends_than_places_fill_every_place() {
    let filled = table(&keys(300), 251);
    assert!(filled.iter().all(|b| *b < 300));
    assert_eq!(table(&[], 251), Vec::<u32>::new());
}
