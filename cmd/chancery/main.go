// Command chancery is an ACME certificate authority in one binary. Each
// command is a few lines over package app.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"chancery/cmd/chancery/app"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // wrong command line, or wrong configuration
)

func main() { os.Exit(run(os.Args[1:])) }

// run is main without the process's end, for the script tests.
func run(args []string) int {
	// The first signal asks for a graceful end; it also gives the second one
	// back its own meaning, which is an end at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	root := rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(os.Stderr, "chancery:", err)
	return exitCode(err)
}

// usageError is a command line that can't be followed.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func exitCode(err error) int {
	var usage usageError
	var mistakes *app.Mistakes
	switch {
	case errors.As(err, &usage), errors.As(err, &mistakes):
		return exitUsage
	// cobra has no type for these two.
	case strings.HasPrefix(err.Error(), "unknown command"), strings.HasPrefix(err.Error(), "required flag"):
		return exitUsage
	}
	return exitFailed
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "chancery",
		Short: "An ACME certificate authority",
		Long: "Chancery is an ACME (RFC 8555) certificate authority.\n" +
			"`chancery serve` starts it, and founds it on the first start; `chancery demo` shows it at work.",
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().String("dir", defaultDir(), "Chancery's directory (or CHANCERY_DIR)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
	})
	root.AddCommand(serveCommand(), initCommand(), demoCommand(), perspectiveCommand(), configCommand(), crlCommand(), policyCommand(), healthcheckCommand(), versionCommand())
	root.AddCommand(operatorCommands()...)
	usageOfArgs(root)
	return root
}

// usageOfArgs makes wrong arguments of every command a usage error.
func usageOfArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		usageOfArgs(sub)
	}
}

func defaultDir() string {
	if dir := os.Getenv("CHANCERY_DIR"); dir != "" {
		return dir
	}
	return "chancery-data"
}

func dirFlag(cmd *cobra.Command) string {
	dir, _ := cmd.Flags().GetString("dir") // a persistent flag of root: always there
	return dir
}

// setFlag adds --set to a command that reads the configuration.
func setFlag(cmd *cobra.Command) *[]string {
	return cmd.Flags().StringArray("set", nil, "a configuration key, `KEY=VALUE`; may be repeated")
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "chancery", app.Version())
			return err
		},
	}
}
