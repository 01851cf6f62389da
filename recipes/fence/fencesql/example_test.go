package fencesql_test

import (
	"context"
	"database/sql"
	"errors"

	"github.com/coordd/coordd/recipes/fence"
	"github.com/coordd/coordd/recipes/fence/fencesql"
)

// A holder of a lock reads and writes a table. e2e/databases runs the like of it on PostgreSQL and SQLite, with a holder
// that was paused.
func Example() {
	publish := func(ctx context.Context, db *sql.DB, token fence.Token) error { // recipes.Hold.Token
		guard := fencesql.New(db, "/coordd/locks/report")
		if err := guard.Advance(ctx, token); err != nil { // before the first read
			return err
		}
		var draft string
		if err := db.QueryRowContext(ctx, `SELECT text FROM report`).Scan(&draft); err != nil {
			return err
		}
		err := guard.Do(ctx, token, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE report SET text = $1`, draft+", final")
			return err
		})
		if errors.Is(err, fence.ErrStale) {
			return errors.New("somebody else is at it: stop")
		}
		return err
	}
	_ = publish
}
