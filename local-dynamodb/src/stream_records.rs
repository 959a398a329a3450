//! What the engine's table of stream records lacks: an index, without which each write to a followed table reads all
//! records for the next number; and an end, without which the file holds every change for ever.
//!
//! It must never touch any other table of the engine.

use std::path::Path;

use rusqlite::Connection;

/// An hour of changes is kept, as DynamoDB keeps a day of them. With each 1,000th record the oldest 2,000 go, those of them
/// that are older. The newest one always stays: the next number follows from it.
const ADDITIONS: &str = "
    CREATE INDEX IF NOT EXISTS stream_records_in_order
        ON _stream_records (table_name, CAST(sequence_number AS INTEGER));
    CREATE TRIGGER IF NOT EXISTS stream_records_expire AFTER INSERT ON _stream_records WHEN NEW.id % 1000 = 0
    BEGIN
        DELETE FROM _stream_records
        WHERE id IN (SELECT id FROM _stream_records ORDER BY id LIMIT 2000) AND created_at < NEW.created_at - 3600;
    END;";

/// Adds them to the database at `path`, which the engine has created. Safe to repeat.
pub fn complete(path: &Path) -> rusqlite::Result<()> {
    Connection::open(path)?.execute_batch(ADDITIONS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn records_are_found_by_their_number_and_expire() {
        let folder = std::env::temp_dir().join(format!("local-dynamodb-records-{}", std::process::id()));
        let path = folder.join("db.sqlite");
        let engine = Engine::open(&path).expect("opens");
        let database = Connection::open(&path).expect("opens");
        let insert = |number: i64, at: i64| {
            let text = "INSERT INTO _stream_records
                (table_name, event_name, keys_json, sequence_number, shard_id, created_at) VALUES ('a', '', '', ?1, '', ?2)";
            database.execute(text, [number, at]).expect("written");
        };
        let count = || -> i64 {
            database.query_row("SELECT COUNT(*) FROM _stream_records", [], |row| row.get(0)).expect("answers")
        };
        (1..1_500).for_each(|number| insert(number, NOW - 3_601));
        (1_500..2_000).for_each(|number| insert(number, NOW - 3_600));
        assert_eq!(count(), 1_999, "none is older than an hour before the newest");
        insert(2_000, NOW);
        assert_eq!(count(), 501);
        assert_index(&database);
        drop(engine);
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn a_database_in_memory_has_the_index_too() {
        let name = Path::new("file:/records?vfs=memdb");
        let _engine = Engine::in_memory_at(name).expect("opens");
        assert_index(&Connection::open(name).expect("opens"));
    }

    /// Holds the plan for the query by which the engine finds the next number.
    fn assert_index(database: &Connection) {
        let plan = "EXPLAIN QUERY PLAN SELECT COALESCE(MAX(CAST(sequence_number AS INTEGER)), 0) + 1
            FROM _stream_records WHERE table_name = ?1";
        let plan: String = database.query_row(plan, ["a"], |row| row.get("detail")).expect("answers");
        assert!(plan.contains("INDEX stream_records_in_order"), "{plan}");
    }
}
