package databases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/coordd/coordd/recipes/fence"
	"github.com/coordd/coordd/recipes/fence/fencesql"
)

const lock = "/coordd/locks/report"

// granted is what a hold's Token returns. Its attempt follows from the revision.
func granted(mode fence.Mode, revision int64, change ...func(*fence.Fields)) fence.Token {
	f := fence.Fields{Cluster: math.MaxUint64, Epoch: 3, Mode: mode, Resource: lock, Revision: revision, Key: fmt.Sprint(revision)}
	for _, c := range change {
		c(&f)
	}
	token, err := fence.New(f)
	if err != nil {
		panic(err)
	}
	return token
}

func exclusive(revision int64) fence.Token { return granted(fence.Exclusive, revision) }

// write appends the token to the table of writes.
func write(ctx context.Context, tx *sql.Tx, token fence.Token) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO writes SELECT COALESCE(MAX(seq), 0) + 1, $1 FROM writes`, token.String())
	return err
}

func fencedWrite(ctx context.Context, g *fencesql.Guard, token fence.Token) error {
	return g.Do(ctx, token, func(tx *sql.Tx) error { return write(ctx, tx, token) })
}

// written are the tokens of all writes in their order.
func written(t *testing.T, db *sql.DB) []fence.Token {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT token FROM writes ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var tokens []fence.Token
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		token, err := fence.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return tokens
}

// P1: a holder that was paused between its transactions is refused once the next has advanced the mark.
func TestPausedHolderIsRefused(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		g := fencesql.New(db, lock)
		if err := fencedWrite(t.Context(), g, exclusive(41)); err != nil {
			t.Fatal(err)
		}
		if err := g.Advance(t.Context(), exclusive(57)); err != nil {
			t.Fatal(err)
		}
		read := written(t, db)
		err := fencedWrite(t.Context(), g, exclusive(41))
		var stale *fence.StaleError
		if !errors.As(err, &stale) || stale.Token != exclusive(41) || stale.Mark.Write() != exclusive(57) {
			t.Errorf("the late write: %v", err)
		}
		if now := written(t, db); len(now) != len(read) {
			t.Errorf("under the new holder %v became %v", read, now)
		}
		if err := fencedWrite(t.Context(), g, exclusive(57)); err != nil {
			t.Error(err)
		}
	})
}

// The rule in SQL is fence.Mark's: the same tokens pass, and the same mark stands after each.
func TestRuleInSQLIsThatOfMark(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		for seed := range uint64(6) {
			r := rand.New(rand.NewPCG(seed, 2))
			resource := fmt.Sprint(lock, seed)
			g := fencesql.New(db, resource)
			var mark fence.Mark
			for range 120 {
				token := randomToken(r, resource)
				next, want := mark.Admit(token)
				got := g.Advance(t.Context(), token)
				if !sameRefusal(got, want) {
					t.Fatalf("seed %d: %s after %q: %v, by the rule %v", seed, token, mark, got, want)
				}
				mark = next
			}
		}
	})
}

func randomToken(r *rand.Rand, resource string) fence.Token {
	mode := []fence.Mode{fence.Exclusive, fence.Shared, fence.Shared}[r.IntN(3)]
	return granted(mode, 1+r.Int64N(12), func(f *fence.Fields) {
		f.Resource = resource
		if r.IntN(8) == 0 {
			f.Key = "other"
		}
		f.Key = fmt.Sprintf("q/%s/%s", mode, f.Key)
		if r.IntN(40) == 0 {
			f.Epoch += r.Uint64N(3)
		}
		if r.IntN(40) == 0 {
			f.Cluster--
		}
	})
}

// sameRefusal compares with the mark that refused, so that the rows are compared as well.
func sameRefusal(got, want error) bool {
	var gotStale, wantStale *fence.StaleError
	if errors.As(want, &wantStale) {
		return errors.As(got, &gotStale) && gotStale.Token == wantStale.Token && gotStale.Mark == withoutDirectories(wantStale.Mark)
	}
	return (got == nil) == (want == nil) && errors.Is(got, fence.ErrIncomparable) == errors.Is(want, fence.ErrIncomparable) &&
		!errors.Is(got, fence.ErrStale)
}

// withoutDirectories is the mark as a row has it: of the keys only the attempts.
func withoutDirectories(m fence.Mark) fence.Mark {
	bare := func(t fence.Token) fence.Token {
		if t.IsZero() {
			return t
		}
		f := t.Fields()
		f.Key = t.Attempt()
		return granted(f.Mode, f.Revision, func(all *fence.Fields) { *all = f })
	}
	mark, err := fence.NewMark(bare(m.Write()), bare(m.All()))
	if err != nil {
		panic(err)
	}
	return mark
}

const (
	racers = 6
	rounds = 25
)

// raced is the token that a racer uses in a round: around the others' of that round, above nearly all of the one before.
func raced(racer, round int) fence.Token {
	mode := fence.Exclusive
	if (racer+round)%3 == 0 {
		mode = fence.Shared
	}
	return granted(mode, int64(1+round*racers+(racer*5+round)%racers))
}

func race(t *testing.T, attempt func(token fence.Token) error) {
	t.Helper()
	var wait sync.WaitGroup
	for racer := range racers {
		wait.Go(func() {
			for round := range rounds {
				if err := attempt(raced(racer, round)); err != nil && !errors.Is(err, fence.ErrStale) {
					t.Errorf("%s: %v", raced(racer, round), err)
				}
			}
		})
	}
	wait.Wait()
}

// checkHistory returns what is wrong with an order of writes: each must have been admitted after all before it.
func checkHistory(tokens []fence.Token) error {
	var mark fence.Mark
	for i, token := range tokens {
		next, err := mark.Admit(token)
		if err != nil {
			return fmt.Errorf("write %d of %d: %w", i+1, len(tokens), err)
		}
		mark = next
	}
	if highest := int64(rounds * racers); mark.All().Revision() != highest {
		return fmt.Errorf("the highest token, %d, is not among the writes up to %s", highest, mark.All())
	}
	return nil
}

func TestWritersRace(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		g := fencesql.New(db, lock)
		race(t, func(token fence.Token) error { return fencedWrite(t.Context(), g, token) })
		if err := checkHistory(written(t, db)); err != nil {
			t.Error(err)
		}
	})
}

// Where the check is not in the transaction of the write, the stale write lands, and the checker of histories finds it.
func TestCheckBeforeTheTransactionIsNotEnough(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		g := fencesql.New(db, lock)
		unfenced := func(token fence.Token) {
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(write(t.Context(), tx, token), tx.Commit()); err != nil {
				t.Fatal(err)
			}
		}
		for _, token := range []fence.Token{exclusive(1), exclusive(racers * rounds)} { // both pass the check
			if err := g.Advance(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		}
		unfenced(exclusive(racers * rounds))
		unfenced(exclusive(1))
		if err := checkHistory(written(t, db)); !errors.Is(err, fence.ErrStale) {
			t.Errorf("the checker says %v", err)
		}
	})
}

// At the isolation levels that fail instead of waiting, the error says so, nothing is written, and a repeat succeeds.
func TestWritersRaceWithSerializationFailures(t *testing.T) {
	for _, level := range []sql.IsolationLevel{sql.LevelRepeatableRead, sql.LevelSerializable} {
		t.Run(level.String(), func(t *testing.T) {
			db := prepared(t, openPostgres(t))
			g := fencesql.New(db, lock)
			race(t, func(token fence.Token) error {
				err := isolated(t.Context(), db, g, level, token)
				for isSerializationFailure(err) {
					err = isolated(t.Context(), db, g, level, token)
				}
				return err
			})
			if err := checkHistory(written(t, db)); err != nil {
				t.Error(err)
			}
		})
	}
}

func isolated(ctx context.Context, db *sql.DB, g *fencesql.Guard, level sql.IsolationLevel, token fence.Token) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: level})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := g.Admit(ctx, tx, token); err != nil {
		return err
	}
	if err := write(ctx, tx, token); err != nil {
		return err
	}
	return tx.Commit()
}

func isSerializationFailure(err error) bool {
	var failure *pgconn.PgError
	return errors.As(err, &failure) && failure.Code == "40001"
}

// Two transactions that meet at the mark at a level that fails: the second is told, and has written nothing.
func TestSerializationFailureIsReported(t *testing.T) {
	db := prepared(t, openPostgres(t))
	g := fencesql.New(db, lock)
	if err := g.Advance(t.Context(), exclusive(5)); err != nil {
		t.Fatal(err)
	}
	second, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Rollback()
	if _, err := second.ExecContext(t.Context(), `SELECT 1 FROM writes`); err != nil { // its snapshot is taken here
		t.Fatal(err)
	}
	if err := fencedWrite(t.Context(), g, exclusive(6)); err != nil {
		t.Fatal(err)
	}
	if err := g.Admit(t.Context(), second, exclusive(7)); !isSerializationFailure(err) || errors.Is(err, fence.ErrStale) {
		t.Errorf("the second: %v", err)
	}
	if err := second.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := fencedWrite(t.Context(), g, exclusive(7)); err != nil {
		t.Errorf("repeated: %v", err)
	}
}

// SQLite without a busy timeout: the error is the driver's, nothing is written, and a repeat succeeds.
func TestBusySQLiteIsReported(t *testing.T) {
	db := prepared(t, openSQLite(t, 0))
	g := fencesql.New(db, lock)
	err := g.Do(t.Context(), exclusive(6), func(tx *sql.Tx) error {
		if err := fencedWrite(t.Context(), g, exclusive(7)); err == nil || errors.Is(err, fence.ErrStale) {
			t.Errorf("while another writes: %v", err)
		}
		return write(t.Context(), tx, exclusive(6))
	})
	if err := errors.Join(err, fencedWrite(t.Context(), g, exclusive(7))); err != nil {
		t.Error(err)
	}
	if tokens := written(t, db); len(tokens) != 2 {
		t.Errorf("written: %v", tokens)
	}
}

// Advance returns when the write that it overtakes is over, and what that one wrote can be read then.
func TestAdvanceWaitsForARunningTransaction(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		g := fencesql.New(db, lock)
		var wait sync.WaitGroup
		defer wait.Wait()
		err := g.Do(t.Context(), exclusive(5), func(tx *sql.Tx) error {
			wait.Go(func() {
				if err := g.Advance(t.Context(), exclusive(6)); err != nil {
					t.Error(err)
				}
				if tokens := written(t, db); len(tokens) != 1 {
					t.Errorf("after Advance: %v", tokens)
				}
			})
			return write(t.Context(), tx, exclusive(5))
		})
		if err != nil {
			t.Errorf("the write: %v", err)
		}
	})
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		g := fencesql.New(db, lock)
		broken := errors.New("broken")
		fail := func(tx *sql.Tx) error { return errors.Join(write(t.Context(), tx, exclusive(9)), broken) }
		if err := g.Do(t.Context(), exclusive(9), fail); !errors.Is(err, broken) {
			t.Errorf("returned %v", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = g.Do(t.Context(), exclusive(9), func(tx *sql.Tx) error { panic(write(t.Context(), tx, exclusive(9))) })
		}()
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := fencedWrite(canceled, g, exclusive(9)); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
		if err := fencedWrite(t.Context(), g, exclusive(5)); err != nil { // neither mark nor data of 9 stayed
			t.Error(err)
		}
		if tokens := written(t, db); len(tokens) != 1 || tokens[0] != exclusive(5) {
			t.Errorf("written: %v", tokens)
		}
	})
}

func TestForeignTokensStoreNothing(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		g := fencesql.New(db, lock, "0", "1")
		for what, change := range map[string]func(*fence.Fields){
			"another resource": func(f *fence.Fields) { f.Resource = "/other" },
			"an unknown slot":  func(f *fence.Fields) { f.Slot = "2" },
			"no slot":          func(f *fence.Fields) {},
		} {
			if err := fencedWrite(t.Context(), g, granted(fence.Exclusive, 5, change)); !errors.Is(err, fence.ErrIncomparable) {
				t.Errorf("%s: %v", what, err)
			}
		}
		huge := granted(fence.Exclusive, 5, func(f *fence.Fields) { f.Slot, f.Epoch = "0", math.MaxUint64 })
		if err := fencedWrite(t.Context(), g, huge); err == nil {
			t.Error("an epoch that no column holds was taken")
		}
		var marks int
		if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM fence_marks`).Scan(&marks); err != nil || marks != 0 {
			t.Errorf("%d marks, %v", marks, err)
		}
		// P3: the holders of two slots do not overtake each other.
		for _, token := range []fence.Token{slot("1", 9), slot("0", 5), slot("1", 9), slot("0", 6)} {
			if err := fencedWrite(t.Context(), g, token); err != nil {
				t.Errorf("%s: %v", token, err)
			}
		}
		if err := fencedWrite(t.Context(), g, slot("0", 5)); !errors.Is(err, fence.ErrStale) {
			t.Errorf("the former holder of slot 0: %v", err)
		}
	})
}

func slot(name string, revision int64) fence.Token {
	return granted(fence.Exclusive, revision, func(f *fence.Fields) { f.Slot = name })
}
