package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
)

// OpenOperator opens the operator's door of a founded directory in this
// process, for when nobody serves it. Who does hold it open is ErrInUse.
// close must be called; changes are durable when the door has answered.
// A revocation that is made here stands in the CRL that the next `serve`
// makes at its start.
func OpenOperator(dir string, set []string) (door http.Handler, token string, closeAll func() error, err error) {
	c, err := ReadConfig(dir, set, os.Environ())
	if err != nil {
		return nil, "", nil, err
	}
	held, err := lock(c.Dir, c.exclusive())
	if err != nil {
		return nil, "", nil, err
	}
	p, err := openParts(context.Background(), c, urls{acme: c.ACME.URL, publish: c.Publish.URL}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, "", nil, errors.Join(err, held.Close())
	}
	closeAll = func() error {
		p.service.Stop(context.Background())
		return errors.Join(p.close(), held.Close())
	}
	return p.door, p.token, closeAll, nil
}
