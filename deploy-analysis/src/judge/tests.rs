use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const WITHDRAW: &str = "/withdraw";
const SHOW: &str = "/show";

fn limits() -> DeployLimits {
    DeployLimits { baseline_seconds: 1, bake_seconds: 1, wait_seconds: 1, rise_percent: 1.0, slower_by_ms: 10 }
}

/// All of them took up to 10 ms, or up to 250 ms.
fn counts(requests: u64, errors: u64, late: u64) -> Counts {
    let classes = BTreeMap::from([(10_000, requests - late), (250_000, late)]);
    let seconds = (requests - late) as f64 * 0.008 + late as f64 * 0.2;
    Counts { requests, errors, classes, seconds }
}

fn figures(withdraw: Counts, show: Counts) -> Figures {
    Figures(BTreeMap::from([(WITHDRAW.to_owned(), withdraw), (SHOW.to_owned(), show)]))
}

fn alike(requests: u64) -> Figures {
    figures(counts(requests, requests / 1_000, 0), counts(requests * 4, 0, 0))
}

fn verdict(wave: &Figures, others: &Figures, before: &Figures) -> Verdict {
    judge(Seen { wave, others, before }, &limits(), 1)
}

#[test]
fn a_version_is_judged_by_what_it_is_compared_with() {
    let bad = figures(counts(1_000, 50, 0), counts(4_000, 0, 0));
    let slow = figures(counts(1_000, 1, 1_000), counts(4_000, 4, 4_000));
    let none = Figures::default();
    let everywhere = figures(counts(2_000, 100, 0), counts(8_000, 0, 0));
    for (what, wave, others, before, says) in [
        ("the same", alike(1_000), alike(2_000), alike(500), Says::Sound),
        ("5 % of withdrawals fail", bad.clone(), alike(2_000), alike(500), Says::Worse),
        ("they do so without others to compare with", bad.clone(), none.clone(), alike(1_000), Says::Worse),
        ("they do so without a time before", bad.clone(), alike(2_000), none.clone(), Says::Worse),
        ("they fail everywhere", bad.clone(), everywhere.clone(), alike(500), Says::Sound),
        ("they always failed here", bad.clone(), alike(2_000), everywhere.clone(), Says::Sound),
        ("200 ms slower", slow.clone(), alike(2_000), alike(500), Says::Worse),
        ("too few", alike(50), alike(2_000), alike(500), Says::TooFew),
        ("nothing to compare with", alike(5_000), none.clone(), none.clone(), Says::TooFew),
        ("no requests came", none.clone(), alike(2_000), alike(500), Says::TooFew),
    ] {
        let verdict = verdict(&wave, &others, &before);
        assert_eq!(verdict.says, says, "{what}: {verdict:?}");
    }
    let verdict = verdict(&bad, &alike(2_000), &alike(500));
    let golden = "/withdraw: 50 of 1000 failed (5.00 %); others 0.10 %, before 0.00 %";
    assert_eq!(verdict.findings, [golden]);
}

/// 50 ms slower for a few, which the mean hardly shows.
#[test]
fn a_version_that_is_late_more_often_than_it_may_is_worse() {
    const DEPOSIT: &str = "/api/v1/wallets/{id}/deposit";
    let figures = |route: &str, late: u64| {
        let classes = BTreeMap::from([(100_000, 4_000 - late), (250_000, late)]);
        let seconds = (4_000 - late) as f64 * 0.08 + late as f64 * 0.12;
        Figures(BTreeMap::from([(route.to_owned(), Counts { requests: 4_000, errors: 0, classes, seconds })]))
    };
    for (what, route, late, others, before, says) in [
        ("5 % are late", DEPOSIT, 200, 4, 4, Says::Worse),
        ("as many as elsewhere", DEPOSIT, 200, 200, 4, Says::Sound),
        ("no more than may be", DEPOSIT, 40, 0, 0, Says::Sound),
        ("there is no objective", "/unheard-of", 200, 4, 4, Says::Sound),
    ] {
        let verdict = verdict(&figures(route, late), &figures(route, others), &figures(route, before));
        assert_eq!(verdict.says, says, "{what}: {verdict:?}");
    }
    let found = verdict(&figures(DEPOSIT, 200), &figures(DEPOSIT, 4), &figures(DEPOSIT, 4)).findings;
    let golden = "/api/v1/wallets/{id}/deposit: 5.00 % took longer than 100 ms; others 0.10 %, before 0.10 %";
    assert_eq!(found, [golden]);
}

#[test]
fn a_version_that_fails_a_rare_route_is_found() {
    let wave = figures(counts(40, 40, 0), counts(100_000, 0, 0));
    let (others, before) =
        (figures(counts(80, 0, 0), counts(200_000, 0, 0)), figures(counts(40, 0, 0), counts(1, 0, 0)));
    assert_eq!(verdict(&wave, &others, &before).says, Says::Worse);
}

#[test]
fn clear_evidence_needs_few_requests() {
    let all_fail = figures(counts(30, 30, 0), counts(30, 30, 0));
    assert_eq!(verdict(&all_fail, &alike(200), &alike(100)).says, Says::Worse);
    let few = verdict(&alike(100), &alike(4_000), &alike(1_000));
    assert!(few.has == 500 && few.needs > few.has && few.needs < 4_000, "{few:?}");
}

/// Against controls of so many requests, as they are drawn, what is needed is enough, and half of it is not.
#[test]
fn what_is_needed_notices_a_rise_as_often_as_it_says() {
    let mut dice = fastrand::Rng::with_seed(17);
    let mut drawn = |requests: u64, rate: f64| Errors {
        errors: (0..requests).filter(|_| dice.f64() < rate).count() as u64,
        requests,
    };
    let rounds = 300;
    for (usual, rise_percent, others, before) in
        [(0.0, 1.0, 0, 3_000), (0.001, 1.0, 8_000, 0), (0.001, 1.0, 4_000, 2_000), (0.02, 2.0, 9_000, 3_000)]
    {
        let limits = DeployLimits { rise_percent, ..limits() };
        let (mut noticed, mut by_half) = (0, 0);
        for _ in 0..rounds {
            let controls = [drawn(others, usual), drawn(before, usual)];
            let needed = needed(controls, &limits).expect("the controls are large enough");
            let worse = usual + rise_percent / 100.0;
            noticed += u32::from(fails_more(drawn(needed, worse), controls, &limits));
            by_half += u32::from(fails_more(drawn(needed / 2, worse), controls, &limits));
        }
        // By one control's rate, which is not quite the usual one.
        let what = format!("{usual} + {rise_percent} %, {others} and {before}: {noticed}, by half {by_half}");
        assert!(noticed >= rounds * 85 / 100 && by_half < rounds * 8 / 10, "{what}");
    }
}

/// A run of scripts/check-cluster: a version that fails every twentieth withdrawal, after a baseline of 8 s.
#[test]
fn a_version_does_not_pass_a_control_that_could_not_show_it() {
    let limits = DeployLimits { rise_percent: 2.0, ..limits() };
    let whole = |requests, errors| figures(counts(requests, errors, 0), Counts::default());
    let none = Figures::default();
    let of = |wave: (u64, u64), before: u64, limits: &DeployLimits| {
        judge(Seen { wave: &whole(wave.0, wave.1), others: &none, before: &whole(before, 0) }, limits, 1)
    };
    let short = of((2_591, 56), 757, &limits);
    assert!(short.says == Says::TooFew && short.needs > 100_000, "{short:?}");
    let shorter = of((2_591, 56), 700, &limits);
    assert_eq!((shorter.says, shorter.needs, shorter.needs_of_each), (Says::TooFew, NEEDED_MAX, Some(1_408)));
    let golden = "has 2591, and 0 of others and 700 from before to compare with, which is too little: \
                  needs 1408 of each";
    assert_eq!(shorter.wanting(), golden);
    assert_eq!(of((2_591, 56), 3_000, &limits).says, Says::Worse, "after 30 s");
    let sound = of((2_591, 0), 3_000, &limits);
    assert!(sound.says == Says::Sound && sound.needs < 1_000, "{sound:?}");
}

/// The second control must not speak against it either, which a very small one always does.
#[test]
fn a_small_second_control_is_waited_for() {
    let failing = |requests: u64| figures(counts(requests, requests / 100, 0), Counts::default());
    let small = verdict(&failing(2_000), &failing(8_000), &failing(30));
    assert!(small.says == Says::TooFew && small.needs_of_each.is_some(), "{small:?}");
    let enough = verdict(&failing(20_000), &failing(20_000), &failing(3_000));
    assert!(enough.says == Says::Sound && enough.needs_of_each.is_none(), "{enough:?}");
}

/// Two runs of scripts/check-cluster beside other work, with hardly anything to compare with.
#[test]
fn a_version_that_fails_nothing_passes_after_a_minute_in_which_much_failed() {
    let whole = |requests, errors| figures(counts(requests, errors, 0), Counts::default());
    let none = Figures::default();
    let of = |wave: (u64, u64), before: (u64, u64)| {
        judge(Seen { wave: &whole(wave.0, wave.1), others: &none, before: &whole(before.0, before.1) }, &limits(), 1)
    };
    let mended = of((21_172, 0), (1_951, 580));
    assert!(mended.says == Says::Sound && mended.needs < 1_000, "{mended:?}");
    assert_eq!(of((500, 0), (1_951, 580)).says, Says::TooFew);
    let failing = of((21_172, 260), (1_951, 580));
    assert!(failing.says == Says::TooFew && failing.needs == NEEDED_MAX, "{failing:?}");
    assert_eq!(of((21_172, 0), (0, 0)).says, Says::TooFew, "its times are compared with nothing");
    let wave = figures(counts(100, 100, 0), counts(21_072, 0, 0));
    let before = figures(counts(1, 0, 0), counts(1_950, 580, 0));
    assert_eq!(verdict(&wave, &none, &before).says, Says::TooFew, "all withdrawals fail, which are few");
}

/// Looked at 200 times, as a wave is at most.
#[test]
fn a_version_that_fails_as_the_rise_alone_seldom_passes_by_its_own_errors() {
    let mut dice = fastrand::Rng::with_seed(23);
    let before = Errors { errors: 30, requests: 100 };
    let (rounds, mut passed) = (400, 0);
    for _ in 0..rounds {
        let mut wave = Errors { errors: 0, requests: 0 };
        let mut has_passed = false;
        for _ in 0..LOOKS_MAX {
            wave.requests += 50;
            wave.errors += (0..50).filter(|_| dice.u32(0..100) == 0).count() as u64;
            let needs = needed_alone(wave, [Errors { errors: 0, requests: 0 }, before], &limits());
            has_passed |= needs.is_some_and(|needs| wave.requests >= needs);
        }
        passed += u32::from(has_passed);
    }
    assert!(passed <= rounds / 25, "{passed} of {rounds}");
}

/// What is the same but for chance, looked at again and again while requests come.
#[test]
fn the_same_version_is_seldom_taken_back() {
    let mut dice = fastrand::Rng::with_seed(11);
    let (mut taken_back, rounds) = (0, 200);
    for _ in 0..rounds {
        let mut drawn = |requests: u64| {
            let errors = (0..requests).filter(|_| dice.u32(0..100) == 0).count() as u64;
            let late = (0..requests).filter(|_| dice.u32(0..20) == 0).count() as u64;
            figures(counts(requests, errors, late), Counts::default())
        };
        let before = drawn(200);
        let (mut wave, mut others) = (Figures::default(), Figures::default());
        let mut is_worse = false;
        for _ in 0..20 {
            wave.add(&drawn(50));
            others.add(&drawn(100));
            is_worse |= verdict(&wave, &others, &before).says == Says::Worse;
        }
        taken_back += u32::from(is_worse);
    }
    assert!(taken_back <= rounds / 50, "{taken_back} of {rounds}");
}

proptest! {
    #[test]
    fn more_errors_never_save_a_version(errors in 0_u64..200, other in 0_u64..50, before in 0_u64..50) {
        let of = |requests, errors| figures(counts(requests, errors, 0), counts(1_000, 0, 0));
        let (others, before) = (of(2_000, other), of(1_000, before));
        let less = verdict(&of(1_000, errors), &others, &before);
        let more = verdict(&of(1_000, errors + 1), &others, &before);
        prop_assert!(less.says != Says::Worse || more.says == Says::Worse, "{less:?} {more:?}");
        prop_assert!(less.needs <= more.needs, "{less:?} {more:?}");
    }
}
