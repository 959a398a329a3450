//! How long a head may be decided on, and how many idempotency keys are remembered.

use super::*;

fn deposit() -> Work {
    Work::Alone(Intent::Deposit { amount: Money::from_minor(1) })
}

fn done(bench: &mut Bench, key: Option<u8>) -> Reply {
    let id = bench.submit_keyed(0, deposit(), key);
    bench.pump();
    bench.load_all();
    if !bench.commits.is_empty() {
        bench.commit();
    }
    bench.replies.remove(&id).expect("answered")
}

#[test]
fn a_head_is_read_again_after_half_its_lifetime() {
    let lifetime = Duration::from_secs(60);
    let mut bench = Bench::new(Limits { head_lifetime: lifetime, ..Limits::default() }, &[10]);
    assert!(matches!(done(&mut bench, None), Reply::Done { .. }));
    assert_eq!(bench.sign_by, [lifetime], "counted from the load");

    bench.monotonic = lifetime / 2;
    bench.submit(0, deposit());
    bench.pump();
    assert!(bench.loads.is_empty(), "the head is young enough");
    bench.commit();
    assert_eq!(bench.sign_by.last(), Some(&lifetime), "the first commit had proved it at its own start");

    bench.monotonic = lifetime + Duration::from_nanos(1);
    bench.submit(0, deposit());
    bench.pump();
    assert_eq!(bench.loads.len(), 1, "confirmed by the second commit, half a lifetime ago");
    bench.load();
    assert_eq!(bench.sign_by.last(), Some(&(bench.monotonic + lifetime)));
    bench.commit();
}

#[test]
fn a_full_key_window_refuses_keyed_requests_only() {
    let day = 24 * 60 * 60 * 1_000_000;
    let mut bench = Bench::new(Limits { marks_per_wallet: 2, ..Limits::default() }, &[10]);
    for key in [1, 2] {
        assert!(matches!(done(&mut bench, Some(key)), Reply::Done { .. }));
    }
    assert_eq!(done(&mut bench, Some(3)), Reply::WindowFull);
    assert!(matches!(done(&mut bench, Some(1)), Reply::SeenKey { .. }), "what is remembered is repeated");
    assert!(matches!(done(&mut bench, None), Reply::Done { .. }));
    bench.now = NOW.plus_micros(day + MARGIN_MICROS + 1);
    assert!(matches!(done(&mut bench, Some(3)), Reply::Done { .. }), "the oldest keys count no more");
}

#[test]
fn keys_that_were_too_many_to_be_loaded_are_not_unused() {
    let mut bench = Bench::new(Limits::default(), &[10]);
    let id = bench.submit_keyed(0, deposit(), Some(1));
    bench.pump();
    let (wallet, _) = bench.loads.remove(0);
    let loaded = whole(&bench.chains[&wallet], NOW.plus_micros(-1), true);
    bench.sequencer.loaded(wallet, loaded);
    bench.pump();
    assert_eq!(bench.replies.remove(&id), Some(Reply::WindowFull));
    assert!(bench.loads.is_empty(), "reading them again would not help");
}

#[test]
fn keys_loaded_by_a_clock_ahead_are_loaded_again() {
    let mut bench = Bench::new(Limits::default(), &[10]);
    bench.submit_keyed(0, deposit(), Some(1));
    bench.pump();
    let (wallet, _) = bench.loads.remove(0);
    let loaded = whole(&bench.chains[&wallet], NOW.plus_micros(-1), false);
    bench.sequencer.loaded(wallet, loaded);
    bench.pump();
    assert_eq!(bench.loads, [(wallet, None)], "the whole wallet");
}

#[test]
fn wallets_with_many_keys_make_room_for_others() {
    let mut bench = Bench::new(Limits { marks_bytes: 300, ..Limits::default() }, &[10, 10]);
    for key in 1..=3 {
        assert!(matches!(done(&mut bench, Some(key)), Reply::Done { .. }));
    }
    for key in [1, 2] {
        bench.submit_keyed(1, deposit(), Some(key));
        bench.pump();
        bench.load_all();
        bench.commit();
    }
    bench.submit(0, deposit());
    bench.pump();
    assert_eq!(bench.loads, [(wallet(0), None)], "forgotten: it was unused for longest");
}
