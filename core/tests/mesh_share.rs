//! What one source gets of a relay of which another one wants ten times its share, in virtual time.

use core::time::Duration;
use msp_core::testing::seed;
use msp_core::testing::trial::{Rival, Share, percentile};

/// `cargo bench -p msp-core --bench mesh -- share` prints the figures.
#[test]
fn who_wants_too_much_of_a_relay_leaves_others_their_half_and_their_small_messages_prompt() {
    let seed = seed(1);
    let length = Duration::from_secs(1);
    let alone = percentile(&Share::measure(Rival::None, length, seed).small, 99);
    for rival in [Rival::Neighbour, Rival::Liar, Rival::Behind] {
        let Share { bulk, small, lost } = Share::measure(rival, length, seed);
        let slowest = percentile(&small, 99);
        assert!(bulk > 0.45, "{rival:?}: {bulk:.2} of what the relay can send");
        assert!(lost == 0.0 && slowest < alone + Duration::from_millis(8), "{rival:?}: {slowest:?}, {lost}");
    }
}
