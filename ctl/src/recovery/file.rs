//! An export of a cell: a line that says what it is, a line for each block in the form of `ctl ledger export`, chain after
//! chain, and a line that says how much it was, so that a file that was cut off is known for one.

use std::io::{BufRead, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use control_api::ledgers::ExportedOwner;
use ledger::{Block, canonical, moving};
use serde::{Deserialize, Serialize};
use topology::CellId;

use super::{Exported, open};

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    cell_export: CellId,
    format: u32,
    exported_at: String,
}

#[derive(Serialize, Deserialize)]
struct Foot {
    end: bool,
    wallets: u64,
    blocks: u64,
}

#[derive(Deserialize)]
struct Line {
    hash: String,
    canonical: String,
    sealed: Option<String>,
    owner: Option<ExportedOwner>,
}

/// All that the file holds of one wallet.
pub struct Chain {
    /// Absent if the wallet's personal data is erased.
    pub owner: Option<ExportedOwner>,
    pub blocks: Vec<Block>,
}

/// A file that is being written; it gets its name once it is whole.
pub struct Exporting {
    path: PathBuf,
    next: PathBuf,
    out: BufWriter<std::fs::File>,
    done: Exported,
}

impl Exporting {
    pub fn create(path: &Path, cell: &CellId) -> Result<Self> {
        let next = path.with_extension("partial");
        let file = std::fs::File::create(&next).with_context(|| format!("cannot write {}", next.display()))?;
        let mut out = BufWriter::new(file);
        let head = Head { cell_export: cell.clone(), format: FORMAT, exported_at: control_api::now_rfc3339() };
        writeln!(out, "{}", serde_json::to_string(&head)?)?;
        Ok(Self { path: path.to_owned(), next, out, done: Exported::default() })
    }

    /// Blocks in order, each as one line; the owner is in that of the first.
    pub fn blocks(&mut self, lines: &[serde_json::Value], mut owner: Option<ExportedOwner>) -> Result<()> {
        for line in lines {
            let mut line = line.clone();
            if let Some(owner) = owner.take() {
                line["owner"] = serde_json::to_value(owner)?;
            }
            self.done.wallets += u64::from(line["number"] == 0);
            self.done.blocks += 1;
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<Exported> {
        let foot = Foot { end: true, wallets: self.done.wallets, blocks: self.done.blocks };
        writeln!(self.out, "{}", serde_json::to_string(&foot)?)?;
        self.out.into_inner().context("cannot write")?.sync_all()?;
        std::fs::rename(&self.next, &self.path).with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(self.done)
    }
}

/// A file that has been read once and is whole.
pub struct Export {
    path: PathBuf,
    pub exported_at: String,
}

impl Export {
    /// Checks all of it: that it is of this cell, that nothing is missing, and every hash and link.
    pub fn read(path: &Path, cell: &CellId) -> Result<Self> {
        let first = open(path)?.lines().next().context("an empty file")??;
        let head: Head = serde_json::from_str(&first).with_context(|| format!("{} is no export", path.display()))?;
        ensure!(head.format == FORMAT, "an export of format {}, not {FORMAT}", head.format);
        ensure!(head.cell_export == *cell, "an export of {}, not of {cell}", head.cell_export);
        let export = Self { path: path.to_owned(), exported_at: head.exported_at };
        let (mut wallets, mut blocks) = (0, 0);
        let mut chains = export.chains();
        for chain in chains.by_ref() {
            let chain = chain?.blocks;
            wallets += 1;
            blocks += chain.len() as u64;
            let is_whole = moving::check_links(None, &chain);
            is_whole.with_context(|| format!("the chain of wallet {} is broken", chain[0].wallet))?;
        }
        let foot = chains.foot.context("the file was cut off: it has no last line")?;
        ensure!(foot.end && (foot.wallets, foot.blocks) == (wallets, blocks), "chains are missing from the file");
        Ok(export)
    }

    pub fn chains(&self) -> Chains {
        Chains { path: self.path.clone(), lines: None, ahead: None, foot: None }
    }
}

/// Chain by chain, so that no more than one is held.
pub struct Chains {
    path: PathBuf,
    lines: Option<std::io::Lines<std::io::BufReader<std::fs::File>>>,
    /// The beginning of the next chain.
    ahead: Option<Chain>,
    foot: Option<Foot>,
}

impl Chains {
    fn chain(&mut self) -> Result<Option<Chain>> {
        if self.lines.is_none() {
            let mut lines = open(&self.path)?.lines();
            lines.next().transpose()?;
            self.lines = Some(lines);
        }
        let mut chain = self.ahead.take();
        let lines = self.lines.as_mut().expect("just opened");
        for line in lines {
            let line = line?;
            if let Ok(foot) = serde_json::from_str::<Foot>(&line) {
                self.foot = Some(foot);
                break;
            }
            let (owner, block) = block(&line)?;
            match &mut chain {
                Some(chain) if chain.blocks[0].wallet == block.wallet => chain.blocks.push(block),
                Some(_) => {
                    self.ahead = Some(Chain { owner, blocks: vec![block] });
                    break;
                }
                None => chain = Some(Chain { owner, blocks: vec![block] }),
            }
        }
        Ok(chain)
    }
}

impl Iterator for Chains {
    type Item = Result<Chain>;

    fn next(&mut self) -> Option<Self::Item> {
        self.chain().transpose()
    }
}

fn block(line: &str) -> Result<(Option<ExportedOwner>, Block)> {
    let Line { hash, canonical: digits, sealed, owner } =
        serde_json::from_str(line).context("a line that is no block")?;
    let text = sealed.map_or(digits.clone(), |sealed| format!("{digits}.{sealed}"));
    let block = canonical::from_text(&text).context("a block that cannot be read")?;
    ensure!(block.hash.to_string() == hash, "block {} of wallet {} has another hash", block.number, block.wallet);
    Ok((owner, block))
}
