package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"chancery/admin"
)

func auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Read the audit trail"}
	c.AddCommand(auditListCommand())
	return c
}

func auditListCommand() *cobra.Command {
	var l listing
	var action, object, actor, since string
	c := &cobra.Command{
		Use: "list", Short: "List what was done and by whom, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from := ""
			if since != "" {
				t, err := moment(since, time.Now(), -1)
				if err != nil {
					return fmt.Errorf("--since: %w", err)
				}
				from = t.UTC().Format(time.RFC3339)
			}
			return show(cmd, l, "/audit", filters("action", action, "object", object, "actor", actor, "since", from), auditColumns)
		},
	}
	l.flags(c)
	f := c.Flags()
	f.StringVar(&action, "action", "", "this `ACTION`, like certificate.revoke")
	f.StringVar(&object, "object", "", "done to the object with this `ID` or serial number")
	f.StringVar(&actor, "actor", "", "done by the actor with this `ID`")
	f.StringVar(&since, "since", "", "since a `TIME` ago (24h, 7d) or a date")
	return c
}

var auditColumns = []column[admin.Event]{
	{"seq", func(e admin.Event) string { return fmt.Sprint(e.Seq) }},
	{"at", func(e admin.Event) string { return stamp(e.At) }},
	{"actor", func(e admin.Event) string { return e.Actor.Kind + " " + e.Actor.ID }},
	{"from", func(e admin.Event) string { return e.Actor.Addr }},
	{"action", func(e admin.Event) string { return e.Action }},
	{"object", func(e admin.Event) string { return e.Object }},
}
