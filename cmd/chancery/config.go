package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"chancery/cmd/chancery/app"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	check := &cobra.Command{
		Use: "check", Short: "Report every mistake of chancery.yaml, environment and flags", Args: cobra.NoArgs,
	}
	set := setFlag(check)
	check.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := app.ReadConfig(dirFlag(cmd), *set, os.Environ())
		if err != nil {
			return err
		}
		for _, w := range c.Warnings {
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), "warning:", w); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: the configuration is good\n", c.Dir)
		return err
	}
	keys := &cobra.Command{
		Use: "keys", Short: "List every key with its meaning", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), app.KeyReference())
			return err
		},
	}
	cmd.AddCommand(check, keys)
	return cmd
}

// healthcheckTime bounds a health check: container engines start one every
// few seconds.
const healthcheckTime = 5 * time.Second

// healthcheckCommand asks a running Chancery whether it is ready, so that an
// image needs no other program for its health check.
func healthcheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "healthcheck", Short: "Exit with 0 if the Chancery of this directory is ready", Args: cobra.NoArgs,
	}
	set := setFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := app.ReadConfig(dirFlag(cmd), *set, os.Environ())
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), healthcheckTime)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Admin.Reach()+"/readyz", nil)
		if err != nil {
			return err
		}
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it would answer for itself
		answer, err := client.Do(r)
		if err != nil {
			return fmt.Errorf("nothing answers at admin.listen: %w", err)
		}
		if err := answer.Body.Close(); err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("not ready: %s says %s", r.URL, answer.Status)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), "ready")
		return err
	}
	return cmd
}
