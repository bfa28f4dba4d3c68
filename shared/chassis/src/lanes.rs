//! Connections for hot reads, without the pool's round trip at each release.

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::database::ACQUIRE_TIMEOUT;

/// Connections that are open at most.
const LANES: usize = 8;

/// Connections for reads of one statement each. The pool asks the database at every release whether
/// a connection is still good, which would double the cost of such a read.
#[derive(Clone)]
pub struct Lanes {
    options: Arc<PgConnectOptions>,
    free: Arc<Mutex<Vec<PgConnection>>>,
    room: Arc<Semaphore>,
}

/// A connection to read on, closed when it is dropped before [`Lane::done`]: nobody gets one with a
/// read half-way, nor one that was lost.
pub struct Lane<'l> {
    lanes: &'l Lanes,
    /// The connection.
    pub db: PgConnection,
    _room: OwnedSemaphorePermit,
}

impl Lanes {
    /// Connections to the database of `pool`, opened when they are needed.
    pub fn beside(pool: &PgPool) -> Self {
        Self {
            options: pool.connect_options(),
            free: Arc::default(),
            room: Arc::new(Semaphore::new(LANES)),
        }
    }

    /// A connection that nobody else reads on, waited for as long as one of the pool.
    pub async fn take(&self) -> sqlx::Result<Lane<'_>> {
        let taken = tokio::time::timeout(ACQUIRE_TIMEOUT, self.wait()).await;
        taken.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    async fn wait(&self) -> sqlx::Result<Lane<'_>> {
        let room = self.room.clone().acquire_owned();
        let room = room.await.map_err(|_| sqlx::Error::PoolClosed)?;
        let db = match self.free(Vec::pop) {
            Some(db) => db,
            None => PgConnection::connect_with(&self.options).await?,
        };
        Ok(Lane {
            lanes: self,
            db,
            _room: room,
        })
    }

    fn free<T>(&self, with: impl FnOnce(&mut Vec<PgConnection>) -> T) -> T {
        with(&mut self.free.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Lane<'_> {
    /// Gives the connection back after `read`; one whose read failed is closed, and so are those
    /// that wait, as they may be lost as well.
    pub fn done<T>(self, read: sqlx::Result<T>) -> sqlx::Result<T> {
        let Self { lanes, db, _room } = self;
        lanes.free(|free| match &read {
            Ok(_) => free.push(db),
            Err(_) => free.clear(),
        });
        read
    }
}
