package history

// line is a queue whose first is granted something by a key among the holders.
type line struct {
	path    string
	waiting map[string]int64 // create revisions, by attempt
	holding map[string]int64
	// anyone says that a grant may go to whoever waits if a holder gives up in the same
	// revision: an election's transfer.
	anyone bool
}

func newLine(path string) *line {
	return &line{path: path, waiting: map[string]int64{}, holding: map[string]int64{}}
}

// follow takes the changes of one revision and returns who was granted something in it.
func (l *line) follow(changes []Event, wrong *findings) (granted []string) {
	came, freed := map[string]int64{}, false
	for _, ev := range changes {
		if id, ok := attempt(ev.Key, l.path+"/q/"); ok {
			if created, ok := l.waiting[id]; ok && ev.Deleted {
				came[id] = created
			}
			note(l.waiting, id, ev)
		}
		if id, ok := attempt(ev.Key, l.path+"/h/"); ok {
			freed = freed || ev.Deleted
			if !ev.Deleted && ev.Created == ev.Revision {
				granted = append(granted, id)
			}
			note(l.holding, id, ev)
		}
	}
	for _, id := range granted {
		l.inTurn(changes[0].Revision, id, came, wrong, freed)
	}
	return granted
}

func note(keys map[string]int64, id string, ev Event) {
	if delete(keys, id); !ev.Deleted {
		keys[id] = ev.Created
	}
}

// inTurn demands that nobody who waits has waited for longer than who was granted.
func (l *line) inTurn(revision int64, id string, came map[string]int64, wrong *findings, freed bool) {
	since, waited := came[id]
	if _, still := l.waiting[id]; still {
		wrong.add(revision, "%s was granted and waits on", id)
	}
	if l.anyone && freed && waited {
		return
	}
	for other, created := range l.waiting {
		if other != id && (!waited || created < since) {
			wrong.add(revision, "%s is granted before %s, which has waited since revision %d", id, other, created)
		}
	}
}

// left is who waits or holds for ever.
func (l *line) left() (wrong []string) {
	if len(l.waiting) > 0 {
		wrong = append(wrong, "waiting for ever: "+list(l.waiting))
	}
	if len(l.holding) > 0 {
		wrong = append(wrong, "holding for ever: "+list(l.holding))
	}
	return wrong
}
