package databases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/coordd/coordd/recipes/fence"
	"github.com/coordd/coordd/recipes/fence/fencesql"
)

// A holder was paused while another took the lock over. Its late transaction is refused as a whole.
func Example() {
	dir, err := os.MkdirTemp("", "fencesql")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	_, err = db.ExecContext(ctx, `CREATE TABLE report (text TEXT); INSERT INTO report VALUES ('empty')`)
	if err := errors.Join(err, fencesql.CreateSchema(ctx, db)); err != nil {
		log.Fatal(err)
	}

	guard := fencesql.New(db, lock)
	put := func(token fence.Token, text string) error {
		return guard.Do(ctx, token, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE report SET text = $1`, text)
			return err
		})
	}
	paused, next := exclusive(41), exclusive(57) // what recipes.Hold.Token returns
	fmt.Println(put(paused, "draft"))
	fmt.Println(guard.Advance(ctx, next)) // before the first read
	fmt.Println(errors.Is(put(paused, "late"), fence.ErrStale))
	fmt.Println(put(next, "final"))

	var text string
	err = db.QueryRowContext(ctx, `SELECT text FROM report`).Scan(&text)
	fmt.Println(text, err)
	// Output:
	// <nil>
	// <nil>
	// true
	// <nil>
	// final <nil>
}
