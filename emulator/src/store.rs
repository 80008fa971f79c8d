//! State: one SQLite database, written and read by one thread.
//!
//! Work is handed to that thread as closures. It takes all that wait, runs them in one
//! transaction, commits, and only then lets their callers go on; so whatever was answered is
//! stored. The journal is a write-ahead log with `synchronous=NORMAL`: what was answered survives
//! the death of the process (`kill -9`), not a power cut.

pub(crate) mod certificates;
pub(crate) mod devices;
pub(crate) mod enrollments;
pub(crate) mod registrations;
mod schema;
pub(crate) mod telemetry;

use std::path::Path;

use rusqlite::types::Type;
use rusqlite::{
    Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior, params,
};
use tokio::sync::{mpsc, oneshot};

/// Jobs in one transaction, at most.
const BATCH: usize = 512;

/// Why the state could not be read or written.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum StoreError {
    #[error("{0}")]
    Database(String),
    #[error("the emulator is stopping")]
    Closed,
    #[error("the hub has no such device")]
    NoSuchDevice,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy) => "another process uses the file".to_owned(),
            Some(ErrorCode::NotADatabase) => "the file is not an emulator's database".to_owned(),
            _ => error.to_string(),
        })
    }
}

/// The handle to the writer thread, which ends when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct Store {
    orders: mpsc::Sender<Order>,
}

/// Work to do now (or to give up, where no transaction could begin); what it returns is told,
/// after the transaction ended, how it ended.
type Job = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Deliver + Send>;
type Deliver = Box<dyn FnOnce(Result<(), StoreError>)>;

enum Order {
    Work(Job),
    Close(oneshot::Sender<()>),
}

impl Store {
    /// Opens or makes the file (`None`: memory) and lets `prepare` look at it before the thread
    /// takes it over.
    pub(crate) fn open<T, E: From<StoreError>>(
        path: Option<&Path>,
        prepare: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<(Self, T), E> {
        let db = schema::open(path)?;
        let prepared = prepare(&db)?;
        let (orders, inbox) = mpsc::channel(2 * BATCH);
        std::thread::Builder::new()
            .name("dps-emulator-store".to_owned())
            .spawn(move || serve(db, inbox))
            .map_err(|error| StoreError::Database(error.to_string()))?;
        Ok((Self { orders }, prepared))
    }

    /// Runs `work` in the next transaction and resolves after its commit. An error of `work`
    /// takes back what it wrote, and only that.
    pub(crate) async fn run<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.hand_in(work).await?.await
    }

    /// The first half of [`run`](Self::run): resolves when `work` has its place in the queue,
    /// with the future of its outcome. Work handed in one after the other is done in that order.
    pub(crate) async fn hand_in<T, E, W>(
        &self,
        work: W,
    ) -> Result<impl Future<Output = Result<T, E>> + Send + use<T, E, W>, E>
    where
        W: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |db| {
            let outcome = db.map_err(E::from).and_then(|db| in_savepoint(db, work));
            Box::new(move |committed| {
                // A caller that went away needs no answer.
                let _ = answer.send(committed.map_err(E::from).and(outcome));
            })
        });
        self.orders.send(Order::Work(job)).await.map_err(|_| StoreError::Closed)?;
        Ok(async move { answered.await.map_err(|_| StoreError::Closed)? })
    }

    /// Commits all work handed in before, then closes the file; resolves when that is done.
    pub(crate) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.orders.send(Order::Close(answer)).await.is_ok() {
            // An error says the thread has ended, which is what is waited for.
            let _ = answered.await;
        }
    }
}

fn in_savepoint<T, E: From<StoreError>>(
    db: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    step(db, "SAVEPOINT job")?;
    let outcome = work(db);
    if outcome.is_err() {
        step(db, "ROLLBACK TO job")?;
    }
    step(db, "RELEASE job")?;
    outcome
}

fn step(db: &Connection, statement: &str) -> Result<(), StoreError> {
    db.prepare_cached(statement)?.execute([])?;
    Ok(())
}

fn serve(db: Connection, mut inbox: mpsc::Receiver<Order>) {
    while let Some(first) = inbox.blocking_recv() {
        let mut jobs = Vec::new();
        let mut closing = None;
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Work(job) => jobs.push(job),
                Order::Close(answer) => {
                    closing = Some(answer);
                    break;
                }
            }
            next = if jobs.len() < BATCH { inbox.try_recv().ok() } else { None };
        }
        run_batch(&db, jobs);
        if let Some(answer) = closing {
            inbox.close();
            // Jobs that came too late are dropped, which tells their callers `Closed`.
            while inbox.try_recv().is_ok() {}
            // Closing folds the log into the file and gives its lock back; only then is it said.
            drop(db);
            let _ = answer.send(());
            return;
        }
    }
}

fn run_batch(db: &Connection, jobs: Vec<Job>) {
    let (delivers, ended): (Vec<Deliver>, _) =
        match Transaction::new_unchecked(db, TransactionBehavior::Immediate) {
            Ok(transaction) => {
                let delivers = jobs.into_iter().map(|job| job(Ok(db))).collect();
                (delivers, transaction.commit().map_err(StoreError::from))
            }
            Err(error) => {
                let error = StoreError::from(error);
                let delivers = jobs.into_iter().map(|job| job(Err(error.clone()))).collect();
                (delivers, Err(error))
            }
        };
    if let Err(error) = &ended {
        tracing::error!("a batch was not stored: {error}");
    }
    for deliver in delivers {
        deliver(ended.clone());
    }
}

/// What the file holds is not what this emulator wrote there.
fn unreadable(column: usize, error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Database(error.to_string()))
}

/// A small named value, such as the root key of the emulator's own TLS certificate.
pub(crate) fn blob(db: &Connection, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(db
        .prepare_cached("SELECT value FROM blobs WHERE name = ?1")?
        .query_row(params![name], |row| row.get(0))
        .optional()?)
}

pub(crate) fn put_blob(db: &Connection, name: &str, value: &[u8]) -> Result<(), StoreError> {
    db.prepare_cached("INSERT OR REPLACE INTO blobs (name, value) VALUES (?1, ?2)")?
        .execute(params![name, value])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: Option<&Path>) -> Result<Store, StoreError> {
        Store::open(path, |_| Ok(())).map(|(store, ())| store)
    }

    #[tokio::test]
    async fn a_failed_job_takes_back_only_its_own_writes() {
        let store = open(None).expect("open");
        let good = store.run(|db| put_blob(db, "good", b"1"));
        let bad = store.run(|db| -> Result<(), StoreError> {
            put_blob(db, "bad", b"1")?;
            Err(StoreError::NoSuchDevice)
        });
        let (good, bad) = tokio::join!(good, bad);
        assert_eq!(good, Ok(()));
        assert_eq!(bad, Err(StoreError::NoSuchDevice));
        let kept = store.run(|db| Ok::<_, StoreError>((blob(db, "good")?, blob(db, "bad")?)));
        assert_eq!(kept.await, Ok((Some(b"1".to_vec()), None)));
    }

    #[tokio::test]
    async fn what_was_answered_is_in_the_file_and_a_closed_store_says_so() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state.db");
        let store = open(Some(&path)).expect("open");
        store.run(|db| put_blob(db, "name", b"value")).await.expect("stored");
        store.close().await;
        assert_eq!(store.run(|db| blob(db, "name")).await, Err(StoreError::Closed));
        let store = open(Some(&path)).expect("open again");
        assert_eq!(store.run(|db| blob(db, "name")).await, Ok(Some(b"value".to_vec())));
    }

    #[tokio::test]
    async fn a_file_in_use_is_refused_and_its_owner_not_disturbed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state.db");
        let store = open(Some(&path)).expect("open");
        let refusal = open(Some(&path)).err().expect("refused").to_string();
        assert!(refusal.contains("another process uses the file"), "{refusal}");
        assert_eq!(store.run(|db| put_blob(db, "name", b"value")).await, Ok(()));
    }

    #[test]
    fn a_file_of_something_else_is_refused_untouched() {
        let folder = tempfile::tempdir().expect("folder");
        let text = folder.path().join("notes.txt");
        std::fs::write(&text, "These are my notes, not a database. ".repeat(100)).expect("write");
        let before = std::fs::read(&text).expect("read");
        let refusal = open(Some(&text)).err().expect("refused").to_string();
        assert!(refusal.contains("notes.txt: the file is not"), "{refusal}");
        assert_eq!(std::fs::read(&text).expect("read"), before);

        let other = folder.path().join("other.db");
        let db = Connection::open(&other).expect("open");
        db.execute_batch("CREATE TABLE birds (name TEXT)").expect("table");
        drop(db);
        let refusal = open(Some(&other)).err().expect("refused").to_string();
        assert!(refusal.contains("another program"), "{refusal}");

        let newer = folder.path().join("newer.db");
        drop(schema::open(Some(&newer)).expect("made"));
        let db = Connection::open(&newer).expect("open");
        db.pragma_update(None, "user_version", 99).expect("version");
        drop(db);
        let refusal = open(Some(&newer)).err().expect("refused").to_string();
        assert!(refusal.contains("schema 99"), "{refusal}");
    }
}
