//! The keys that the cells of a local fleet sign their checkpoints with: made once, readable by their owner alone, each
//! with its public half beside it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use ledger::checkpoint::{PublicKey, SigningKey};

/// Makes the key unless it is there, and puts its public half beside it; public keys that are there already stay, since
/// older checkpoints are verified with them.
pub fn create(path: &Path) -> Result<()> {
    let fresh = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match fresh {
        Ok(mut file) => {
            file.write_all(SigningKey::generate()?.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("cannot write {}", path.display())),
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let key = SigningKey::from_pem(&text).with_context(|| format!("{} holds no key", path.display()))?;
    let public = path.with_extension("pub");
    let known = std::fs::read_to_string(&public).unwrap_or_default();
    if PublicKey::all_from_pem(&known).is_ok_and(|keys| keys.contains(&key.public())) {
        return Ok(());
    }
    std::fs::write(&public, known + &key.public().to_pem())
        .with_context(|| format!("cannot write {}", public.display()))
}
