package main

import (
	"github.com/spf13/cobra"

	"chancery/cmd/chancery/app"
)

func demoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Show the whole loop in a temporary directory: issue, renew, revoke, OCSP, CRL", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return app.Demo(cmd.Context(), cmd.OutOrStdout()) },
	}
}
