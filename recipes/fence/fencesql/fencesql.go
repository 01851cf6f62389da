// Package fencesql fences the rows of a database: a table of marks remembers the highest tokens that were admitted, and
// the check of a token is part of the transaction that writes. It works through database/sql on PostgreSQL and on SQLite
// (3.24 or later), with any driver.
//
// The check is one statement: it inserts or raises the mark, or changes no row and thereby refuses. It locks the mark's
// row until the transaction ends, so whatever is read after it in the transaction cannot be changed by a holder that was
// overtaken, and what that one wrote before is visible. Let it be the first statement.
//
// A transaction that fails, be it with a serialization failure (SQLSTATE class 40) or because SQLite was busy, has written
// neither mark nor data, and the driver's error is in the chain: run it again. SQLite is busy at once unless the
// connections have a busy timeout.
//
// A holder that is paused within its transaction keeps the next one waiting until the database ends that transaction:
// PostgreSQL does when idle_in_transaction_session_timeout is set, SQLite when the process dies. Contexts bound the wait.
//
// A row of the table may be deleted by an administrator to accept the tokens of another cluster, and for nothing else:
// without it whoever was overtaken is admitted again.
package fencesql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/coordd/coordd/recipes/fence"
)

// Schema creates the table of marks where it does not exist.
const Schema = `CREATE TABLE IF NOT EXISTS fence_marks (
	resource       TEXT   NOT NULL,
	slot           TEXT   NOT NULL,
	cluster        TEXT   NOT NULL, -- 16 hexadecimal digits
	epoch          BIGINT NOT NULL,
	write_revision BIGINT NOT NULL, -- the highest exclusive token's, 0 if there was none
	write_attempt  TEXT   NOT NULL,
	all_revision   BIGINT NOT NULL, -- the highest token's
	all_attempt    TEXT   NOT NULL,
	PRIMARY KEY (resource, slot)
)`

// CreateSchema executes Schema. Where migrations are kept, Schema belongs there instead: two that create a table at the
// same moment may both try, and PostgreSQL fails one of them.
func CreateSchema(ctx context.Context, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, Schema); err != nil {
		return fmt.Errorf("fencesql: create the table of marks: %w", err)
	}
	return nil
}

// The rule of fence.Mark, in SQL. Every parameter appears first in the order of its number, because SQLite takes $1 for
// a name and counts names as they come.
const (
	admitExclusive = `INSERT INTO fence_marks AS m
	(resource, slot, cluster, epoch, write_revision, write_attempt, all_revision, all_attempt)
	VALUES ($1, $2, $3, $4, $5, $6, $5, $6)
ON CONFLICT (resource, slot) DO UPDATE SET
	epoch = excluded.epoch,
	write_revision = excluded.write_revision, write_attempt = excluded.write_attempt,
	all_revision = excluded.all_revision, all_attempt = excluded.all_attempt
WHERE m.cluster = excluded.cluster AND (excluded.epoch > m.epoch OR excluded.epoch = m.epoch AND (
	excluded.all_revision > m.all_revision OR
	excluded.all_revision = m.all_revision AND excluded.all_attempt = m.all_attempt))`

	admitShared = `INSERT INTO fence_marks AS m
	(resource, slot, cluster, epoch, write_revision, write_attempt, all_revision, all_attempt)
	VALUES ($1, $2, $3, $4, 0, '', $5, $6)
ON CONFLICT (resource, slot) DO UPDATE SET
	epoch = excluded.epoch,
	write_revision = CASE WHEN excluded.epoch > m.epoch THEN 0 ELSE m.write_revision END,
	write_attempt = CASE WHEN excluded.epoch > m.epoch THEN '' ELSE m.write_attempt END,
	all_revision = CASE WHEN excluded.epoch > m.epoch OR excluded.all_revision > m.all_revision
		THEN excluded.all_revision ELSE m.all_revision END,
	all_attempt = CASE WHEN excluded.epoch > m.epoch OR excluded.all_revision > m.all_revision
		THEN excluded.all_attempt ELSE m.all_attempt END
WHERE m.cluster = excluded.cluster AND (excluded.epoch > m.epoch OR excluded.epoch = m.epoch AND
	(excluded.all_revision > m.write_revision OR
		excluded.all_revision = m.write_revision AND excluded.all_attempt = m.write_attempt) AND
	(excluded.all_revision <> m.all_revision OR excluded.all_attempt = m.all_attempt))`

	selectMark = `SELECT cluster, epoch, write_revision, write_attempt, all_revision, all_attempt
FROM fence_marks WHERE resource = $1 AND slot = $2`
)

// Guard keeps the marks of one resource in a database. It is safe for concurrent use, by as many processes as like to.
type Guard struct {
	db    *sql.DB
	scope fence.Scope
}

// New makes a guard of a resource, named as in fence.Fields, and of its slots; without slots, of the tokens whose slot
// is "". The database must have Schema.
func New(db *sql.DB, resource string, slots ...string) *Guard {
	return &Guard{db: db, scope: fence.NewScope(resource, slots...)}
}

// Advance raises the mark to t, in a transaction of its own. When it returns nil, transactions of those that t overtook
// are over, and others of theirs will be refused. A holder calls it before it first reads what it is going to write. The
// errors are those of Admit.
func (g *Guard) Advance(ctx context.Context, t fence.Token) error {
	return g.Do(ctx, t, func(*sql.Tx) error { return nil })
}

// Do raises the mark to t, runs write, and commits both, or neither: when write fails or panics the transaction is rolled
// back. Transactions for one slot run one at a time. The errors are those of Admit, of write, and of the commit; if the
// connection broke in the commit, whether it was committed is unknown, and Do may be repeated as far as the mark goes.
func (g *Guard) Do(ctx context.Context, t fence.Token, write func(*sql.Tx) error) (err error) {
	tx, err := g.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("fencesql: begin: %w", err)
	}
	committed := false
	defer func() {
		if !committed {
			err = errors.Join(err, rollback(tx))
		}
	}()
	if err := g.Admit(ctx, tx, t); err != nil {
		return err
	}
	if err := write(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("fencesql: commit: %w", err)
	}
	committed = true
	return nil
}

func rollback(tx *sql.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return fmt.Errorf("fencesql: roll back: %w", err)
	}
	return nil
}

// Admit raises the mark to t as part of tx, whose first statement it should be; any isolation level will do. When it
// fails, tx must be rolled back: the error is fence.ErrStale for a token that was overtaken, fence.ErrIncomparable for
// one of another cluster, resource or slot, and the database's for everything else.
func (g *Guard) Admit(ctx context.Context, tx *sql.Tx, t fence.Token) error {
	if err := g.scope.Covers(t); err != nil {
		return err
	}
	f := t.Fields()
	if f.Epoch > math.MaxInt64 {
		return fmt.Errorf("fencesql: epoch %d is above what a column holds", f.Epoch)
	}
	statement := admitExclusive
	if f.Mode == fence.Shared {
		statement = admitShared
	}
	result, err := tx.ExecContext(ctx, statement, f.Resource, f.Slot, fmt.Sprintf("%016x", f.Cluster), int64(f.Epoch), f.Revision, t.Attempt())
	if err != nil {
		return fmt.Errorf("fencesql: raise the mark: %w", err)
	}
	switch rows, err := result.RowsAffected(); {
	case err != nil:
		return fmt.Errorf("fencesql: raise the mark: %w", err)
	case rows == 0:
		return refusal(ctx, tx, t)
	}
	return nil
}

// refusal is why no row was changed. The row cannot have changed since: it is locked.
func refusal(ctx context.Context, tx *sql.Tx, t fence.Token) error {
	mark, err := readMark(ctx, tx, t.Fields())
	if err != nil {
		return fmt.Errorf("fencesql: the mark that refused %s: %w", t, err)
	}
	if _, err := mark.Admit(t); err != nil {
		return err
	}
	return &fence.StaleError{Token: t, Mark: mark} // whatever the row says, it was not raised
}

// readMark reads the mark of the slot of f. The mode of the highest token follows from its place: above the last exclusive
// token there are only shared ones. Of the keys the row has what follows the last slash.
func readMark(ctx context.Context, tx *sql.Tx, f fence.Fields) (fence.Mark, error) {
	var clusterText string
	var epoch int64
	var write, all acquisition
	row := tx.QueryRowContext(ctx, selectMark, f.Resource, f.Slot)
	if err := row.Scan(&clusterText, &epoch, &write.revision, &write.attempt, &all.revision, &all.attempt); err != nil {
		return fence.Mark{}, err
	}
	id, err := strconv.ParseUint(clusterText, 16, 64)
	if err != nil {
		return fence.Mark{}, err
	}
	f.Cluster, f.Epoch = id, uint64(epoch)
	highest := fence.Shared
	if all == write {
		highest = fence.Exclusive
	}
	writeToken, errWrite := tokenOf(f, fence.Exclusive, write)
	allToken, errAll := tokenOf(f, highest, all)
	if err := errors.Join(errWrite, errAll); err != nil {
		return fence.Mark{}, err
	}
	return fence.NewMark(writeToken, allToken)
}

// acquisition is what a row has of a token, 0 and "" if there was none.
type acquisition struct {
	revision int64
	attempt  string
}

func tokenOf(f fence.Fields, mode fence.Mode, a acquisition) (fence.Token, error) {
	if a == (acquisition{}) {
		return fence.Token{}, nil
	}
	f.Mode, f.Revision, f.Key = mode, a.revision, a.attempt
	return fence.New(f)
}
