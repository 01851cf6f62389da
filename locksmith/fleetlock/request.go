package fleetlock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// maxBodyBytes has room for the longest id and group, each byte escaped, and more.
const maxBodyBytes = 8 << 10

// params are the client's, from the body of its request.
type params struct{ id, group string }

// read reads the body within the time of a request: a client that sends it slowly
// is not waited for. Its content type is not looked at: no client sets it, and curl
// sets the one of a form.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) (params, error) {
	// Some writers, as those of tests, have no connection: they need no deadline.
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(h.Timeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return params{}, errTooLarge
		}
		return params{}, fmt.Errorf("%w: %w", errBody, err)
	}
	_ = connection.SetReadDeadline(time.Time{}) // net/http goes on reading to notice that the client leaves
	return parse(body)
}

// parse reads the two members that the protocol names and lets others be: a later
// version may add some. What is ambiguous is refused: a member given twice, or text
// that is no Unicode, of which two clients' ids could become one.
func parse(body []byte) (params, error) {
	if !utf8.Valid(body) {
		return params{}, fmt.Errorf("%w: it is not UTF-8", errBody)
	}
	request, err := object(body)
	if err != nil {
		return params{}, err
	}
	client, err := object(request["client_params"])
	if err != nil {
		return params{}, fmt.Errorf("client_params: %w", err)
	}
	var p params
	if p.id, err = text(client, "id"); err != nil {
		return params{}, err
	}
	if p.group, err = text(client, "group"); err != nil {
		return params{}, err
	}
	if !groupName.MatchString(p.group) {
		return params{}, fmt.Errorf("%w: the group must match %s", errBody, groupName)
	}
	return p, nil
}

// object reads one JSON object. Names are compared exactly, which json.Unmarshal
// into a struct does not do.
func object(raw []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return nil, fmt.Errorf("%w: a JSON object is expected", errBody)
	}
	members := map[string]json.RawMessage{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errBody, err)
		}
		name := token.(string) // a name is always one
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("%w: a member is given twice", errBody)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("%w: %w", errBody, err)
		}
		members[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("%w: %w", errBody, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the object", errBody)
	}
	return members, nil
}

// text reads a member that must be a string with something in it.
func text(members map[string]json.RawMessage, name string) (string, error) {
	var s *string
	if err := json.Unmarshal(members[name], &s); err != nil || s == nil || *s == "" {
		return "", fmt.Errorf("%w: client_params.%s must be a string that is not empty", errBody, name)
	}
	if strings.ContainsRune(*s, utf8.RuneError) { // half of a surrogate pair becomes one
		return "", fmt.Errorf("%w: client_params.%s is no Unicode text", errBody, name)
	}
	return *s, nil
}
