package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/ca"
)

// note records an event with the given object.
func note(ctx context.Context, db *DB, object string, do func(*tx) error) error {
	return db.change(ctx, happened(operator, noon, "test.note", object), do)
}

func nothing(*tx) error { return nil }

// noted are the objects of the events that are stored, oldest first.
func noted(t *testing.T, db *DB) (objects []string) {
	t.Helper()
	for _, e := range got[[]ca.Event](t)(db.Events(t.Context(), ca.EventSearch{Action: "test.note", Limit: ca.MaxSearch})) {
		objects = append([]string{e.Object}, objects...)
	}
	return objects
}

// hold keeps the writer busy until the returned function is called, so that
// what is handed to it meanwhile waits in line.
func hold(t *testing.T, db *DB) (release func()) {
	t.Helper()
	held, free, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- note(context.Background(), db, "hold", func(*tx) error {
			close(held)
			<-free
			return nil
		})
	}()
	<-held
	return func() {
		t.Helper()
		close(free)
		must(t, <-done)
	}
}

// inLine waits until so many changes wait.
func inLine(t *testing.T, db *DB, n int) {
	t.Helper()
	w := db.engine.(*sqliteEngine).writer
	for deadline := time.Now().Add(10 * time.Second); len(w.queue) != n; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d changes in line, not %d", len(w.queue), n)
		}
	}
}

func TestFailingChangeDoesNotHarmItsGroup(t *testing.T) {
	for _, e := range engines[:2] {
		t.Run(e.name, func(t *testing.T) {
			db := e.open(t)
			release := hold(t, db)
			errBad := errors.New("bad change")
			results := make([]error, 30)
			var all sync.WaitGroup
			for i := range results {
				all.Go(func() {
					results[i] = note(t.Context(), db, fmt.Sprint(i), func(tx *tx) error {
						// What a failing change wrote before must go.
						if err := tx.record(happened(operator, noon, "test.note", fmt.Sprint("inside ", i))); err != nil {
							return err
						}
						switch i % 3 {
						case 1:
							return errBad
						case 2:
							panic("a panic")
						}
						return nil
					})
				})
			}
			inLine(t, db, len(results))
			release()
			all.Wait()
			stored := map[string]bool{}
			for _, object := range noted(t, db) {
				stored[object] = true
			}
			for i, err := range results {
				object := fmt.Sprint(i)
				switch i % 3 {
				case 0:
					must(t, err)
				case 1:
					if !errors.Is(err, errBad) {
						t.Errorf("change %d: %v", i, err)
					}
				case 2:
					if err == nil || !strings.Contains(err.Error(), "a panic") {
						t.Errorf("change %d: %v", i, err)
					}
				}
				if want := i%3 == 0; stored[object] != want || stored["inside "+object] != want {
					t.Errorf("change %d stored: %v and %v, not %v", i, stored[object], stored["inside "+object], want)
				}
			}
		})
	}
}

func TestChangeThatEndsTheTransactionFailsWithThoseBefore(t *testing.T) {
	db := openTestFile(t)
	release := hold(t, db)
	var results [5]error
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() {
			results[i] = note(t.Context(), db, fmt.Sprint(i), func(tx *tx) error {
				if i == 2 { // as SQLite itself does when the disk is full
					_, err := tx.exec("ROLLBACK")
					return errors.Join(err, errors.New("disk full"))
				}
				return nil
			})
		})
		inLine(t, db, i+1)
	}
	release()
	all.Wait()
	for i, err := range results {
		if (err == nil) != (i > 2) {
			t.Errorf("change %d: %v", i, err)
		}
	}
	if objects := noted(t, db); strings.Join(objects, " ") != "hold 3 4" {
		t.Errorf("stored: %q", objects)
	}
}

func TestFailedCommitIsAnsweredToAll(t *testing.T) {
	db := openTestFile(t)
	release := hold(t, db)
	var results [4]error
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() {
			results[i] = note(t.Context(), db, fmt.Sprint(i), func(tx *tx) error {
				if i != 1 {
					return nil
				}
				// A reference that is checked at the commit only, and does not hold then.
				if _, err := tx.exec("PRAGMA defer_foreign_keys = ON"); err != nil {
					return err
				}
				_, err := tx.exec("INSERT INTO evidence (authorization_id, body) VALUES (?, ?)", make([]byte, 16), []byte("{}"))
				return err
			})
		})
		inLine(t, db, i+1)
	}
	release()
	all.Wait()
	for i, err := range results {
		if err == nil || !strings.Contains(err.Error(), "nothing was kept") {
			t.Errorf("change %d: %v", i, err)
		}
	}
	must(t, note(t.Context(), db, "after", nothing))
	if objects := noted(t, db); strings.Join(objects, " ") != "hold after" {
		t.Errorf("stored: %q", objects)
	}
}

func TestCancelledChangeInLineIsNotRun(t *testing.T) {
	db := openTestFile(t)
	release := hold(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error, 1)
	go func() { answer <- note(ctx, db, "cancelled", nothing) }()
	inLine(t, db, 1)
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) { // although the writer is busy
		t.Errorf("answer: %v", err)
	}
	release()
	if err := note(ctx, db, "too late", nothing); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	must(t, note(t.Context(), db, "after", nothing))
	if objects := noted(t, db); strings.Join(objects, " ") != "hold after" {
		t.Errorf("stored: %q", objects)
	}
}

func TestRunningChangeIsAwaited(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			db := e.open(t)
			ctx, cancel := context.WithCancel(t.Context())
			must(t, note(ctx, db, "done", func(*tx) error {
				cancel()
				time.Sleep(10 * time.Millisecond)
				return nil
			}))
			if objects := noted(t, db); len(objects) != 1 {
				t.Errorf("stored: %q", objects)
			}
		})
	}
}

func TestCloseLetsTheLineRun(t *testing.T) {
	for _, e := range engines[:2] {
		t.Run(e.name, func(t *testing.T) {
			db := e.open(t)
			release := hold(t, db)
			var results [20]error
			var all sync.WaitGroup
			for i := range results {
				all.Go(func() { results[i] = note(t.Context(), db, fmt.Sprint(i), nothing) })
			}
			inLine(t, db, len(results))
			closed := make(chan error, 1)
			go func() { closed <- db.Close() }()
			release()
			must(t, <-closed)
			all.Wait()
			for i, err := range results {
				if err != nil {
					t.Errorf("change %d: %v", i, err)
				}
			}
			if err := note(t.Context(), db, "late", nothing); !errors.Is(err, errClosed) {
				t.Errorf("after closing: %v", err)
			}
			if err := db.Ping(t.Context()); err == nil {
				t.Error("a closed database answers a ping")
			}
		})
	}
}

func TestChangesWhileClosingGetOneAnswer(t *testing.T) {
	db := openTestFile(t)
	answers := make(chan error, 64)
	for i := range cap(answers) {
		go func() { answers <- note(context.Background(), db, fmt.Sprint(i), nothing) }()
	}
	must(t, db.Close())
	for range cap(answers) {
		select {
		case err := <-answers:
			if err != nil && !errors.Is(err, errClosed) {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a caller waits for ever")
		}
	}
}

func TestNoCallerIsForgottenUnderLoad(t *testing.T) {
	db := openTestFile(t)
	var stored, cancelled sync.Map
	race(64, func(i int) error {
		for n := range 30 {
			object := fmt.Sprintf("%d-%d", i, n)
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*n)*time.Microsecond)
			err := note(ctx, db, object, func(*tx) error {
				if n%7 == 0 {
					return errNothing
				}
				return nil
			})
			cancel()
			if err == nil {
				stored.Store(object, true)
			} else {
				cancelled.Store(object, true)
			}
		}
		return nil
	})
	all := map[string]bool{}
	for after := int64(0); ; {
		page := got[[]ca.Event](t)(db.Events(t.Context(), ca.EventSearch{After: after, Limit: ca.MaxSearch}))
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			all[e.Object] = true
			after = e.Seq
		}
	}
	stored.Range(func(object, _ any) bool {
		if !all[object.(string)] {
			t.Errorf("%v was answered with success and is not there", object)
		}
		return true
	})
	cancelled.Range(func(object, _ any) bool {
		if all[object.(string)] {
			t.Errorf("%v was answered with an error and is there", object)
		}
		return true
	})
}

// TestAnsweredFactsSurvive copies a database and its log while it is in use,
// as a process that dies leaves them, and opens the copy.
func TestAnsweredFactsSurvive(t *testing.T) {
	db := openTestFile(t)
	path := db.engine.(*sqliteEngine).path
	var mu sync.Mutex
	answered := map[string]bool{}
	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for i := range 16 {
		callers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				object := fmt.Sprintf("%d-%d", i, n)
				if err := note(ctx, db, object, nothing); err == nil {
					mu.Lock()
					answered[object] = true
					mu.Unlock()
				}
			}
		})
	}
	for round := range 5 {
		time.Sleep(20 * time.Millisecond)
		release := hold(t, db) // nothing is written while the files are copied, but nothing is tidied up either
		mu.Lock()
		var before []string
		for object := range answered {
			before = append(before, object)
		}
		mu.Unlock()
		dir := t.TempDir()
		for _, end := range []string{"", "-wal"} {
			content, err := os.ReadFile(path + end)
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, "copy.db"+end), content, 0o600))
		}
		release()
		reopened := opened(t, "sqlite:"+filepath.Join(dir, "copy.db"))
		stored := map[string]bool{}
		must(t, reopened.read(t.Context(), func(s *session) error {
			var objects []string
			err := s.list(&objects, `SELECT object FROM audit_events`)
			for _, o := range objects {
				stored[o] = true
			}
			return err
		}))
		for _, object := range before {
			if !stored[object] {
				t.Errorf("round %d: %s was answered and is lost", round, object)
			}
		}
		if findings := got[[]string](t)(reopened.Check(t.Context())); len(findings) > 0 {
			t.Errorf("round %d: %q", round, findings)
		}
	}
	stop()
	callers.Wait()
}

func TestReadersDontWaitForTheWriter(t *testing.T) {
	db := openTestFile(t)
	account := newAccount(t, db)
	release := hold(t, db)
	for range 100 {
		if _, err := db.Account(t.Context(), account.ID); err != nil {
			t.Fatal(err)
		}
	}
	release()
}

func TestReadersCannotWrite(t *testing.T) {
	db := openTestFile(t)
	err := db.read(t.Context(), func(s *session) error {
		_, err := s.exec(`DELETE FROM audit_events`)
		return err
	})
	if err == nil {
		t.Error("a reader wrote")
	}
}

// TestFullDiskIsSurvived lets SQLite find that there is no more room.
func TestFullDiskIsSurvived(t *testing.T) {
	db := openTestFile(t)
	var pages int
	limit := func(expression string) {
		t.Helper()
		must(t, db.engine.(*sqliteEngine).write.GetContext(t.Context(), &pages, "PRAGMA max_page_count = "+expression))
	}
	must(t, db.read(t.Context(), func(s *session) error { return s.get(&pages, "PRAGMA page_count") }))
	limit(fmt.Sprint(pages + 2))
	big := happened(operator, noon, "test.note", "big")
	big.detail = map[string]any{"much": strings.Repeat("x", 100_000)}
	failed := 0
	for _, err := range race(16, func(i int) error {
		if i%4 == 0 {
			return db.change(t.Context(), big, nothing)
		}
		return note(t.Context(), db, fmt.Sprint(i), nothing)
	}) {
		if err != nil {
			failed++
		}
	}
	if failed < 4 {
		t.Errorf("only %d changes failed on a full disk", failed)
	}
	before := len(noted(t, db))
	if before != 16-failed {
		t.Errorf("%d changes succeeded, %d are stored", 16-failed, before)
	}
	limit("1000000")
	must(t, db.change(t.Context(), big, nothing))
	if after := len(noted(t, db)); after != before+1 {
		t.Errorf("with room again: %d events after %d", after, before)
	}
	if findings := got[[]string](t)(db.Check(t.Context())); len(findings) > 0 {
		t.Errorf("%q", findings)
	}
}
