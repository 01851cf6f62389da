package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// mutant is a defect that can be put into the tree.
type mutant struct {
	name  string // <group>/<what it is>
	what  string // what it puts back
	edits []edit
	pkg   string // where the test is, as ./recipes
	test  string // the function that must fail
}

// edit replaces what stands exactly once in a file of the tree. Later edits of a mutant see what earlier ones did.
type edit struct{ file, old, new string }

// mutated returns the files that m changes, by path below root, as they are with it.
func (m mutant) mutated(root string) (map[string]string, error) {
	files := map[string]string{}
	for _, e := range m.edits {
		text, ok := files[e.file]
		if !ok {
			read, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", e.file, err)
			}
			text = string(read)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return nil, fmt.Errorf("what it replaces stands %d times in %s, not once:\n%s", n, e.file, e.old)
		}
		files[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	return files, nil
}

// writeOverlay writes into dir what go's -overlay takes to build with other files, and returns its path.
func writeOverlay(root, dir string, files map[string]string) (path string, err error) {
	replace := map[string]string{}
	for file, text := range files {
		with := filepath.Join(dir, strconv.Itoa(len(replace))+".go")
		if err := os.WriteFile(with, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, file)] = with
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, text, 0o600)
}
