#![allow(dead_code)]

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

/// A database in a file of its own, gone at the end.
pub struct SqliteFile {
    pub pool: SqlitePool,
    pub options: SqliteConnectOptions,
    path: std::path::PathBuf,
}

impl SqliteFile {
    pub async fn new() -> Self {
        let name = format!("eventkit-test-{}.sqlite", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let pool = SqlitePoolOptions::new().connect_with(options.clone());
        Self {
            pool: pool.await.unwrap(),
            options,
            path,
        }
    }
}

impl Drop for SqliteFile {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            let mut path = self.path.clone().into_os_string();
            path.push(end);
            let _ = std::fs::remove_file(path);
        }
    }
}
