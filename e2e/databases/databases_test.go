package databases

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/coordd/coordd/recipes/fence/fencesql"
)

var server *postgres // nil where it is not installed

func TestMain(m *testing.M) { os.Exit(runWithPostgres(m)) }

func runWithPostgres(m *testing.M) (code int) {
	runtime.LockOSThread()
	started, err := startPostgres()
	if err != nil && (!errors.Is(err, errNoPostgres) || os.Getenv("CI") == "true") {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if server = started; server == nil {
		return m.Run()
	}
	defer func() {
		if err := server.stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	return m.Run()
}

var schemas atomic.Int64

// onEach runs test on a fresh SQLite and on a fresh schema of PostgreSQL, with the tables of marks and of writes.
func onEach(t *testing.T, test func(t *testing.T, db *sql.DB)) {
	t.Run("sqlite", func(t *testing.T) { test(t, prepared(t, openSQLite(t, 60_000))) })
	t.Run("postgres", func(t *testing.T) { test(t, prepared(t, openPostgres(t))) })
}

func openSQLite(t *testing.T, busyTimeoutMillis int) *sql.DB {
	t.Helper()
	name := filepath.Join(t.TempDir(), "db")
	return open(t, "sqlite", fmt.Sprintf("file:%s?_pragma=journal_mode(WAL)&_pragma=busy_timeout(%d)", name, busyTimeoutMillis))
}

func openPostgres(t *testing.T) *sql.DB {
	t.Helper()
	if server == nil {
		t.Skip(errNoPostgres)
	}
	schema := fmt.Sprintf("test%d", schemas.Add(1))
	if _, err := open(t, "pgx", server.dsn("")).ExecContext(t.Context(), "CREATE SCHEMA "+schema); err != nil {
		t.Fatal(err)
	}
	return open(t, "pgx", server.dsn(schema))
}

func open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// prepared creates the table of marks, and one of writes, in the order in which they were made.
func prepared(t *testing.T, db *sql.DB) *sql.DB {
	t.Helper()
	for range 2 { // again changes nothing
		if err := fencesql.CreateSchema(t.Context(), db); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE writes (seq BIGINT PRIMARY KEY, token TEXT NOT NULL)`); err != nil {
		t.Fatal(err)
	}
	return db
}
