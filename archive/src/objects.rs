//! Objects of one cell in an object store: their names, and what is asked of the store.

use std::fmt;
use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use ledger::block::Hash;
use ledger::canonical;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt, ObjectStoreScheme, PutMode, PutOptions};
use topology::{CellId, WalletId};
use url::Url;

use crate::ArchiveError;

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
    cell: CellId,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Archive of {} in {}", self.cell, self.objects)
    }
}

impl Archive {
    pub fn new(objects: Arc<dyn ObjectStore>, cell: CellId) -> Self {
        Self { objects, cell }
    }

    /// The archive of a cell below a URL: `file:///directory`, which is made if it is not there; `s3://bucket` or
    /// `s3://bucket/prefix`, with credentials and Region from the environment as AWS gives them to a process;
    /// `memory:///` for tests.
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
        let environment = std::env::vars().map(|(name, value)| (name.to_ascii_lowercase(), value));
        let (objects, _) = object_store::parse_url_opts(&parsed, environment).map_err(|error| unsound(&error))?;
        Ok(Self::new(Arc::new(PrefixStore::new(objects, path)), cell))
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
        self.path("owners", &wallet.to_string())
    }

    /// The names of all objects of a folder, in no order.
    pub(crate) fn list(&self, folder: &str) -> BoxStream<'static, Result<String, ArchiveError>> {
        let prefix = Path::from_iter([self.cell.as_str(), folder]);
        let listed = self.objects.list(Some(&prefix)).map_err(ArchiveError::from);
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
        match self.objects.put_opts(path, bytes.into(), PutOptions::from(PutMode::Create)).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// In place of what is there.
    pub(crate) async fn put(&self, path: &Path, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        self.objects.put(path, bytes.into()).await?;
        Ok(())
    }

    pub(crate) async fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, ArchiveError> {
        let object = match self.objects.get(path).await {
            Ok(object) => object,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(object.bytes().await?.into()))
    }

    pub(crate) async fn exists(&self, path: &Path) -> Result<bool, ArchiveError> {
        match self.objects.head(path).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// No error if there is none.
    pub(crate) async fn delete(&self, path: &Path) -> Result<(), ArchiveError> {
        match self.objects.delete(path).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
