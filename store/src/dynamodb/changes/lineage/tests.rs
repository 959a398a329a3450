//! Tables of cases. A listing is written as `parent>shard`, a position as `shard:what was taken`.

use super::*;

fn listing(text: &str) -> Vec<Shard> {
    let shard = |text: &str| match text.split_once('>') {
        Some((parent, id)) => Shard { id: id.into(), parent: Some(parent.into()), first: Some("100".into()) },
        None => Shard { id: text.into(), parent: None, first: Some("100".into()) },
    };
    text.split_whitespace().map(shard).collect()
}

fn position(text: &str) -> Position {
    let taken = |text: &str| match text {
        "-" => Taken::Nothing,
        "all" => Taken::All,
        number => Taken::Upto(number.into()),
    };
    let shards = text.split_whitespace().map(|text| text.split_once(':').expect("shard:taken"));
    Position { stream: None, shards: shards.map(|(id, text)| (id.to_owned(), taken(text))).collect() }
}

#[test]
fn a_shard_is_read_once_its_parent_has_been() {
    for (before, listed, after, lost) in [
        // At the start: all that has no parent, or one that has expired.
        ("", "a", "a:-", false),
        ("", "a b a>c", "a:- b:-", false),
        ("", "gone>a a>b", "a:-", false),
        ("", "", "", false),
        // Nothing new.
        ("a:150", "a", "a:150", false),
        // A shard waits for its parent.
        ("a:150", "a a>b", "a:150", false),
        ("a:all", "a a>b", "b:-", false),
        ("a:all", "a", "a:all", false),
        // A split; its halves are split at other times.
        ("a:all", "a a>b a>c", "b:- c:-", false),
        ("b:all c:150", "a a>b a>c b>d b>e", "c:150 d:- e:-", false),
        // The other half was listed later.
        ("b:150", "a a>b a>c", "b:150 c:-", false),
        // What has been read may expire.
        ("b:150", "a>b", "b:150", false),
        ("a:all", "a>b", "b:-", false),
        ("b:150", "x", "x:-", true),
        // What has not been read was lost with its shard, and with the shards between.
        ("a:150", "a>b", "b:-", true),
        ("a:all", "b>c", "c:-", true),
        ("a:all b:150", "b gone>c", "b:150 c:-", true),
        // The first records of a shard have gone.
        ("a:99", "a", "a:-", true),
        ("a:100", "a", "a:100", false),
        ("a:1000", "a", "a:1000", false),
        // A generation is passed by where it was read already.
        ("c:150", "a a>b b>c", "c:150", false),
        ("c:all", "a a>b b>c c>d", "d:-", false),
        // One has ended, the other has not; the next generations of both are listed.
        ("a:all b:150", "a b a>c b>d c>e", "b:150 c:-", false),
    ] {
        let mut moved = position(before);
        let found = advance(&mut moved, &listing(listed));
        assert_eq!((&moved, found), (&position(after), lost), "{before:?} with {listed:?}");
        let again = advance(&mut moved, &listing(listed));
        assert_eq!((&moved, again), (&position(after), false), "the second time: {before:?} with {listed:?}");
    }
}

#[test]
fn every_shard_is_read_once_in_any_order() {
    let listed = listing("a a>b a>c b>d b>e c>f d>g");
    for seed in 0..100_usize {
        let (mut position, mut read) = (Position::default(), Vec::<String>::new());
        for step in 0..listed.len() {
            assert!(!advance(&mut position, &listed));
            let open: Vec<_> = position.shards.iter().filter(|(_, taken)| **taken != Taken::All).collect();
            let (id, _) = open[(seed / (step + 1)) % open.len()];
            let parent = listed.iter().find(|shard| shard.id == *id).and_then(|shard| shard.parent.clone());
            assert!(parent.is_none_or(|parent| read.contains(&parent)), "{id} before its parent");
            let id = id.clone();
            position.shards.insert(id.clone(), Taken::All);
            read.push(id);
        }
        read.sort();
        assert_eq!(read, ["a", "b", "c", "d", "e", "f", "g"]);
    }
}

#[test]
fn a_listing_is_enough_while_it_shows_what_follows() {
    for (at, listed, enough) in [
        ("", "", false),
        ("", "a", true),
        ("a:150", "a", true),
        ("a:150", "b", false),
        ("a:all", "a", false),
        ("a:all", "a a>b", true),
        ("a:all b:150", "a b", false),
    ] {
        assert_eq!(is_enough(&position(at), &listing(listed)), enough, "{at:?} with {listed:?}");
    }
}

#[test]
fn the_newest_shards_have_none_after_them() {
    let newest = newest("stream", &listing("a b a>c a>d d>e"));
    assert_eq!(newest, Position { stream: Some("stream".into()), ..position("b:- c:- e:-") });
    assert!(is_followed("a", &listing("a a>b")) && !is_followed("b", &listing("a a>b")));
}
