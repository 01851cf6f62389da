package coordd

import (
	"fmt"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/coordd/coordd/coordd/token"
)

// validateUsers checks the settings of authentication. Files with keys are read
// later.
func (c *Config) validateUsers() error {
	if _, err := token.Parse(c.AuthToken); err != nil {
		return fmt.Errorf("%w: --auth-token: %w", ErrConfig, err)
	}
	if c.AuthTokenTTL < time.Second {
		return fmt.Errorf("%w: --auth-token-ttl is %v: give at least one second", ErrConfig, c.AuthTokenTTL)
	}
	if c.BcryptCost < bcrypt.MinCost || c.BcryptCost > bcrypt.MaxCost {
		return fmt.Errorf("%w: --bcrypt-cost is %d: give %d to %d", ErrConfig, c.BcryptCost, bcrypt.MinCost, bcrypt.MaxCost)
	}
	return nil
}

// openTokens reads the keys that tokens are signed with, if they are.
func (s *Server) openTokens() error {
	options, err := token.Parse(s.cfg.AuthToken)
	if err != nil {
		return fmt.Errorf("%w: --auth-token: %w", ErrConfig, err)
	}
	s.tokens, err = options.Open(s.storage.store.Tokens(), s.cfg.AuthTokenTTL, time.Now)
	if err != nil {
		return fmt.Errorf("%w: --auth-token: %w", ErrConfig, err)
	}
	return nil
}
