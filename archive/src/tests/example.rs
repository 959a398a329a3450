//! The example of `docs/archive-format.md`: what the crate writes is, byte for byte, what `scripts/verify-archive` reads.

use std::path::Path;
use std::sync::Arc;

use ledger::{Block, Timestamp, canonical};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use topology::CellId;

use crate::{Archive, Draft, Segment, Verify};

/// The blocks of `docs/ledger-example.jsonl`.
fn blocks(docs: &Path) -> Vec<Block> {
    let lines = std::fs::read_to_string(docs.join("ledger-example.jsonl")).expect("it is there");
    let block = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let digits = |name: &str| line[name].as_str().map(|digits| canonical::from_hex(digits).expect("digits"));
        canonical::decode(&digits("canonical").expect("it has bytes"), digits("sealed").as_deref()).expect("a block")
    };
    lines.lines().map(block).collect()
}

#[tokio::test]
async fn the_example_of_the_format_is_what_is_written() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs");
    let cell = CellId::parse("cell-3").expect("sound");
    let example = LocalFileSystem::new_with_prefix(docs.join("archive-example")).expect("it is there");
    let example = Archive::new(Arc::new(example), cell.clone());
    let written = Archive::new(Arc::new(InMemory::new()), cell);
    let blocks = blocks(&docs);
    let mut last = None;
    for (number, places) in [(1, vec![0, 1, 2]), (2, vec![5, 3, 4, 2])] {
        let segment = Segment { blocks: places.into_iter().map(|place: usize| blocks[place].clone()).collect() };
        let at = segment.times().expect("blocks").1;
        last =
            written.append(last.as_ref(), &Draft { segment, at, position: String::new() }).await.expect("it answers");
        let entry = last.as_ref().expect("alone");
        for path in [written.entry_path(number), written.segment_path(entry.segment)] {
            assert_eq!(example.read(&path).await, written.read(&path).await, "{path}");
        }
    }
    let at = Timestamp::from_micros(1_795_989_241_000_000);
    let fence = written.fence(last.as_ref(), 1, at, String::new()).await.expect("it answers").expect("alone");
    for path in [written.entry_path(3), written.segment_path(fence.segment)] {
        assert_eq!(example.read(&path).await, written.read(&path).await, "{path}");
    }
    let report = example.verify(Verify::default()).await.expect("it answers");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!((report.entries, report.blocks, report.repeated_blocks, report.unnamed_segments), (3, 7, 1, 0));
}
