//! A request's head kept for the rare second send: flat bytes in a buffer that is used again and again, which costs a
//! few short copies where cloning a header map would count references and allocate.

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

/// Alternating pieces: request target, then name and value of each header line.
#[derive(Debug, Default)]
pub struct SavedHead {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl SavedHead {
    /// Forgets what was saved before.
    pub fn save(&mut self, uri: &Uri, headers: &HeaderMap) {
        self.bytes.clear();
        self.ends.clear();
        self.push(uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
        for (name, value) in headers {
            self.push(name.as_str().as_bytes());
            self.push(value.as_bytes());
        }
    }

    fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        self.ends.push(u32::try_from(self.bytes.len()).expect("a head is bounded far below 4 GiB"));
    }

    pub fn restore(&self) -> (Uri, HeaderMap) {
        let mut start = 0;
        let mut pieces = self.ends.iter().map(|&end| {
            let end = usize::try_from(end).expect("32 bits fit");
            &self.bytes[std::mem::replace(&mut start, end)..end]
        });
        let uri = pieces.next().and_then(|target| Uri::try_from(target).ok()).expect("it was a request target before");
        let mut headers = HeaderMap::new();
        while let (Some(name), Some(value)) = (pieces.next(), pieces.next()) {
            let name = HeaderName::from_bytes(name).expect("it was a name before");
            headers.append(name, HeaderValue::from_bytes(value).expect("it was a value before"));
        }
        (uri, headers)
    }
}
