package fleetlock

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"os"
	"strings"
)

// minTokenBytes keeps out what can be guessed.
const minTokenBytes = 16

// authorize looks for a token. The file is read each time, and may hold several:
// so tokens are replaced without a restart, the new one beside the old one until
// every client has it.
func (h *Handler) authorize(r *http.Request) error {
	if h.TokenFile == "" {
		return nil
	}
	tokens, err := readTokens(h.TokenFile)
	if err != nil {
		return fmt.Errorf("%w: %w", errTokenFile, err)
	}
	shown := sha256.Sum256([]byte(tokenOf(r)))
	known := 0
	for _, token := range tokens {
		sum := sha256.Sum256([]byte(token)) // equal lengths: a comparison tells nothing of them
		known |= subtle.ConstantTimeCompare(shown[:], sum[:])
	}
	if known == 0 {
		return errToken
	}
	return nil
}

// tokenOf is a bearer token or the password of basic authentication, which is what
// Zincati and fleetlockctl send for a base URL with a user in it.
func tokenOf(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// readTokens reads one token a line; empty lines are none.
func readTokens(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("fleetlock: read tokens: %w", err)
	}
	var tokens []string
	for line := range strings.Lines(string(text)) {
		token := strings.TrimSpace(line)
		if token == "" {
			continue
		}
		if len(token) < minTokenBytes {
			return nil, fmt.Errorf("fleetlock: read tokens: %s: one has %d bytes, at least %d are needed", file, len(token), minTokenBytes)
		}
		tokens = append(tokens, token)
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("fleetlock: read tokens: %s holds none", file)
	}
	return tokens, nil
}
