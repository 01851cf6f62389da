package coordtest

import (
	_ "unsafe" // for linkname
)

// neverDone is the Done channel of the contexts that the etcd client's watch streams hang from: one of the whole program
// that is never closed. A goroutine waits for it as long as a watch is open. Made outside of every bubble of
// testing/synctest, the channel would keep the bubble's clock from moving. Nil means never, too, and without a goroutine
// (package context, Context.Done).
//
//go:linkname neverDone go.etcd.io/etcd/client/v3.valCtxCh
var neverDone chan struct{}

// Before any client can be there to read it.
func init() { neverDone = nil }
