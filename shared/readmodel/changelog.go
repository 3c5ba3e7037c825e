package readmodel

import (
	"context"
	"fmt"

	"github.com/config-api/config-api/shared/config"
)

// Logged returns how far the change log has been written.
func (s *Store) Logged(ctx context.Context) (config.Token, error) {
	var t config.Token
	err := s.pool.QueryRow(ctx, `select epoch, position from readmodel.changelog`).Scan(&t.Epoch, &t.Position)
	if err != nil {
		return t, fmt.Errorf("position of the change log: %w", err)
	}
	return t, nil
}

// SetLogged moves that position, or returns [ErrFenced] when it is not from any
// more.
func (s *Store) SetLogged(ctx context.Context, from, to config.Token) error {
	moved, err := s.pool.Exec(ctx, `update readmodel.changelog set epoch = $1, position = $2 where epoch = $3 and position = $4`,
		to.Epoch, to.Position, from.Epoch, from.Position)
	if err != nil {
		return fmt.Errorf("position of the change log: %w", err)
	}
	if moved.RowsAffected() == 0 {
		return ErrFenced
	}
	return nil
}
