//! The keys that the cells of a local fleet sign their checkpoints with: made once, readable by their owner alone, each
//! with its public half beside it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use ledger::checkpoint::SigningKey;

/// Makes the key unless it is there. The public half is written again each time, so that neither can be left alone.
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
    std::fs::write(&public, key.public().to_pem()).with_context(|| format!("cannot write {}", public.display()))
}
