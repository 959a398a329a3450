//! The right to create wallets: never two cells have it for one bucket, and when all is done one has.

use store::HomeKey;

use crate::placement::{GROUPS, group};
use crate::report::{Violation, violated};
use crate::world::World;

pub fn at_most_one_cell_creates(world: &World) -> Result<(), Violation> {
    check(world, |cells| cells.len() <= 1)
}

pub fn every_bucket_has_a_cell_that_creates(world: &World) -> Result<(), Violation> {
    check(world, |cells| cells.len() == 1)
}

fn check(world: &World, sound: impl Fn(&[usize]) -> bool) -> Result<(), Violation> {
    let rows: Vec<_> = world.cells.iter().map(|cell| cell.store.home_rows()).collect();
    for bucket in (0..GROUPS).flat_map(|number| [group(number).first, group(number).last]) {
        let creates = |cell: &usize| world.cells[*cell].store.creates_in(bucket);
        let cells: Vec<usize> = (0..rows.len()).filter(creates).collect();
        if !sound(&cells) {
            let rows: Vec<_> = rows.iter().map(|rows| rows.get(&HomeKey::Bucket(bucket))).collect();
            return violated(format!("bucket {bucket}: wallets are created by the cells {cells:?}: {rows:?}"));
        }
    }
    Ok(())
}
