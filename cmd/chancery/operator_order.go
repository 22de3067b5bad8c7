package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"chancery/acme"
	"chancery/admin"
)

func orderCommand() *cobra.Command {
	c := &cobra.Command{Use: "order", Short: "List and show orders, and tell why they ended as they did"}
	c.AddCommand(orderListCommand(), orderShowCommand(), orderWhyCommand())
	return c
}

func orderListCommand() *cobra.Command {
	var l listing
	var account string
	c := &cobra.Command{
		Use: "list", Short: "List orders, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, l, "/orders", filters("account", account), orderColumns)
		},
	}
	l.flags(c)
	c.Flags().StringVar(&account, "account", "", "of the ACME account with this `ID`")
	return c
}

var orderColumns = []column[admin.Order]{
	{"id", func(o admin.Order) string { return o.ID }},
	{"status", func(o admin.Order) string { return o.Status }},
	{"names", func(o admin.Order) string { return nameList(o.Names) }},
	{"created", func(o admin.Order) string { return stamp(o.CreatedAt) }},
	{"certificate", func(o admin.Order) string { return o.Certificate }},
	{"account", func(o admin.Order) string { return o.Account }},
}

func orderShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "show ID", Short: "Show one order, what was proven for it and how", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withDoor(cmd, func(d *door) error {
				var o admin.OrderDetail
				if err := d.get(cmd.Context(), "/orders/"+url.PathEscape(args[0]), nil, &o); err != nil {
					return fmt.Errorf("order %s: %w", args[0], err)
				}
				if asJSON {
					return writeJSONLine(cmd.OutOrStdout(), o)
				}
				return orderSheet(cmd.OutOrStdout(), o)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return c
}

func orderSheet(w io.Writer, o admin.OrderDetail) error {
	s := sheet{w: w}
	s.fact("Order", o.ID)
	s.fact("Status", o.Status)
	s.fact("Names", strings.Join(o.Names, " "))
	s.fact("Account", o.Account)
	s.fact("Profile", o.Profile)
	s.fact("Created", stamp(o.CreatedAt))
	s.fact("Expires", stamp(o.ExpiresAt))
	s.fact("Finalized", stamp(o.FinalizedAt))
	s.fact("Certificate", o.Certificate)
	s.fact("Replaces", o.Replaces)
	s.problem("Error", o.Error)
	for _, a := range o.Authorizations {
		s.line("")
		s.authorization(a)
	}
	return s.err
}

func (s *sheet) authorization(a admin.Authorization) {
	s.fact("Authorization", a.ID)
	s.fact("  Name", a.Name)
	s.fact("  Status", a.Status)
	s.fact("  Offered", strings.Join(a.Offered, " "))
	if a.Attempted != "" {
		s.fact("  Attempted", a.Attempted+" at "+stamp(a.AttemptedAt))
	}
	s.fact("  Validated", stamp(a.ValidatedAt))
	s.fact("  Expires", stamp(a.ExpiresAt))
	s.problem("  Error", a.Error)
	if len(a.Evidence) == 0 {
		return
	}
	var e acme.Evidence
	if err := json.Unmarshal(a.Evidence, &e); err != nil {
		s.fact("  Evidence", "can't be read: "+err.Error())
		return
	}
	s.fact("  Evidence", fmt.Sprintf("%s for %s, begun %s, took %d ms", e.Method, e.Identifier, stamp(e.Started), e.Millis))
	for _, step := range e.Steps {
		from := ""
		if step.From != "" {
			from = " from " + step.From
		}
		s.line("    %s", printable(fmt.Sprintf("%s %s%s: %s", step.Do, step.What, from, step.Got)))
	}
}

func (s *sheet) problem(name string, p *acme.Problem) {
	if p == nil {
		return
	}
	s.fact(name, p.Kind.String()+": "+p.Detail)
	for _, part := range p.Subproblems {
		about := ""
		if part.Identifier != nil {
			about = part.Identifier.Value() + ": "
		}
		s.fact("", about+part.Kind.String()+": "+part.Detail)
	}
}
