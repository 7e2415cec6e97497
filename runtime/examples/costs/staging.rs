//! How long a new generation takes into the kernel: filling its maps, waiting until no packet can still see
//! what was in the slot, and the flip.

use crate::median;
use crate::world::{Pins, Slice, World};
use portcullis_agent::kernel::{Generation, Sizes};
use portcullis_bench::Shape;
use portcullis_sema::side::Evaluation;
use std::time::Instant;

const BYTES: usize = 512 * 1024;
const ROUNDS: usize = 101;
const FLIPS: u32 = 1_000;

pub(crate) fn run() {
    let world = World::generated(&Shape::pods(10_000));
    let e = Evaluation::new(&[world.input()], &[]);
    println!("endpoints | image B | prefixes | filling µs | waiting µs | flip µs, median | flip µs, 99 %");
    for endpoints in [1, 1_000] {
        let slice: Vec<u32> = (0..endpoints).collect();
        let node = Slice::new(&world, &e, &slice);
        let image = node.staged_with(BYTES);
        assert!(image.len() <= BYTES, "{} bytes", image.len());
        let pins = Pins::new();
        let kernel = pins.kernel(Sizes { slot: 512 * 1024, ..Sizes::default() });
        let generation = Generation { image: &image, prefixes: &node.assigned.prefixes };
        let (mut filling, mut waiting, mut flips) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let t = Instant::now();
            let filled = kernel.fill(generation).unwrap();
            filling.push(micros(t));
            let t = Instant::now();
            let slot = kernel.put(&filled).unwrap();
            waiting.push(micros(t));
            kernel.flip(slot).unwrap();
        }
        for n in 0..FLIPS {
            let t = Instant::now();
            kernel.flip(n % 2).unwrap();
            flips.push(micros(t));
        }
        flips.sort_by(f64::total_cmp);
        println!(
            "{endpoints:>5} | {} | {} | {:.0} | {:.0} | {:.3} | {:.3}",
            image.len(),
            node.assigned.prefixes.len(),
            median(filling),
            median(waiting),
            flips[flips.len() / 2],
            flips[flips.len() * 99 / 100],
        );
    }
}

fn micros(t: Instant) -> f64 {
    t.elapsed().as_secs_f64() * 1e6
}
