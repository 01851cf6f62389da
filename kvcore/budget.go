package kvcore

import "context"

// budgetPiece is how many bytes a read takes before it tells: what stays below
// is no concern of its budget.
const budgetPiece = 256 << 10

type budgetKey struct{}

// WithBudget returns a context for one request that makes the reads called with it tell take how
// many bytes of memory their answer takes, its encoding included: each time that another
// 256 KiB, about, have come together. An error of take ends the read.
func WithBudget(ctx context.Context, take func(bytes int) error) context.Context {
	return context.WithValue(ctx, budgetKey{}, &budget{take: take})
}

// budget is how the reads of one request tell what memory they take. The zero
// value tells nobody.
type budget struct {
	take  func(bytes int) error
	spent int // since take was told
}

func budgetOf(ctx context.Context) *budget {
	if b, ok := ctx.Value(budgetKey{}).(*budget); ok {
		return b
	}
	return &budget{}
}

func (b *budget) spend(bytes int) error {
	if b.spent += bytes; b.take == nil || b.spent < budgetPiece {
		return nil
	}
	spent := b.spent
	b.spent = 0
	return b.take(spent)
}

// What an index.Key takes while it is looked for, and a record that was found
// beside its bytes, roughly.
const (
	keyBytes    = 72
	recordBytes = 192
)
