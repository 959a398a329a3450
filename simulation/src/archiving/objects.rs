//! An object store in memory that fails as the seed says: calls are refused, answers are lost, and a write may land when
//! its writer has given up.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use store::memory::{Fault, FaultPlan};
use tokio::time::sleep;

use super::touched::Touched;
use crate::faults::Faults;
use crate::mistake::Mistake;

/// The objects of all archives, as one process has them.
#[derive(Clone)]
pub struct Objects {
    pub inner: Arc<InMemory>,
    pub faults: Arc<Faults>,
    pub mistake: Mistake,
    /// Of the process.
    pub process: u64,
    pub touched: Arc<Touched>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "objects with faults")
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

fn failed(fault: Fault) -> Error {
    Error::Generic { store: "simulation", source: format!("injected: {fault:?}").into() }
}

/// The folder of an object: what a cell has of a kind.
fn is_of(folder: &str, location: &Path) -> bool {
    location.parts().nth(1).is_some_and(|part| part.as_ref() == folder)
}

impl Objects {
    /// `lands_later`: a write may be done when its process has given it up. Without a condition none is: what an owner's would
    /// do then, seconds after its process died, no rule of the archive prevents.
    async fn write<T, W>(&self, lands_later: bool, write: W) -> Result<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let fate = self.faults.next(true);
        sleep(fate.before).await;
        match fate.fault {
            Fault::None => {
                let done = write.await;
                sleep(fate.after).await;
                return done;
            }
            Fault::AnswerLost => drop(write.await),
            Fault::LandsLater(delay) if lands_later => {
                // It outlives the process that sent it.
                tokio::spawn(async move {
                    sleep(delay).await;
                    drop(write.await);
                });
            }
            Fault::LandsLater(_) | Fault::Refused | Fault::Rejected => {}
        }
        sleep(fate.after).await;
        Err(failed(fate.fault))
    }

    async fn delete_one(self, location: Path) -> Result<Path> {
        if self.mistake == Mistake::OwnersKept {
            return Ok(location);
        }
        let (inner, process, touched) = (self.inner.clone(), self.process, self.touched.clone());
        let delete = async move {
            touched.owner(process, &location);
            inner.delete(&location).await.map(|()| location)
        };
        self.write(false, delete).await
    }
}

#[async_trait]
impl ObjectStore for Objects {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if self.mistake == Mistake::EntryReplaced && is_of("log", location) {
            options.mode = PutMode::Overwrite;
        }
        let lands_later = options.mode == PutMode::Create;
        let (inner, location) = (self.inner.clone(), location.clone());
        let (process, touched) = (self.process, self.touched.clone());
        let put = async move {
            if is_of("owners", &location) {
                touched.owner(process, &location);
            }
            let put = inner.put_opts(&location, payload, options).await;
            if put.is_ok() && is_of("log", &location) {
                touched.appended(process);
            }
            put
        };
        self.write(lands_later, put).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fate = self.faults.next(false);
        sleep(fate.before).await;
        if fate.fault != Fault::None {
            return Err(failed(fate.fault));
        }
        let read = self.inner.get_opts(location, options).await;
        sleep(fate.after).await;
        read
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let objects = self.clone();
        locations.and_then(move |location| objects.clone().delete_one(location)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
