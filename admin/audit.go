package admin

import (
	"encoding/json"
	"strconv"
	"time"

	"chancery/ca"
)

// Event is one line of the audit trail.
type Event struct {
	Seq    int64           `json:"seq"`
	At     time.Time       `json:"at"`
	Actor  Actor           `json:"actor"`
	Action string          `json:"action"`
	Object string          `json:"object"`
	Detail json.RawMessage `json:"detail,omitempty"`
}

// Actor is who did something.
type Actor struct {
	Kind string `json:"kind"` // account, certificate-key, operator or system
	ID   string `json:"id"`
	Addr string `json:"addr,omitempty"` // IP address
}

func showEvent(e ca.Event) Event {
	out := Event{Seq: e.Seq, At: e.At.UTC(), Actor: Actor{Kind: string(e.By.Kind), ID: e.By.ID, Addr: e.By.Addr}, Action: e.Action, Object: e.Object}
	if json.Valid([]byte(e.Detail)) {
		out.Detail = json.RawMessage(e.Detail)
	}
	return out
}

func (a *Admin) audit(r *request) (*reply, error) {
	q := &r.query
	s := ca.EventSearch{
		Action: q.word("action"), Object: q.word("object"), Actor: q.word("actor"),
		Since: q.time("since"), After: q.seq("cursor"), Limit: q.limit(),
	}
	if err := q.done(); err != nil {
		return nil, err
	}
	list, err := a.config.Store.Events(r.ctx, s)
	if err != nil {
		return nil, err
	}
	return page(list, s.Limit, showEvent, func(e ca.Event) string { return strconv.FormatInt(e.Seq, 10) }), nil
}
