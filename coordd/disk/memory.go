package disk

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
)

// Memory is a simulated file system that can lose power. It is as harsh as the contract of
// this package allows, and in one respect kinder:
//
//   - Un-synced writes: every sector of [SectorSize] bytes on its own is left by a crash in any of the states it
//     went through since the last Sync, or torn between two of them. A file's length likewise.
//   - Un-synced names: every creation, rename and removal happens wholly or not at all. Two that share a
//     name happen in order (the later one only if the earlier one did), others in any order; a journalling file system
//     would keep the order of all.
//   - A Sync made to fail leaves its sectors readable and un-synced, and a later Sync does not
//     write them until they are written to again, as with Linux's page cache.
//   - A write made to fail leaves the first half of its data behind.
//   - Directories made by MkdirAll are durable at once, as [FS] promises. Only files can be renamed.
//
// Safe for concurrent use.
type Memory struct {
	mu         sync.Mutex
	generation int               // counts crashes; handles of older ones are dead
	current    map[string]*inode // what running programs see
	durable    map[string]*inode // what a crash is sure to leave
	unsynced   []change          // leads from durable to current, oldest first
	locks      map[string]*memoryLock
	fault      func(Op) error
}

// change is one un-synced change of names: a nil inode removes the name.
type change struct {
	names  [2]string // the second is empty unless it is a rename
	inodes [2]*inode
}

// NewMemory returns an empty file system with the directories "/" and ".".
func NewMemory() *Memory {
	m := &Memory{
		current: map[string]*inode{"/": {dir: true}, ".": {dir: true}},
		locks:   make(map[string]*memoryLock),
	}
	m.durable = maps.Clone(m.current)
	return m
}

// SetFault has fault asked before every operation; an error it returns is the operation's result.
// fault may be called from several goroutines and must not use the file system. Nil ends it.
func (m *Memory) SetFault(fault func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

// FailNth returns a fault for [Memory.SetFault] that fails the n-th operation, from 1, for which
// match is true, and no other.
func FailNth(n int, err error, match func(Op) bool) func(Op) error {
	var mu sync.Mutex
	return func(op Op) error {
		mu.Lock()
		defer mu.Unlock()
		if !match(op) {
			return nil
		}
		if n--; n != 0 {
			return nil
		}
		return err
	}
}

// inject returns the error that op shall fail with, if any.
func (m *Memory) inject(kind Kind, name string) error {
	m.mu.Lock()
	fault := m.fault
	m.mu.Unlock()
	if fault == nil {
		return nil
	}
	op := Op{Kind: kind, Name: path.Clean(name)}
	if err := fault(op); err != nil {
		return &fs.PathError{Op: kind.String(), Path: name, Err: err}
	}
	return nil
}

// Create is FS.Create.
func (m *Memory) Create(name string) (File, error) {
	if err := m.inject(Create, name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := path.Clean(name)
	if m.current[key] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	node, err := m.makeFile(key)
	if err != nil {
		return nil, err
	}
	return m.handle(key, node), nil
}

func (m *Memory) makeFile(key string) (*inode, error) {
	if dir := m.current[path.Dir(key)]; dir == nil || !dir.dir {
		return nil, &fs.PathError{Op: "create", Path: key, Err: fs.ErrNotExist}
	}
	node := newFile()
	m.change(change{names: [2]string{key}, inodes: [2]*inode{node}})
	return node, nil
}

func (m *Memory) handle(key string, node *inode) *memoryFile {
	return &memoryFile{fs: m, name: key, node: node, generation: m.generation}
}

// Open is FS.Open.
func (m *Memory) Open(name string) (File, error) {
	if err := m.inject(Open, name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := path.Clean(name)
	node, err := m.file("open", key)
	if err != nil {
		return nil, err
	}
	return m.handle(key, node), nil
}

func (m *Memory) file(op, key string) (*inode, error) {
	node := m.current[key]
	if node == nil {
		return nil, &fs.PathError{Op: op, Path: key, Err: fs.ErrNotExist}
	}
	if node.dir {
		return nil, &fs.PathError{Op: op, Path: key, Err: fmt.Errorf("%w: is a directory", fs.ErrInvalid)}
	}
	return node, nil
}

// Remove is FS.Remove.
func (m *Memory) Remove(name string) error {
	if err := m.inject(Remove, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := path.Clean(name)
	node := m.current[key]
	if node == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	if node.dir && len(m.children(key)) > 0 {
		return &fs.PathError{Op: "remove", Path: name, Err: fmt.Errorf("%w: directory not empty", fs.ErrInvalid)}
	}
	m.change(change{names: [2]string{key}})
	return nil
}

// Rename is FS.Rename.
func (m *Memory) Rename(oldName, newName string) error {
	if err := m.inject(Rename, oldName); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	from, to := path.Clean(oldName), path.Clean(newName)
	node, err := m.file("rename", from)
	if err != nil {
		return err
	}
	if dir := m.current[path.Dir(to)]; dir == nil || !dir.dir {
		return &fs.PathError{Op: "rename", Path: newName, Err: fs.ErrNotExist}
	}
	if target := m.current[to]; target != nil && target.dir {
		return &fs.PathError{Op: "rename", Path: newName, Err: fs.ErrExist}
	}
	if from != to {
		m.change(change{names: [2]string{from, to}, inodes: [2]*inode{nil, node}})
	}
	return nil
}

// MkdirAll is FS.MkdirAll.
func (m *Memory) MkdirAll(dir string) error {
	if err := m.inject(MkdirAll, dir); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mkdirAll(path.Clean(dir))
}

func (m *Memory) mkdirAll(key string) error {
	if node := m.current[key]; node != nil {
		if !node.dir {
			return &fs.PathError{Op: "mkdir", Path: key, Err: fs.ErrExist}
		}
		return nil
	}
	parent := path.Dir(key)
	if err := m.mkdirAll(parent); err != nil {
		return err
	}
	m.change(change{names: [2]string{key}, inodes: [2]*inode{{dir: true}}})
	m.syncDir(parent)
	return nil
}

// List is FS.List.
func (m *Memory) List(dir string) ([]string, error) {
	if err := m.inject(List, dir); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := path.Clean(dir)
	if node := m.current[key]; node == nil || !node.dir {
		return nil, &fs.PathError{Op: "list", Path: dir, Err: fs.ErrNotExist}
	}
	return m.children(key), nil
}

func (m *Memory) children(key string) []string {
	var names []string
	for name := range m.current {
		if name != key && path.Dir(name) == key {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names
}

// SyncDir is FS.SyncDir.
func (m *Memory) SyncDir(dir string) error {
	if err := m.inject(SyncDir, dir); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := path.Clean(dir)
	if node := m.current[key]; node == nil || !node.dir {
		return &fs.PathError{Op: "syncdir", Path: dir, Err: fs.ErrNotExist}
	}
	m.syncDir(key)
	return nil
}

// Lock is FS.Lock.
func (m *Memory) Lock(name string) (io.Closer, error) {
	if err := m.inject(Lock, name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := path.Clean(name)
	if m.locks[key] != nil {
		return nil, fmt.Errorf("%w: %s", ErrLocked, name)
	}
	if m.current[key] == nil {
		if _, err := m.makeFile(key); err != nil {
			return nil, err
		}
	} else if _, err := m.file("lock", key); err != nil {
		return nil, err
	}
	l := &memoryLock{fs: m, key: key}
	m.locks[key] = l
	return l, nil
}

type memoryLock struct {
	fs  *Memory
	key string
}

// Close gives the lock back. After a crash it does nothing: the lock ended with its process.
func (l *memoryLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if l.fs.locks[l.key] == l {
		delete(l.fs.locks, l.key)
	}
	return nil
}

func (m *Memory) change(c change) {
	c.apply(m.current)
	m.unsynced = append(m.unsynced, c)
}

func (c change) apply(names map[string]*inode) {
	for i, name := range c.names {
		switch {
		case name == "":
		case c.inodes[i] == nil:
			delete(names, name)
		default:
			names[name] = c.inodes[i]
		}
	}
}

// needs reports whether c can have happened only after earlier: they share a name, or c
// removes or makes a directory whose content earlier changed.
func (c change) needs(earlier change) bool {
	for _, name := range c.names {
		if name == "" {
			continue
		}
		for _, other := range earlier.names {
			if other == name || strings.HasPrefix(other, name+"/") {
				return true
			}
		}
	}
	return false
}

// syncDir makes durable every un-synced change in dir and those it needs.
func (m *Memory) syncDir(dir string) {
	keep := make([]bool, len(m.unsynced))
	for i := len(m.unsynced) - 1; i >= 0; i-- {
		c := m.unsynced[i]
		keep[i] = keep[i] || path.Dir(c.names[0]) == dir || c.names[1] != "" && path.Dir(c.names[1]) == dir
		if !keep[i] {
			continue
		}
		for j := range i {
			keep[j] = keep[j] || c.needs(m.unsynced[j])
		}
	}
	var rest []change
	for i, c := range m.unsynced {
		if keep[i] {
			c.apply(m.durable)
		} else {
			rest = append(rest, c)
		}
	}
	m.unsynced = rest
}

// Crash cuts the power: what was synced stays, of the rest a subset that depends on seed alone.
// Handles opened before return [ErrCrashed] from then on, locks are free, faults are off.
func (m *Memory) Crash(seed uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	m.generation++
	m.fault = nil
	clear(m.locks)
	m.crashNames(rng)
	for _, name := range slices.Sorted(maps.Keys(m.durable)) {
		if node := m.durable[name]; !node.dir {
			node.crash(rng)
		}
	}
	m.current = maps.Clone(m.durable)
}

func (m *Memory) crashNames(rng *rand.Rand) {
	keepAll := rng.IntN(3) == 0
	var lost []change
	for _, c := range m.unsynced {
		needsLost := slices.ContainsFunc(lost, c.needs)
		if !needsLost && (keepAll || rng.IntN(2) == 0) {
			c.apply(m.durable)
		} else {
			lost = append(lost, c)
		}
	}
	m.unsynced = nil
}
