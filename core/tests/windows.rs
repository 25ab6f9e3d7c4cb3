//! The windows of a stream against a model, in random use.

use msp_core::Rng;
use msp_core::testing::{fuzz, seed};

const CASES: u64 = 200;

#[test]
fn windows_do_what_the_model_does() {
    let first = seed(1);
    for case in first..first + CASES {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&case.to_le_bytes());
        let mut rng = Rng::new(seed);
        let input: Vec<u8> = (0..16).flat_map(|_| rng.bytes::<64>()).collect();
        // The last number that is printed replays alone.
        println!("MSP_TEST_SEED={case}");
        fuzz::stream_ops(&input);
    }
}
