package storage

import (
	"context"
	"time"

	"chancery/ca"
)

// The actions of audit events.
const (
	actionAccountCreate      = "account.create"
	actionAccountUpdate      = "account.update"
	actionAccountDeactivate  = "account.deactivate"
	actionAccountRevoke      = "account.revoke"
	actionAccountKey         = "account.key-change"
	actionAccountPause       = "account.pause"
	actionAccountUnpause     = "account.unpause"
	actionExternalKeyCreate  = "eab.create"
	actionExternalKeyRevoke  = "eab.revoke"
	actionOrderCreate        = "order.create"
	actionOrderFinalize      = "order.finalize"
	actionOrderFail          = "order.fail"
	actionOrderTakeOver      = "order.take-over"
	actionAuthorizationNew   = "authorization.create"
	actionAuthorizationTry   = "authorization.attempt"
	actionAuthorizationValid = "authorization.validate"
	actionAuthorizationFail  = "authorization.fail"
	actionAuthorizationEnd   = "authorization.deactivate"
	actionAuthorizationTake  = "authorization.take-over"
	actionAuthorizationCount = "authorization.count-failure" // of an attempt that was given up before its verdict
	actionCertificateReserve = "certificate.reserve"
	actionCertificateIssue   = "certificate.issue"
	actionCertificateRevoke  = "certificate.revoke"
	actionCRLPublish         = "crl.publish"
	actionKeyBlock           = "key.block"
	actionKeyUnblock         = "key.unblock"
	actionKeySweep           = "key.sweep" // not recorded: the certificates that it revokes are
)

const insertEvent = `
INSERT INTO audit_events (at, actor_kind, actor_id, actor_addr, action, object, detail)
VALUES (?, ?, ?, ?, ?, ?, ?)`

const eventColumns = `seq, at, actor_kind, actor_id, actor_addr, action, object, detail`

// eventRow is a row of audit_events.
type eventRow struct {
	Seq       int64  `db:"seq"`
	At        stamp  `db:"at"`
	ActorKind string `db:"actor_kind"`
	ActorID   string `db:"actor_id"`
	ActorAddr string `db:"actor_addr"`
	Action    string `db:"action"`
	Object    string `db:"object"`
	Detail    string `db:"detail"`
}

func (r *eventRow) event() ca.Event {
	return ca.Event{
		Seq: r.Seq, At: r.At.time(), By: ca.Actor{Kind: ca.ActorKind(r.ActorKind), ID: r.ActorID, Addr: r.ActorAddr},
		Action: r.Action, Object: r.Object, Detail: r.Detail,
	}
}

// Events implements admin.Store.
func (db *DB) Events(ctx context.Context, s ca.EventSearch) ([]ca.Event, error) {
	var w where
	w.text("action = ?", s.Action)
	w.text("object = ?", s.Object)
	w.text("actor_id = ?", s.Actor)
	if !s.Since.IsZero() {
		w.and("at >= ?", stamp(s.Since))
	}
	if s.After != 0 {
		w.and("seq < ?", s.After)
	}
	var rows []eventRow
	query := `SELECT ` + eventColumns + ` FROM audit_events` + w.sql() + ` ORDER BY seq DESC LIMIT ?`
	err := db.read(ctx, func(q *session) error {
		return q.list(&rows, query, append(w.args, pageSize(s.Limit))...)
	})
	if err != nil {
		return nil, err
	}
	events := make([]ca.Event, len(rows))
	for i := range rows {
		events[i] = rows[i].event()
	}
	return events, nil
}

// happened makes the event of a change.
func happened(by ca.Actor, now time.Time, action, object string) event {
	return event{by: by, at: now, action: action, object: object}
}
