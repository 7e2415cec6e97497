//! Maglev tables: each backend fills the places of a permutation of its own in turn, so that a backend that
//! goes leaves nearly all other places as they are.

/// Sizes that a table may have: primes near powers of two.
pub const SIZES: [u32; 10] = [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131_071];

/// The table for some backends, each given by what it is hashed by; entries are places in `keys`. Keys must be
/// in an order that does not depend on which others there are. Empty for no keys.
pub fn table(keys: &[Vec<u8>], size: u32) -> Vec<u32> {
    if keys.is_empty() || size < 2 {
        return Vec::new();
    }
    let mut steps: Vec<(u64, u64)> = keys
        .iter()
        .map(|key| {
            let offset = hash(key, 0) % u64::from(size);
            let skip = hash(key, 1) % u64::from(size - 1) + 1;
            (offset, skip)
        })
        .collect();
    let mut out = vec![u32::MAX; size as usize];
    let mut left = size;
    while left > 0 {
        for (number, (at, skip)) in (0..).zip(&mut steps) {
            // The size is prime, so the steps visit every place.
            let free = (0..size).find_map(|_| {
                let here = *at;
                *at = (*at + *skip) % u64::from(size);
                usize::try_from(here).ok().filter(|here| out.get(*here) == Some(&u32::MAX))
            });
            if let Some(place) = free.and_then(|here| out.get_mut(here)) {
                *place = number;
                left -= 1;
            }
            if left == 0 {
                break;
            }
        }
    }
    out
}

/// FNV-1a with a finish that spreads short keys over all bits.
fn hash(key: &[u8], seed: u64) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in key {
        h = (h ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}
