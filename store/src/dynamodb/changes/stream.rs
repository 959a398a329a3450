//! The calls of DynamoDB's streams, and what is remembered between them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::config::StalledStreamProtectionConfig;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodbstreams::types::{self as streamed, ShardIteratorType};
use tokio::time::Instant;

use super::lineage::{self, Shard};
use super::records::{PAGE_RECORDS, Page};
use crate::StoreError;
use crate::changes::{Position, Taken};
use crate::dynamodb::{Connection, errors, shared_config, tables, timeouts, watched};

/// How long a listing of the shards is believed while it says what follows.
const LISTING_LIFETIME: Duration = Duration::from_secs(60);
/// How long it is believed at least, while it lacks what follows a shard that has ended.
const LISTING_MIN_LIFETIME: Duration = Duration::from_secs(1);
/// Pages of a listing: 100 shards each.
const MAX_LISTING_PAGES: usize = 64;
/// How often the place in a shard is asked for in one reading, after it has expired.
const MAX_PLACES: usize = 3;
/// Places that are remembered.
const MAX_REMEMBERED: usize = 4_096;

const EXPIRED: &str = "ExpiredIteratorException";
const TRIMMED: &str = "TrimmedDataAccessException";
const GONE: &str = "ResourceNotFoundException";
/// The answer to a number that the stream has not given.
const UNKNOWN: &str = "ValidationException";

/// A client for the streams of the same tables.
pub async fn connect_streams(connection: &Connection) -> Client {
    let config = aws_sdk_dynamodbstreams::config::Builder::from(&Box::pin(shared_config(connection)).await);
    let config = config
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts())
        .interceptor(watched::Watched)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    Client::from_conf(config.build())
}

/// The streams of the tables of a cell.
#[derive(Debug, Clone)]
pub struct Streams {
    client: Client,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    listing: Option<Listing>,
    /// Where a shard goes on after what has been taken of it: the iterators of DynamoDB, which expire.
    places: HashMap<(String, Taken), String>,
    turn: usize,
}

/// The shards of a stream, as they were listed at some time.
#[derive(Debug, Clone)]
pub struct Listing {
    pub stream: String,
    pub shards: Arc<[Shard]>,
    at: Instant,
}

impl Listing {
    fn is_enough(&self, position: &Position) -> bool {
        let is_of_it = position.stream.as_ref().is_none_or(|stream| *stream == self.stream);
        let lifetime = match is_of_it && lineage::is_enough(position, &self.shards) {
            true => LISTING_LIFETIME,
            false => LISTING_MIN_LIFETIME,
        };
        self.at.elapsed() < lifetime
    }
}

impl Streams {
    pub fn new(client: Client) -> Self {
        Self { client, known: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest listing, if it is enough to go on from a position.
    pub fn listing(&self, position: &Position) -> Option<Listing> {
        self.known().listing.as_ref().filter(|listing| listing.is_enough(position)).cloned()
    }

    /// Lists the shards of a table's stream.
    pub async fn list(&self, tables: &aws_sdk_dynamodb::Client, table: &str) -> Result<Listing, StoreError> {
        let stream = tables::stream_of(tables, table).await?;
        let (mut shards, mut after) = (Vec::new(), None);
        for _ in 0..MAX_LISTING_PAGES {
            let page = self.client.describe_stream().stream_arn(&stream).set_exclusive_start_shard_id(after);
            let answer = page.send().await.map_err(|error| self.failed(&error))?;
            let described = answer.stream_description.unwrap_or_else(|| streamed::StreamDescription::builder().build());
            shards.extend(described.shards.unwrap_or_default().into_iter().filter_map(shard));
            after = described.last_evaluated_shard_id;
            if after.is_none() {
                let listing = Listing { stream, shards: shards.into(), at: Instant::now() };
                self.known().listing = Some(listing.clone());
                return Ok(listing);
            }
        }
        Err(StoreError::Rejected(format!("the stream of {table} has more than {MAX_LISTING_PAGES} pages of shards")))
    }

    /// Which of so many shards is read first this time, so that none waits for ever.
    pub fn first_of(&self, shards: usize) -> usize {
        let mut known = self.known();
        let turn = known.turn;
        known.turn = turn.wrapping_add(1);
        turn.checked_rem(shards).unwrap_or(0)
    }

    /// What follows in a shard after what has been taken of it.
    pub async fn page(&self, stream: &str, shard: &str, taken: &Taken) -> Result<Page, StoreError> {
        let mut remembered = self.known().places.remove(&(shard.to_owned(), taken.clone()));
        let (mut taken, mut lost) = (taken, false);
        for _ in 0..MAX_PLACES {
            let is_beginning = remembered.is_none() && *taken == Taken::Nothing;
            let place = match remembered.take() {
                Some(place) => Some(place),
                None => self.place(stream, shard, taken).await?,
            };
            if let Some(place) = place {
                match self.client.get_records().shard_iterator(place).limit(PAGE_RECORDS).send().await {
                    Ok(answer) => return Ok(Page::of(answer, lost)),
                    Err(error) if error.code() == Some(EXPIRED) => continue,
                    Err(error) if error.code() == Some(TRIMMED) => {}
                    Err(error) => return Err(self.failed(&error)),
                }
            }
            if is_beginning {
                // Listed, and not even its beginning is kept: there will be no more in it.
                return Ok(Page { lost: true, ..Page::default() });
            }
            (taken, lost) = (&Taken::Nothing, true);
        }
        Err(StoreError::Unavailable(format!("each place in shard {shard} had expired at once")))
    }

    /// Remembers where a shard goes on.
    pub fn remember(&self, shard: &str, taken: &Taken, place: String) {
        let places = &mut self.known().places;
        if places.len() >= MAX_REMEMBERED {
            places.clear();
        }
        places.insert((shard.to_owned(), taken.clone()), place);
    }

    /// Where a shard goes on; `None`: what follows there is not kept any more, or nothing is known of it.
    async fn place(&self, stream: &str, shard: &str, taken: &Taken) -> Result<Option<String>, StoreError> {
        let ask = self.client.get_shard_iterator().stream_arn(stream).shard_id(shard);
        let ask = match taken {
            Taken::Upto(number) => {
                ask.shard_iterator_type(ShardIteratorType::AfterSequenceNumber).sequence_number(number)
            }
            Taken::Nothing | Taken::All => ask.shard_iterator_type(ShardIteratorType::TrimHorizon),
        };
        match ask.send().await {
            Ok(answer) => {
                let missing = || StoreError::Unavailable(format!("no place in shard {shard} was answered"));
                answer.shard_iterator.map(Some).ok_or_else(missing)
            }
            Err(error) if matches!(error.code(), Some(TRIMMED | UNKNOWN)) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed<E>(&self, error: &SdkError<E>) -> StoreError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        if error.code() != Some(GONE) {
            return errors::read_failed(error);
        }
        // A shard has expired since it was listed, or the table was replaced.
        self.known().listing = None;
        StoreError::Unavailable("the shards of the stream have changed".into())
    }
}

fn shard(described: streamed::Shard) -> Option<Shard> {
    let first = described.sequence_number_range.and_then(|range| range.starting_sequence_number);
    Some(Shard { id: described.shard_id?, parent: described.parent_shard_id, first })
}
