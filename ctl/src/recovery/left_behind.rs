//! A command for several cells goes on with those for which it can, and names the others at its end.

use std::future::Future;

use anyhow::Result;
use command_line::{FAILED, failure};
use futures_util::future::join_all;
use topology::CellId;

/// Cells of several that could not be gone on with, each with the reason.
#[derive(Default)]
pub struct LeftBehind(Vec<(CellId, anyhow::Error)>);

impl LeftBehind {
    /// What came of a step, side by side, of the cells for which it succeeded.
    pub async fn each<T>(
        &mut self,
        steps: impl Iterator<Item = (CellId, impl Future<Output = Result<T>>)>,
    ) -> Vec<(CellId, T)> {
        let ended = join_all(steps.map(|(cell, step)| async { (cell, step.await) })).await;
        let sort = |(cell, ended)| match ended {
            Ok(done) => Some((cell, done)),
            Err(error) => {
                self.0.push((cell, error));
                None
            }
        };
        ended.into_iter().filter_map(sort).collect()
    }

    /// Names all of them; of a single one, the error is its own.
    pub fn check(mut self) -> Result<()> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0).1),
            _ => {
                let each = self.0.iter().map(|(cell, error)| format!("{cell}: {error:#}"));
                Err(failure(FAILED, each.collect::<Vec<_>>().join("; ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[tokio::test]
    async fn a_cell_that_fails_holds_up_no_other() {
        let cells = ["a", "b", "c"].map(|id| CellId::parse(id).expect("sound"));
        let mut left = LeftBehind::default();
        let step = async |cell: CellId| if cell.as_str() == "b" { Err(anyhow!("refused")) } else { Ok(1) };
        let done = left.each(cells.iter().map(|cell| (cell.clone(), step(cell.clone())))).await;
        assert_eq!(done, [(cells[0].clone(), 1), (cells[2].clone(), 1)]);
        assert_eq!(
            LeftBehind(vec![(cells[1].clone(), anyhow!("refused"))]).check().expect_err("one is left").to_string(),
            "refused"
        );
        left.each(std::iter::once((cells[2].clone(), step(cells[1].clone())))).await;
        assert_eq!(left.check().expect_err("one is left").to_string(), "b: refused; c: refused");
        assert!(LeftBehind::default().check().is_ok());
    }
}
