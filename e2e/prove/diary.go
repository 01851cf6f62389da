package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/coordd/coordd/e2e/lincheck"
)

// diary is what a worker writes down as it happens, a line each, so that it outlives the
// worker.
type diary struct {
	mu   sync.Mutex
	file *os.File
}

// line is one entry of a diary: an operation that has ended, a moment at which a holder
// believed that it holds, or a complaint.
type line struct {
	Target    target
	Op        *lincheck.Op  `json:",omitempty"`
	Who       string        `json:",omitempty"` // believed
	Believed  time.Duration `json:",omitempty"` // at this moment or later
	Complaint string        `json:",omitempty"`
}

func openDiary(path string) (*diary, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &diary{file: file}, nil
}

func (d *diary) write(l line) {
	text, err := json.Marshal(l)
	if err != nil {
		panic("prove: a diary's line does not marshal: " + err.Error())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.file.Write(append(text, '\n')); err != nil {
		panic("prove: write diary: " + err.Error()) // what is missing would be taken for a violation
	}
}

// readDiary returns the lines of a diary. The last may be cut off, as its worker was.
func readDiary(path string) (lines []line, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	for scanner := bufio.NewScanner(file); ; {
		if !scanner.Scan() {
			return lines, scanner.Err()
		}
		var l line
		err := json.Unmarshal(scanner.Bytes(), &l)
		var cut *json.SyntaxError
		if errors.As(err, &cut) && !scanner.Scan() {
			return lines, nil
		}
		if err != nil {
			return nil, fmt.Errorf("diary %s: %w", path, err)
		}
		lines = append(lines, l)
	}
}
