package index

import "strings"

// arena stores the bytes of many keys in few objects. A chunk lives as long
// as one of its keys, so it serves only the keys read at start: keys that
// come and go later must not pin each other's memory.
type arena struct {
	chunk strings.Builder
}

const arenaChunkBytes = 16 << 10

// intern returns a copy of key.
func (a *arena) intern(key []byte) string {
	if len(key) > arenaChunkBytes/16 {
		return string(key)
	}
	if a.chunk.Cap()-a.chunk.Len() < len(key) {
		a.chunk = strings.Builder{}
		a.chunk.Grow(arenaChunkBytes)
	}
	from := a.chunk.Len()
	a.chunk.Write(key)
	return a.chunk.String()[from:]
}
