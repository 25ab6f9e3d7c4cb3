//! What is made of many measurements.

use alloc::vec::Vec;

/// The value that `percent` of all are not above (the nearest rank).
///
/// # Panics
///
/// If there are none.
#[must_use]
pub fn percentile<T: Ord + Copy>(values: &[T], percent: usize) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted[(values.len() * percent).div_ceil(100).max(1) - 1]
}

/// The value in the middle; of an even number, the lower one of both.
///
/// # Panics
///
/// If there are none.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[(sorted.len() - 1) / 2]
}

/// Jain's index of fairness: 1 if all have the same, 1/n if one of n has all.
#[must_use]
pub fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), it| (sum + it, squares + it * it));
    sum * sum / (shares.len() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<u32> = (1..=200).rev().collect();
        assert_eq!([0, 50, 95, 99, 100].map(|percent| percentile(&values, percent)), [1, 100, 190, 198, 200]);
        assert_eq!(percentile(&[7], 99), 7);
        assert_eq!([median([3.0, 1.0, 2.0]), median([4.0, 1.0])], [2.0, 1.0]);
    }

    #[test]
    fn fairness_is_between_one_and_one_of_them() {
        assert_eq!([jain(&[5.0; 4]), jain(&[1.0, 0.0, 0.0, 0.0])], [1.0, 0.25]);
        assert_eq!(jain(&[1.0, 3.0]), 0.8);
    }
}
