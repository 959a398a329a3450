//! Objects of one cell in an object store: their names, and what is asked of the store.

use std::fmt;
use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use ledger::block::Hash;
use ledger::canonical;
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt, ObjectStoreScheme, PutMode, PutOptions};
use topology::{CellId, WalletId};
use url::Url;

use crate::ArchiveError;
use crate::http::Connector;
use crate::packs::PACK_BLOCKS;

const OWNERS: &str = "owners";

/// How much is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    pub segments: u64,
    pub bytes: u64,
}

/// The archive of one cell.
#[derive(Clone)]
pub struct Archive {
    objects: Arc<dyn ObjectStore>,
    /// Has the owners of wallets: of S3 another bucket, since those of the segments cannot be deleted.
    owners: Arc<dyn ObjectStore>,
    cell: CellId,
    pub(crate) pack_blocks: u64,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Archive of {} in {}", self.cell, self.objects)
    }
}

impl Archive {
    pub fn new(objects: Arc<dyn ObjectStore>, cell: CellId) -> Self {
        Self { owners: Arc::clone(&objects), objects, cell, pack_blocks: PACK_BLOCKS }
    }

    /// The archive of a cell below a URL: `file:///directory`, which is made if it is not there; `s3://bucket` or
    /// `s3://bucket/prefix`, with owners in `bucket-owners`, and with credentials and Region from the environment as AWS
    /// gives them to a process; `memory:///` for tests.
    pub fn open(url: &str, cell: CellId) -> Result<Self, ArchiveError> {
        if let Some(directory) = Url::parse(url).ok().and_then(|url| url.to_file_path().ok()) {
            let made = std::fs::create_dir_all(&directory);
            made.map_err(|error| ArchiveError::unsound(format!("{} cannot be made: {error}", directory.display())))?;
        }
        Self::open_to_read(url, cell)
    }

    /// The same, but a directory has to be there: a wrong one must not pass for an empty archive.
    pub fn open_to_read(url: &str, cell: CellId) -> Result<Self, ArchiveError> {
        let unsound =
            |error: &dyn fmt::Display| ArchiveError::unsound(format!("{url:?} is no URL of an archive: {error}"));
        let parsed = Url::parse(url).map_err(|error| unsound(&error))?;
        let (scheme, path) = ObjectStoreScheme::parse(&parsed).map_err(|error| unsound(&error))?;
        if scheme == ObjectStoreScheme::Local {
            let directory = parsed.to_file_path().map_err(|()| unsound(&"it names no directory of this machine"))?;
            let objects = LocalFileSystem::new_with_prefix(&directory).map_err(|error| unsound(&error))?;
            return Ok(Self::new(Arc::new(objects.with_fsync(true)), cell));
        }
        if scheme == ObjectStoreScheme::AmazonS3 {
            let at = |url: &Url| -> Result<Arc<dyn ObjectStore>, ArchiveError> {
                let bucket = bucket(url).build().map_err(|error| unsound(&error))?;
                Ok(Arc::new(PrefixStore::new(bucket, path.clone())))
            };
            let owners = owners_url(&parsed).ok_or_else(|| unsound(&"it names no bucket"))?;
            return Ok(Self { objects: at(&parsed)?, owners: at(&owners)?, cell, pack_blocks: PACK_BLOCKS });
        }
        let (objects, _) = object_store::parse_url(&parsed).map_err(|error| unsound(&error))?;
        Ok(Self::new(Arc::new(PrefixStore::new(objects, path)), cell))
    }

    /// The same with shorter packs, which cannot be read with those of the usual length: for simulations.
    pub fn with_packs_of(self, pack_blocks: u64) -> Self {
        Self { pack_blocks, ..self }
    }

    /// The archive of another cell at the same place.
    pub fn of(&self, cell: CellId) -> Self {
        Self { cell, ..self.clone() }
    }

    pub fn cell(&self) -> &CellId {
        &self.cell
    }

    fn path(&self, folder: &str, name: &str) -> Path {
        Path::from_iter([self.cell.as_str(), folder, name])
    }

    pub(crate) fn entry_path(&self, number: u64) -> Path {
        self.path("log", &format!("{number:020}"))
    }

    pub(crate) fn segment_path(&self, hash: Hash) -> Path {
        self.path("segments", &canonical::hex(&hash.0))
    }

    pub(crate) fn owner_path(&self, wallet: WalletId) -> Path {
        self.path(OWNERS, &wallet.to_string())
    }

    fn store_of(&self, path: &Path) -> &Arc<dyn ObjectStore> {
        let is_owner = path.parts().nth(1).is_some_and(|folder| folder.as_ref() == OWNERS);
        if is_owner { &self.owners } else { &self.objects }
    }

    /// The names of all objects of a folder, in no order.
    pub(crate) fn list(&self, folder: &str) -> BoxStream<'static, Result<String, ArchiveError>> {
        let prefix = Path::from_iter([self.cell.as_str(), folder]);
        let listed = self.store_of(&prefix).list(Some(&prefix)).map_err(ArchiveError::from);
        let name = move |object: ObjectMeta| {
            let parts = object.location.prefix_match(&prefix).map(|parts| parts.map(|part| part.as_ref().to_owned()));
            parts.map_or_else(String::new, |parts| parts.collect::<Vec<_>>().join("/"))
        };
        listed.map_ok(name).boxed()
    }

    /// The segments that are there, whether an entry names them or not.
    pub async fn size(&self) -> Result<Size, ArchiveError> {
        let listed = self.objects.list(Some(&Path::from_iter([self.cell.as_str(), "segments"])));
        let add = async |size: Size, object: ObjectMeta| {
            Ok(Size { segments: size.segments + 1, bytes: size.bytes + object.size })
        };
        Ok(listed.try_fold(Size::default(), add).await?)
    }

    /// `false`: there is one of this name.
    pub(crate) async fn create(&self, path: &Path, bytes: Vec<u8>) -> Result<bool, ArchiveError> {
        match self.store_of(path).put_opts(path, bytes.into(), PutOptions::from(PutMode::Create)).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// In place of what is there.
    pub(crate) async fn put(&self, path: &Path, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        self.store_of(path).put(path, bytes.into()).await?;
        Ok(())
    }

    pub(crate) async fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, ArchiveError> {
        let object = match self.store_of(path).get(path).await {
            Ok(object) => object,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(object.bytes().await?.into()))
    }

    pub(crate) async fn exists(&self, path: &Path) -> Result<bool, ArchiveError> {
        match self.store_of(path).head(path).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The names in a folder that come after this object's.
    pub(crate) async fn names_after(&self, folder: &str, object: &Path) -> Result<Vec<String>, ArchiveError> {
        let within = Path::from_iter([self.cell.as_str(), folder]);
        let found: Vec<_> = self.store_of(object).list_with_offset(Some(&within), object).try_collect().await?;
        Ok(found.iter().filter_map(|object| object.location.filename().map(str::to_owned)).collect())
    }

    /// No error if there is none.
    pub(crate) async fn delete(&self, path: &Path) -> Result<(), ArchiveError> {
        match self.store_of(path).delete(path).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// With credentials and Region from the environment. A bucket with Object Lock takes only objects with a checksum.
fn bucket(url: &Url) -> AmazonS3Builder {
    let settings = std::env::vars().filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)));
    let builder = settings.fold(AmazonS3Builder::new(), |builder, (key, value)| builder.with_config(key, value));
    builder.with_url(url.as_str()).with_checksum_algorithm(Checksum::SHA256).with_http_connector(Connector)
}

/// Where the owners are, if not beside the segments.
fn owners_url(url: &Url) -> Option<Url> {
    let bucket = url.host_str().filter(|_| url.scheme() == "s3")?;
    let mut owners = url.clone();
    owners.set_host(Some(&format!("{bucket}-owners"))).ok()?;
    Some(owners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_have_a_bucket_of_their_own_on_s3() {
        let of = |url: &str| owners_url(&Url::parse(url).expect("a URL")).map(String::from);
        assert_eq!(
            of("s3://bank-archive-400000000000/a/b").as_deref(),
            Some("s3://bank-archive-400000000000-owners/a/b")
        );
        assert_eq!(of("file:///var/archive"), None);
        let cell = CellId::parse("cell-1").expect("sound");
        assert!(Archive::open("s3://bank-archive-400000000000", cell).is_ok(), "nothing is asked before it is used");
    }
}
