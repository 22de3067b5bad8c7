package main

import (
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"chancery/admin"
)

func eabCommand() *cobra.Command {
	c := &cobra.Command{Use: "eab", Short: "Create, list and revoke keys for external account binding"}
	c.AddCommand(eabCreateCommand(), eabListCommand(), eabRevokeCommand())
	return c
}

func eabCreateCommand() *cobra.Command {
	var label, expires string
	var reusable, asJSON bool
	c := &cobra.Command{
		Use: "create", Short: "Create a key; its secret is shown this once", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body := map[string]any{"label": label, "reusable": reusable}
			if expires != "" {
				t, err := moment(expires, time.Now(), 1)
				if err != nil {
					return fmt.Errorf("--expires: %w", err)
				}
				body["expires_at"] = t.UTC().Format(time.RFC3339)
			}
			return withDoor(cmd, func(d *door) error {
				var k admin.NewExternalKey
				if err := d.post(cmd.Context(), "/external-keys", body, &k); err != nil {
					return err
				}
				if asJSON {
					return writeJSONLine(cmd.OutOrStdout(), k)
				}
				return eabSheet(cmd.OutOrStdout(), k)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&label, "label", "", "for whom it is, in your `WORDS`")
	f.StringVar(&expires, "expires", "", "when it ends: a `TIME` from now (30d, 36h) or a date (default never)")
	f.BoolVar(&reusable, "reusable", false, "binds any number of accounts, not one")
	f.BoolVar(&asJSON, "json", false, "one JSON object")
	return c
}

func eabSheet(w io.Writer, k admin.NewExternalKey) error {
	s := sheet{w: w}
	s.fact("Key ID", k.ID)
	s.fact("HMAC key", k.Secret)
	s.fact("Label", k.Label)
	if k.Reusable {
		s.fact("Binds", "any number of accounts")
	} else {
		s.fact("Binds", "one account")
	}
	s.fact("Expires", stamp(k.ExpiresAt))
	s.line("")
	s.line("The HMAC key is not shown again. For certbot: --eab-kid %s --eab-hmac-key %s", printable(k.ID), printable(k.Secret))
	return s.err
}

func eabListCommand() *cobra.Command {
	var l listing
	c := &cobra.Command{
		Use: "list", Short: "List keys, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, l, "/external-keys", nil, eabColumns)
		},
	}
	l.flags(c)
	return c
}

var eabColumns = []column[admin.ExternalKey]{
	{"id", func(k admin.ExternalKey) string { return k.ID }},
	{"status", func(k admin.ExternalKey) string { return k.Status }},
	{"label", func(k admin.ExternalKey) string { return k.Label }},
	{"binds", func(k admin.ExternalKey) string {
		if k.Reusable {
			return "many"
		}
		return "one"
	}},
	{"uses", func(k admin.ExternalKey) string { return fmt.Sprint(k.Uses) }},
	{"created", func(k admin.ExternalKey) string { return stamp(k.CreatedAt) }},
	{"expires", func(k admin.ExternalKey) string { return stamp(k.ExpiresAt) }},
}

func eabRevokeCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "revoke ID", Short: "End a key; accounts that it bound stay", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withDoor(cmd, func(d *door) error {
				if err := confirm(cmd, yes, "End external account key "+args[0]+"? It can't be undone."); err != nil {
					return err
				}
				var answer struct{ ID, Status string }
				if err := d.post(cmd.Context(), "/external-keys/"+url.PathEscape(args[0])+"/revoke", struct{}{}, &answer); err != nil {
					return fmt.Errorf("external account key %s: %w", args[0], err)
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is %s.\n", printable(answer.ID), printable(answer.Status))
				return err
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "don't ask")
	return c
}
