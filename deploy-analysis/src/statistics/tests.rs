use proptest::prelude::*;

use super::*;

fn of(errors: u64, requests: u64) -> Errors {
    Errors { errors, requests }
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-6 * expected.abs().max(1e-12) || (found / expected - 1.0).abs() < 1e-3
}

/// By their closed forms, and the normal tail by its tables.
#[test]
fn figures_of_textbooks_come_out() {
    for (tried, control, expected) in [
        (of(3, 4), of(1, 4), 17.0 / 70.0),
        (of(4, 4), of(0, 4), 1.0 / 70.0),
        (of(10, 1_000), of(0, 2_000), (0..10).fold(1.0, |p, k| p * (1_000 - k) as f64 / (3_000 - k) as f64)),
        (of(0, 1_000), of(5, 1_000), 1.0),
    ] {
        let found = more_errors(tried, control);
        assert!(near(found, expected), "{tried:?} {control:?}: {found} {expected}");
    }
    assert!(near(upper_tail(1.959_964), 0.025) && near(upper_tail(0.0), 0.5) && near(upper_tail(-1.959_964), 0.975));
    assert!(near(upper_tail(5.0), 2.866_516e-7));
}

/// 8 or more of 10 fair tosses: 56 in 1,024; 7 or more: 176. One error among 1,000 of 1 in 1,000: 0.632.
#[test]
fn errors_that_are_met_are_the_binomials_quantile() {
    assert_eq!(errors_met(10, 0.5, 56.0 / 1_024.0 - 1e-9), 8);
    assert_eq!(errors_met(10, 0.5, 56.0 / 1_024.0 + 1e-9), 7);
    assert_eq!((errors_met(1_000, 0.001, 0.632), errors_met(1_000, 0.001, 0.633)), (1, 0));
    assert_eq!((errors_met(5, 0.0, 0.9), errors_met(0, 0.3, 0.9), errors_met(1, 0.95, 0.9)), (0, 0, 1));
    let (n, p) = (10_000_000_u64, 0.01);
    let normal = n as f64 * p - 1.281_552 * (n as f64 * p * (1.0 - p)).sqrt();
    assert!((errors_met(n, p, 0.9) as f64 - normal).abs() < 2.0, "by the normal approximation, which is good there");
}

#[test]
fn the_least_number_is_found_within_a_step() {
    for least in [1, 8, 9, 100, 12_345, NEEDED_MAX] {
        let found = least_requests(|n| n >= least).expect("there is one");
        assert!(found >= least && found <= (least + least / 32 + 1).max(8), "{least}: {found}");
    }
    assert_eq!(least_requests(|_| false), None);
}

#[test]
fn alike_is_seldom_called_worse_and_worse_is_called_so() {
    let mut dice = fastrand::Rng::with_seed(7);
    let mut drawn = |n: u64, p: f64| of((0..n).filter(|_| dice.f64() < p).count() as u64, n);
    let (mut false_alarms, mut found, rounds) = (0, 0, 2_000);
    for _ in 0..rounds {
        let control = drawn(2_000, 0.01);
        false_alarms += u32::from(more_errors(drawn(1_000, 0.01), control) < 0.01);
        found += u32::from(more_errors(drawn(1_000, 0.04), control) < 0.01);
    }
    assert!(false_alarms <= rounds / 60, "{false_alarms} of {rounds}");
    assert!(found > rounds * 9 / 10, "{found} of {rounds}");
}

#[test]
fn slower_is_told_from_the_same_by_classes() {
    let control = [10, 400, 500, 80, 10];
    assert!(slower(&[5, 200, 250, 40, 5], &control) > 0.4, "the same shape");
    assert!(slower(&[0, 100, 200, 150, 50], &control) < 1e-9, "shifted up");
    assert!(slower(&[100, 300, 100, 0, 0], &control) > 0.999, "faster is not slower");
    assert!(near(slower(&[0, 10], &[0, 10]), 1.0), "all alike");
    assert!(near(slower(&[], &[1, 2]), 1.0) && near(slower(&[0, 0], &[1, 2]), 1.0));
}

proptest! {
    #[test]
    fn more_errors_never_look_better(n in 1_u64..5_000, m in 1_u64..5_000, k in 0_u64..200, c in 0_u64..200) {
        let (k, c) = (k.min(n - 1), c.min(m));
        let (less, more) = (more_errors(of(k, n), of(c, m)), more_errors(of(k + 1, n), of(c, m)));
        prop_assert!((0.0..=1.0).contains(&less) && more <= less * 1.000_001 + 1e-12);
    }

    #[test]
    fn one_class_up_never_looks_faster(counts in prop::collection::vec(0_u64..500, 6), at in 0_usize..5) {
        let control = [50, 200, 400, 200, 50, 10];
        let mut up = counts.clone();
        prop_assume!(up[at] > 0);
        up[at] -= 1;
        up[at + 1] += 1;
        // The correction for ties moves a little with the shape.
        prop_assert!(slower(&up, &control) <= slower(&counts, &control) * 1.05 + 1e-9);
    }
}
