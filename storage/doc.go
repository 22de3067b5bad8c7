// Package storage keeps everything in SQLite (the default) or PostgreSQL. It
// implements the stores that the engines above it own: acme.Store with
// ca.Ledger, crl.Store, ocsp.Store and admin.Store.
//
// One method is one transaction is one transition, with its audit event
// inside ([DB.change]). SQL stands written out beside the method, one text for
// both databases; what differs is in dialect.go.
//
// SQLite has one writer, which groups the changes that wait into one commit:
// each runs in a savepoint of its own, a failing one is undone alone, and
// nobody is answered before the commit (writer.go). Reads have connections of
// their own and never wait for the writer. PostgreSQL gets ordinary
// transactions, and any number of processes may share one database.
package storage
