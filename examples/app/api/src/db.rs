//! The database: a pool that connects when it is first used, and the migrations that are part of the program.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Row};

/// Connections at most: the database server is small and has other clients.
const MAX_CONNECTIONS: u32 = 10;
/// A request gives up on a database that is down after this time.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Version, name and text of every migration; `migrations/` and this list are held equal by a test.
const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "observations", include_str!("../migrations/0001_observations.sql"))];

/// A migration as the client sees it.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct AppliedMigration {
    pub version: i64,
    pub description: String,
}

/// A pool that has not connected yet: the server starts, and lives, without its database.
pub fn lazy_pool(options: &PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A query that nobody waits for any more must not hold one of the few connections.
        .connect_lazy_with(options.clone().options([("statement_timeout", "15s")]))
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS
        .iter()
        .map(|&(version, name, sql)| {
            Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, Cow::Borrowed(sql), false)
        })
        .collect();
    Migrator {
        migrations: Cow::Owned(migrations),
        // After a rollback the database knows migrations which the older program does not: they are additive.
        ignore_missing: true,
        // The lock is taken around more than the run, by `migrate`.
        locking: false,
        ..Migrator::DEFAULT
    }
}

/// Apply what is missing, one caller at a time, and name what this call applied.
///
/// The connection is not one of the pool: whatever happens, closing it frees the advisory lock.
pub async fn migrate(options: &PgConnectOptions) -> Result<Vec<AppliedMigration>, MigrateError> {
    // Without the notices: that something exists already is the usual case.
    let settings = [("lock_timeout", "60s"), ("client_min_messages", "warning")];
    let mut connection = options.clone().options(settings).connect().await.map_err(MigrateError::Execute)?;
    connection.lock().await?;
    connection.ensure_migrations_table().await?;
    let before: Vec<i64> = connection.list_applied_migrations().await?.iter().map(|applied| applied.version).collect();
    let migrator = migrator();
    migrator.run_direct(&mut connection).await?;
    connection.unlock().await?;
    connection.close().await.map_err(MigrateError::Execute)?;
    Ok(migrator
        .iter()
        .filter(|migration| !before.contains(&migration.version))
        .map(|migration| AppliedMigration {
            version: migration.version,
            description: migration.description.to_string(),
        })
        .collect())
}

/// What keeps the database from being used.
#[derive(Debug)]
pub enum DatabaseProblem {
    Unreachable(sqlx::Error),
    PostgisMissing,
    /// Versions that have not been applied, or not with the text this program carries.
    MigrationsPending(Vec<i64>),
}

/// Ask for PostGIS and for every migration, which is a `SELECT 1` besides.
pub async fn check(pool: &PgPool) -> Result<(), DatabaseProblem> {
    let mut connection = pool.acquire().await.map_err(DatabaseProblem::Unreachable)?;
    let row = sqlx::query(
        "SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'postgis'), to_regclass('_sqlx_migrations') IS NOT NULL",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(DatabaseProblem::Unreachable)?;
    let (postgis, migrated): (bool, bool) = (row.get(0), row.get(1));
    if !postgis {
        return Err(DatabaseProblem::PostgisMissing);
    }
    let applied: HashMap<i64, Vec<u8>> = if migrated {
        sqlx::query("SELECT version, checksum FROM _sqlx_migrations WHERE success")
            .fetch_all(&mut *connection)
            .await
            .map_err(DatabaseProblem::Unreachable)?
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect()
    } else {
        HashMap::new()
    };
    let pending = pending(&migrator(), &applied);
    if pending.is_empty() { Ok(()) } else { Err(DatabaseProblem::MigrationsPending(pending)) }
}

fn pending(migrator: &Migrator, applied: &HashMap<i64, Vec<u8>>) -> Vec<i64> {
    migrator
        .iter()
        .filter(|migration| applied.get(&migration.version).is_none_or(|checksum| *checksum != *migration.checksum))
        .map(|migration| migration.version)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_in_migrations_is_embedded_under_its_number_and_name() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<String> = std::fs::read_dir(directory)
            .expect("the directory migrations")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a UTF-8 name"))
            .collect();
        files.sort();
        let embedded: Vec<String> =
            MIGRATIONS.iter().map(|(version, name, _)| format!("{version:04}_{name}.sql")).collect();
        assert_eq!(files, embedded);
        for (file, (_, _, sql)) in files.iter().zip(MIGRATIONS) {
            assert_eq!(std::fs::read_to_string(format!("{directory}/{file}")).expect("the file"), sql, "{file}");
        }
    }

    #[test]
    fn pending_is_what_is_missing_or_different() {
        let migrator = migrator();
        let all: HashMap<i64, Vec<u8>> = migrator.iter().map(|m| (m.version, m.checksum.to_vec())).collect();
        assert_eq!(pending(&migrator, &all), Vec::<i64>::new());
        assert_eq!(pending(&migrator, &HashMap::new()), [1]);
        assert_eq!(pending(&migrator, &HashMap::from([(1, vec![0])])), [1]);
    }
}
